//! A proxy in front of a server. It passes bytes on, and fails as networks do. And appends through it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use event_sourcing::Version;
use event_store::{AppendError, EventStore, Load, StoreError};
use futures_util::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::build::{commit, load, versions, whole};

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

/// Many callers append through a proxy that cuts connections, until it has cut enough. Then each stream has what was answered,
/// once. `past` is a handle that goes past the proxy.
pub(crate) async fn append_through(proxy: &Proxy, store: &EventStore, past: &EventStore) {
    const CALLERS: u64 = 16;
    const ENOUGH: usize = 8;
    let callers = (0..CALLERS).map(|caller| {
        let (store, cuts) = (store.clone(), Arc::clone(&proxy.cuts));
        tokio::spawn(async move {
            let mut version = 0;
            while cuts.load(Ordering::Relaxed) < ENOUGH {
                version += 1;
                append_at_last(&store, &format!("stream-{caller}"), version).await;
            }
            version
        })
    });
    let answered = join_all(callers.collect::<Vec<_>>()).await;
    for (caller, answered) in answered.into_iter().enumerate() {
        let commits = load(past, &format!("stream-{caller}")).await;
        assert_eq!(versions(&commits), (1..=answered.unwrap()).collect::<Vec<_>>());
    }
}

/// Appends as a command does: it repeats an unanswered append, and accepts a conflict if its own command is there.
pub(crate) async fn append_at_last(store: &EventStore, stream: &str, version: u64) {
    let commit = Arc::new(commit(stream, version, 1));
    loop {
        match store.append(Arc::clone(&commit)).await {
            Ok(()) => return,
            Err(AppendError::Store(StoreError::Unavailable(_))) => {}
            Err(AppendError::Conflict) => break,
            Err(error) => panic!("{error}"),
        }
    }
    let asked = Load { command: Some(commit.command_id.clone()), ..whole(stream) };
    loop {
        match store.load(asked.clone()).await {
            Ok(stream) => {
                assert_eq!(stream.answered.unwrap().version, Version::new(version));
                return;
            }
            Err(StoreError::Unavailable(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
}
