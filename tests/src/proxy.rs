//! A TCP proxy in the test's process. It makes the way to a server slow, or cuts it off.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// A proxy; it takes no more connections once it is dropped.
#[derive(Debug)]
pub struct Proxy {
    faults: Arc<Faults>,
    accepting: JoinHandle<()>,
}

#[derive(Debug)]
struct Faults {
    /// The delay of each piece of a request or a reply, in milliseconds.
    delay: AtomicU64,
    /// The number of replies still to be cut.
    to_cut: AtomicUsize,
    /// The number of replies that were cut.
    cut: AtomicUsize,
    /// Ends every connection that there is.
    hang_up: Notify,
    /// The number of pieces of replies that went through.
    passed: AtomicUsize,
    rewrite: Rewrite,
}

impl Proxy {
    /// Returns a proxy in front of the server in this URL, and the URL with the proxy's address.
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
            hang_up: Notify::new(),
            passed: AtomicUsize::new(0),
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

    /// Delays from now on each piece that goes through, in both directions.
    pub fn delay(&self, time: Duration) {
        self.faults.delay.store(u64::try_from(time.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Cuts the next so many replies: the first half goes through, and then both sides of the connection are closed.
    pub fn cut(&self, replies: usize) {
        self.faults.to_cut.fetch_add(replies, Ordering::Relaxed);
    }

    /// Closes every connection that there is. New ones go through.
    pub fn hang_up(&self) {
        self.faults.hang_up.notify_waiters();
    }

    /// Returns the number of pieces of replies that went through so far.
    #[must_use]
    pub fn passed(&self) -> usize {
        self.faults.passed.load(Ordering::Relaxed)
    }

    /// Returns the number of replies that were cut so far.
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

/// Returns the `host:port` in a URL, and the URL with this address instead.
pub(crate) fn at_address(url: &str, address: SocketAddr) -> (String, String) {
    let begin = url.find("://").expect("a URL") + 3;
    let end = url[begin..].find(['/', '?']).map_or(url.len(), |length| begin + length);
    let begin = url[begin..end].rfind('@').map_or(begin, |at| begin + at + 1);
    (url[begin..end].to_owned(), format!("{}{address}{}", &url[..begin], &url[end..]))
}

async fn pass(client: TcpStream, real: String, faults: Arc<Faults>) {
    // The server may be down; then the client finds its connection closed.
    let Ok(server) = TcpStream::connect(real).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    // When one direction ends, the other ends too.
    tokio::select! {
        () = faults.hang_up.notified() => {}
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
        faults.passed.fetch_add(1, Ordering::Relaxed);
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

/// Replaces the address that a broker sends to its clients for later connections. Host and port are next to each other in its
/// replies, and the proxy puts its own there. Other servers never send their address.
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

    /// Removes and returns the bytes that can go on. It keeps back bytes that may be the beginning of an address.
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
