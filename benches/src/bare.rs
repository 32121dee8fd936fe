//! A server that reads every request and always gives the same answer. It shows the cost of HTTP on this machine without orders.

use std::net::SocketAddr;

use axum::Router;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, ETAG};
use axum::routing::{get, post};
use bytes::Bytes;
use tokio::net::TcpListener;

const ORDER: &str = r#"{"id":"load-00000000-00000","name":"load-00000000-00000","status":"new","version":1,"created_at":"2026-01-02T03:04:05.678901Z","updated_at":"2026-01-02T03:04:05.678901Z"}"#;
const HEADERS: [(axum::http::HeaderName, &str); 2] = [(CONTENT_TYPE, "application/json"), (ETAG, "\"1\"")];

pub(crate) async fn serve(listen: SocketAddr) -> anyhow::Result<()> {
    let listener = TcpListener::bind(listen).await?;
    let router = Router::new().route("/", post(create)).route("/{id}", get(show).post(process));
    let listener = axum::serve::ListenerExt::tap_io(listener, |stream| {
        // An answer is one small packet, not to be held back. A failure shows in the figures only.
        let _ = stream.set_nodelay(true);
    });
    Ok(axum::serve(listener, router).await?)
}

async fn create(_read: Bytes) -> (StatusCode, [(axum::http::HeaderName, &'static str); 2], &'static str) {
    (StatusCode::CREATED, HEADERS, ORDER)
}

async fn process(_read: Bytes) -> ([(axum::http::HeaderName, &'static str); 2], &'static str) {
    show().await
}

async fn show() -> ([(axum::http::HeaderName, &'static str); 2], &'static str) {
    (HEADERS, ORDER)
}
