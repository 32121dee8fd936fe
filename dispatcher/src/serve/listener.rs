//! Connections in, requests to a router, and an orderly end.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tower::Service;

use crate::CannotStart;

/// How long a client may take for the head of a request; also how long a connection may be idle.
const HEAD_PATIENCE: Duration = Duration::from_secs(30);

/// The largest head of a request: its first line and its headers.
const HEAD_LIMIT: usize = 16 * 1024;

/// How many connections may wait to be accepted, as far as the system lets them (`net.core.somaxconn`). Beyond that it drops what comes,
/// and a client tries again a second later; the default of 128 is less than a crowd of clients that come back at once.
const BACKLOG: u32 = 4_096;

/// How long accepting pauses when the process is out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Takes an address.
///
/// # Errors
/// [`CannotStart`] when it is in use, or not this machine's.
pub fn bind(address: SocketAddr, flag: &str) -> Result<TcpListener, CannotStart> {
    listen(address).map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            CannotStart(format!("{address} is in use by another process; choose another with {flag}"))
        }
        _ => CannotStart(format!("{flag} {address} can't be listened on: {error}")),
    })
}

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // The connections of a process that was killed are no reason to wait for its address.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Answers requests until told to stop; then takes no more, lets running ones finish for up to `grace`, and returns.
pub async fn serve<A, F>(listener: TcpListener, answer: A, mut stop: watch::Receiver<bool>, grace: Duration)
where
    A: Fn(Request) -> F + Clone + Send + 'static,
    F: Future<Output = Response> + Send + 'static,
{
    let connections = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        match accepted {
            Ok((stream, _)) => serve_connection(stream, answer.clone(), &connections),
            Err(error) => {
                // The client is gone, or there are no file descriptors; neither is a reason to end.
                tracing::debug!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    if tokio::time::timeout(grace, connections.shutdown()).await.is_err() {
        tracing::warn!("connections were cut off: their requests did not end in time");
    }
}

/// A router's answer.
pub async fn call(mut router: Router, request: Request) -> Response {
    router.call(request).await.unwrap_or_else(|never| match never {})
}

fn serve_connection<A, F>(stream: TcpStream, answer: A, connections: &GracefulShutdown)
where
    A: Fn(Request) -> F + Send + 'static,
    F: Future<Output = Response> + Send + 'static,
{
    // Answers are small; waiting to fill a packet would only delay them.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let answer = answer(request.map(Body::new));
        async { Ok::<_, Infallible>(answer.await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_PATIENCE)
        .max_buf_size(HEAD_LIMIT)
        .serve_connection(TokioIo::new(stream), service);
    let connection = connections.watch(connection);
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection ended badly");
            metrics::counter!("orders_http_bad_connections_total", "reason" => reason(&error)).increment(1);
        }
    });
}

/// Why a connection has ended that was not closed in order. Its client was answered 400, 414 or 431 where its request could not be read.
fn reason(error: &hyper::Error) -> &'static str {
    match error {
        error if error.is_parse_too_large() => "too-large",
        error if error.is_parse() => "malformed",
        error if error.is_timeout() => "timed-out",
        _ => "broken-off",
    }
}
