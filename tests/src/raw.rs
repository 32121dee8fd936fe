//! Clients that do not send requests as they should: they send raw bytes on connections of their own.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;

use crate::poll::until;

/// The time limit for a server to close a connection that is not used as it should be.
const PATIENCE: Duration = Duration::from_secs(120);

/// The pause between two bytes of a slow client.
const SLOW: Duration = Duration::from_millis(100);

/// The number of connections that may wait until a server takes them. If the queue is full, the kernel tries a connection again
/// after a second, and then after twice as long each time.
const QUEUE: usize = 64;

/// Opens so many connections, and waits until the server has taken them.
///
/// # Panics
/// When it can't be reached, or does not take them.
pub async fn connections(address: SocketAddr, count: usize) -> Vec<TcpStream> {
    let mut taken = Vec::with_capacity(count);
    while taken.len() < count {
        for _ in 0..QUEUE.min(count - taken.len()) {
            taken.push(TcpStream::connect(address).await.expect("the server is there"));
        }
        until("connections to be taken", async || (waiting(address) == 0).then_some(())).await;
    }
    taken
}

/// Returns how many connections wait for the listener at this address, from Linux's `/proc/net/tcp`. For a listener, the column
/// of received bytes holds this number.
fn waiting(address: SocketAddr) -> u64 {
    // Listeners come first, and very many other sockets may follow, so it reads no further than needed.
    let sockets = BufReader::new(File::open("/proc/net/tcp").expect("Linux tells"));
    let port = format!(":{:04X}", address.port());
    let queue = sockets.lines().map_while(Result::ok).find_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let (local, _, state) = (fields.next()?, fields.next()?, fields.next()?);
        let (_, received) = fields.next()?.split_once(':')?;
        (state == "0A" && local.ends_with(&port))
            .then(|| u64::from_str_radix(received, 16).expect("a number"))
    });
    queue.expect("somebody listens there")
}

/// Sends these bytes, and returns all that the server answers until it closes the connection.
///
/// # Panics
/// When it can't be reached, or does not close the connection.
pub async fn said_to(address: SocketAddr, bytes: &[u8]) -> String {
    let stream = TcpStream::connect(address).await.expect("the server is there");
    exchange(stream, bytes, async |_| {}).await
}

/// Does the same over this connection. It sends the first bytes at once, and the others one at a time.
///
/// # Panics
/// When it does not close the connection.
pub async fn said_to_slow(stream: TcpStream, at_once: &[u8], slowly: &[u8]) -> String {
    let trickle = async |writer: &mut OwnedWriteHalf| {
        for byte in slowly.chunks(1) {
            if writer.write_all(byte).await.is_err() {
                return;
            }
            tokio::time::sleep(SLOW).await;
        }
    };
    exchange(stream, at_once, trickle).await
}

/// Sends these bytes and closes the client's side. Returns all that the server answers.
///
/// # Panics
/// When it can't be reached, or does not close the connection.
pub async fn said_to_half_closed(address: SocketAddr, bytes: &[u8]) -> String {
    let stream = TcpStream::connect(address).await.expect("the server is there");
    let close = async |writer: &mut OwnedWriteHalf| writer.shutdown().await.expect("it can be closed");
    exchange(stream, bytes, close).await
}

/// The way in which a client leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaving {
    /// It closes its connection in order, without reading the answer.
    Closing,
    /// It resets its connection.
    Reset,
}

/// Sends these bytes, and leaves.
///
/// # Panics
/// When the server can't be reached.
pub async fn send_and_leave(address: SocketAddr, bytes: &[u8], leaving: Leaving) {
    let mut stream = TcpStream::connect(address).await.expect("the server is there");
    stream.write_all(bytes).await.expect("the kernel takes it");
    if leaving == Leaving::Reset {
        rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).expect("a socket");
    }
}

/// Returns a request with this first line, these headers and this body.
#[must_use]
pub fn request(line: &str, headers: &str, body: &str) -> Vec<u8> {
    format!("{line} HTTP/1.1\r\nhost: x\r\n{headers}content-length: {}\r\n\r\n{body}", body.len())
        .into_bytes()
}

/// Returns a header's value in an answer's head; empty when there is none.
#[must_use]
pub fn header<'a>(said: &'a str, name: &str) -> &'a str {
    let head = said.split("\r\n\r\n").next().unwrap_or_default();
    let lines = head.lines().filter_map(|line| line.split_once(": "));
    lines.filter(|(is, _)| is.eq_ignore_ascii_case(name)).map(|(_, value)| value).next().unwrap_or_default()
}

async fn exchange(stream: TcpStream, bytes: &[u8], more: impl AsyncFnOnce(&mut OwnedWriteHalf)) -> String {
    let (mut reader, mut writer) = stream.into_split();
    let sending = async {
        // The request may be refused before all of it was sent. The writer is kept, because dropping it would end the request.
        let _ = writer.write_all(bytes).await;
        more(&mut writer).await;
        std::future::pending::<()>().await;
    };
    let mut said = Vec::new();
    let reading = async {
        // A connection that was reset is closed too.
        let _ = reader.read_to_end(&mut said).await;
    };
    let done = async {
        tokio::select! {
            () = reading => {}
            () = sending => {}
        }
    };
    tokio::time::timeout(PATIENCE, done).await.expect("the server closes the connection");
    String::from_utf8_lossy(&said).into_owned()
}

/// Returns the statuses of all answers that a server has sent.
#[must_use]
pub fn statuses(said: &str) -> Vec<u16> {
    let status = |rest: &str| rest.get(..3).and_then(|digits| digits.parse().ok());
    said.split("HTTP/1.1 ").skip(1).filter_map(status).collect()
}

/// Raises the limit of open files, and returns whether this process may have so many connections.
#[must_use]
pub fn may_have(connections: u64) -> bool {
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(u64::MAX);
    let room = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).is_ok();
    // Some are open already.
    room && most >= connections + 500
}
