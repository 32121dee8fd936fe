//! Accepts connections, has their requests answered, and ends in an orderly way.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::Request;
use axum::http::HeaderValue;
use axum::http::header::CONNECTION;
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use runtime::Problem;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tower::Service;

use crate::CannotStart;
use crate::connections::{Arriving, Connections, Place, Watched};

/// How long a client may take for the head of a request; also how long a connection may be idle.
const HEAD_PATIENCE: Duration = Duration::from_secs(30);

/// The largest head of a request: its first line and its headers.
const HEAD_LIMIT: usize = 16 * 1024;

/// How many connections may wait to be accepted; the system may lower it (`net.core.somaxconn`). The system drops further
/// connections, and their clients try again a second later. The default of 128 is too small for a crowd of clients that come back
/// at once.
const BACKLOG: u32 = 4_096;

/// How many bytes of an answer the kernel buffers for a client that does not read. Without this limit it would buffer 4 MiB.
const SEND_BUFFER: u32 = 256 * 1024;

/// How long accepting pauses when the process is out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Listens on an address.
///
/// # Errors
/// [`CannotStart`] when the address is in use, or does not belong to this machine.
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
    // The connections of a killed process would block its address for a time. With this option the next process need not wait.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    // Accepted connections inherit the size from the listener.
    socket.set_send_buffer_size(SEND_BUFFER)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Answers requests on at most `most_connections` connections until `stop` is true. Then it accepts no more, and returns when the
/// running requests have finished.
pub async fn serve<A, F>(
    listener: TcpListener,
    most_connections: usize,
    answer: A,
    mut stop: watch::Receiver<bool>,
) where
    A: Fn(Request) -> F + Clone + Send + 'static,
    F: Future<Output = Response> + Send + 'static,
{
    let (graceful, connections) = (GracefulShutdown::new(), Connections::new(most_connections));
    let accepting = async {
        loop {
            match listener.accept().await {
                // A connection that gets no place is closed.
                Ok((stream, _)) => match connections.take_place().await {
                    Some(place) => serve_connection(stream, place, answer.clone(), &graceful),
                    None => tracing::debug!("a connection found no place"),
                },
                Err(error) => {
                    // The client is gone, or there are no file descriptors; neither is a reason to end.
                    tracing::debug!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    };
    tokio::select! {
        () = accepting => {}
        () = connections.look_after() => {}
        _ = stop.wait_for(|stop| *stop) => {}
    }
    drop(listener);
    graceful.shutdown().await;
}

/// The router's answer to a request.
pub async fn call(mut router: Router, request: Request) -> Response {
    router.call(request).await.unwrap_or_else(|never| match never {})
}

fn serve_connection<A, F>(stream: TcpStream, place: Place, answer: A, graceful: &GracefulShutdown)
where
    A: Fn(Request) -> F + Send + 'static,
    F: Future<Output = Response> + Send + 'static,
{
    // Answers are small; waiting to fill a packet would only delay them.
    let _ = stream.set_nodelay(true);
    let connection = Arc::clone(&place.connection);
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let connection = Arc::clone(&connection);
        connection.begin();
        let request = request.map(|body| Body::new(Arriving { body, connection: Arc::clone(&connection) }));
        let answer = answer(request);
        async move {
            let answer = answer.await;
            let is_sent = connection.answer(answer.body().size_hint().lower());
            Ok::<_, Infallible>(if is_sent { answer } else { crowded_out() })
        }
    });
    let stream = Watched { stream, connection: Arc::clone(&place.connection) };
    // A request may have both a length and chunks. As RFC 9112 (6.1) asks, hyper goes by the chunks and closes the connection
    // after them. So nothing after the chunks is ever read as another request.
    let exchange = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_PATIENCE)
        .max_buf_size(HEAD_LIMIT)
        // A client that has sent its request may close its own side (RFC 9112, 9.6).
        .half_close(true)
        .serve_connection(TokioIo::new(stream), service);
    let exchange = graceful.watch(exchange);
    tokio::spawn(async move {
        let ended = tokio::select! {
            ended = exchange => ended,
            () = place.connection.cut() => return,
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection ended badly");
            metrics::counter!("http_bad_connections_total", "reason" => reason(&error)).increment(1);
        }
    });
}

/// The answer that replaces a large one for which there is no room.
fn crowded_out() -> Response {
    let problem = Problem::unavailable(1, "Too many answers wait for their clients to take them.");
    let mut answer = problem.unlogged().into_response();
    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    answer
}

/// The reason why a connection was not closed in order. If its request could not be read, the client got 400, 414 or 431.
fn reason(error: &hyper::Error) -> &'static str {
    match error {
        error if error.is_parse_too_large() => "too-large",
        error if error.is_parse() => "malformed",
        error if error.is_timeout() => "timed-out",
        _ => "broken-off",
    }
}
