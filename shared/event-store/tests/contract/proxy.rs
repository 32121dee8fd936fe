//! A proxy in front of a server. It passes bytes on, and fails as networks do.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The proxy's behaviour.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weather {
    /// The proxy passes everything on.
    Fair,
    /// The proxy cuts a connection at random, at one piece in this many. It still passes on half of a client's piece, and nothing
    /// of a server's piece.
    Cutting(u32),
    /// The proxy accepts connections and passes nothing on.
    Silent,
    /// The proxy cuts all connections, and new ones at once.
    Down,
}

pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    weather: watch::Sender<Weather>,
    pub(crate) cuts: Arc<AtomicUsize>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    pub(crate) async fn to(server: String, weather: Weather) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (weather, seen) = watch::channel(weather);
        let cuts = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&cuts);
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (server, seen) = (server.clone(), seen.clone());
                let cuts = Arc::clone(&counted);
                tokio::spawn(async move { pass_on(client, &server, seen, &cuts).await });
            }
        });
        Self { address, weather, cuts, accepting }
    }

    pub(crate) fn turn(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Passes bytes on until either side ends, or the connection is cut.
async fn pass_on(client: TcpStream, server: &str, seen: watch::Receiver<Weather>, cuts: &AtomicUsize) {
    let Ok(server) = TcpStream::connect(server).await else { return };
    let (client_out, client_in) = client.into_split();
    let (server_out, server_in) = server.into_split();
    let mut down = seen.clone();
    tokio::select! {
        () = pieces_of(client_out, server_in, &seen, cuts, 2) => {}
        () = pieces_of(server_out, client_in, &seen, cuts, usize::MAX) => {}
        _ = down.wait_for(|weather| *weather == Weather::Down) => {}
    }
}

/// Passes pieces on in one direction. When it cuts the connection, it still passes on one part in `part` of the current piece.
async fn pieces_of(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    seen: &watch::Receiver<Weather>,
    cuts: &AtomicUsize,
    part: usize,
) {
    let mut piece = vec![0; 64 * 1024];
    let mut seen = seen.clone();
    while let Ok(length @ 1..) = from.read(&mut piece).await {
        if seen.wait_for(|weather| *weather != Weather::Silent).await.is_err() {
            return;
        }
        let weather = *seen.borrow();
        if let Weather::Cutting(each) = weather
            && rand::random_ratio(1, each)
        {
            cuts.fetch_add(1, Ordering::Relaxed);
            let _ = to.write_all(&piece[..length / part]).await;
            return;
        }
        if to.write_all(&piece[..length]).await.is_err() {
            return;
        }
    }
}
