//! A way to a server that is slow or breaks off: a TCP proxy in the test's process.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// A proxy; it takes no more connections once it is dropped.
#[derive(Debug)]
pub struct Proxy {
    faults: Arc<Faults>,
    accepting: JoinHandle<()>,
}

#[derive(Debug)]
struct Faults {
    /// How long each piece of a request or a reply waits, in milliseconds.
    delay: AtomicU64,
    /// How many replies are to be cut, and how many were.
    to_cut: AtomicUsize,
    cut: AtomicUsize,
    rewrite: Rewrite,
}

impl Proxy {
    /// A proxy before the server in this URL, and the URL with its address.
    ///
    /// # Panics
    /// When it is not a URL with one host and its port, or there is no port.
    pub async fn before(url: &str) -> (Self, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (real, near) = at_address(url, address);
        let faults = Faults {
            delay: AtomicU64::new(0),
            to_cut: AtomicUsize::new(0),
            cut: AtomicUsize::new(0),
            rewrite: Rewrite::new(&real, address),
        };
        let faults = Arc::new(faults);
        let shared = Arc::clone(&faults);
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass(client, real.clone(), Arc::clone(&shared)));
            }
        });
        (Self { faults, accepting }, near)
    }

    /// From now on each piece that goes through waits so long, either way.
    pub fn delay(&self, time: Duration) {
        self.faults.delay.store(u64::try_from(time.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Of the next so many replies the first half goes through, and then the connection is closed on both sides.
    pub fn cut(&self, replies: usize) {
        self.faults.to_cut.fetch_add(replies, Ordering::Relaxed);
    }

    /// How many replies were cut so far.
    #[must_use]
    pub fn was_cut(&self) -> usize {
        self.faults.cut.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// The `host:port` in a URL, and the URL with this address instead.
pub(crate) fn at_address(url: &str, address: SocketAddr) -> (String, String) {
    let begin = url.find("://").expect("a URL") + 3;
    let end = url[begin..].find(['/', '?']).map_or(url.len(), |length| begin + length);
    let begin = url[begin..end].rfind('@').map_or(begin, |at| begin + at + 1);
    (url[begin..end].to_owned(), format!("{}{address}{}", &url[..begin], &url[end..]))
}

async fn pass(client: TcpStream, real: String, faults: Arc<Faults>) {
    // The server may be down; the client finds its connection closed then.
    let Ok(server) = TcpStream::connect(real).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    // When one of them is over, so are both.
    tokio::select! {
        () = requests(from_client, to_server, &faults) => {}
        () = replies(from_server, to_client, &faults) => {}
    }
}

async fn requests(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, faults: &Faults) {
    let mut piece = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = from.read(&mut piece).await {
        faults.wait().await;
        if to.write_all(&piece[..read]).await.is_err() {
            return;
        }
    }
}

async fn replies(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, faults: &Faults) {
    let mut piece = vec![0; 64 * 1024];
    let mut held = Vec::new();
    while let Ok(read @ 1..) = from.read(&mut piece).await {
        faults.wait().await;
        held.extend_from_slice(&piece[..read]);
        let whole = faults.rewrite.apply(&mut held);
        if faults.take_cut() {
            let _ = to.write_all(&whole[..whole.len() / 2]).await;
            return;
        }
        if to.write_all(&whole).await.is_err() {
            return;
        }
    }
}

impl Faults {
    async fn wait(&self) {
        match self.delay.load(Ordering::Relaxed) {
            0 => {}
            delay => tokio::time::sleep(Duration::from_millis(delay)).await,
        }
    }

    fn take_cut(&self) -> bool {
        let less = |left: usize| left.checked_sub(1);
        let taken = self.to_cut.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok();
        self.cut.fetch_add(usize::from(taken), Ordering::Relaxed);
        taken
    }
}

/// A broker tells its clients where to come back to: host and port stand next to each other in what it says, and are the proxy's when
/// they come out of it. Other servers never say theirs.
#[derive(Debug)]
struct Rewrite {
    from: Vec<u8>,
    to: Vec<u8>,
}

impl Rewrite {
    fn new(real: &str, near: SocketAddr) -> Self {
        let (host, port) = real.rsplit_once(':').expect("host and port");
        let bytes = |host: &str, port: u16| [host.as_bytes(), &u32::from(port).to_be_bytes()].concat();
        let port = port.parse().expect("a port");
        assert_eq!(host, near.ip().to_string(), "what is said must not become longer");
        Self { from: bytes(host, port), to: bytes(host, near.port()) }
    }

    /// Takes what can go on; what may be the beginning of an address is kept back.
    fn apply(&self, held: &mut Vec<u8>) -> Vec<u8> {
        let size = self.from.len();
        while let Some(at) = held.windows(size).position(|bytes| bytes == self.from) {
            held[at..at + size].copy_from_slice(&self.to);
        }
        let begun = (1..size.min(held.len() + 1)).rev().find(|kept| held.ends_with(&self.from[..*kept]));
        let rest = held.split_off(held.len() - begun.unwrap_or(0));
        std::mem::replace(held, rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_rewritten_wherever_it_is_parted() {
        let rewrite = Rewrite::new("127.0.0.1:258", SocketAddr::from(([127, 0, 0, 1], 772)));
        let said = b"x127.0.0.1\0\0\x01\x02y127.0.0.1\0\0\x01\x02".as_slice();
        for parted in 0..said.len() {
            let mut held = said[..parted].to_vec();
            let mut out = rewrite.apply(&mut held);
            held.extend_from_slice(&said[parted..]);
            out.extend(rewrite.apply(&mut held));
            assert_eq!(out, b"x127.0.0.1\0\0\x03\x04y127.0.0.1\0\0\x03\x04", "{parted}");
        }
    }
}
