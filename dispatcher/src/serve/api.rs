//! The public API: the functions' routers as one, behind CORS, a bound on what is in hand, and tokens where they are asked for.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use command_handler::CommandHandler;
use http::header::{
    AUTHORIZATION, CONTENT_TYPE, ETAG, HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH, LINK, LOCATION,
    RETRY_AFTER,
};
use http::{Method, StatusCode};
use read_store::ReadStore;
use runtime::Problem;
use tower_http::cors::{AllowOrigin, CorsLayer};

use super::auth::{Tokens, authenticate};

/// How the API is guarded.
pub struct Guards {
    /// Who is let in; everybody where there are no tokens.
    pub tokens: Option<Tokens>,
    /// Requests in hand at the same time; more are turned away.
    pub max_in_flight: usize,
    /// Origins that a browser lets call; none for any.
    pub cors_origins: Vec<HeaderValue>,
}

/// The functions' routes as one router.
pub fn router(handler: &CommandHandler, view: &ReadStore, guards: Guards) -> Router {
    let mut router = create_order::router(handler.clone())
        .merge(process_order::router(handler.clone()))
        .merge(cancel_order::router(handler.clone()))
        .merge(query::router(view.clone()))
        .merge(history::router(handler.store().clone()));
    if let Some(tokens) = guards.tokens {
        router = router.layer(middleware::from_fn_with_state(tokens, authenticate));
    }
    let in_flight = InFlight { now: Arc::default(), most: guards.max_in_flight };
    let router =
        router.layer(middleware::from_fn_with_state(in_flight, bounded)).layer(middleware::from_fn(measured));
    runtime::http::wrap(router).layer(cors(guards.cors_origins))
}

#[derive(Clone)]
struct InFlight {
    now: Arc<AtomicUsize>,
    most: usize,
}

/// Counts a request for as long as it is in hand, whatever becomes of it.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Turns requests away when too many are in hand: what is accepted keeps its latency, and memory stays bounded.
async fn bounded(State(in_flight): State<InFlight>, request: Request, next: Next) -> Response {
    let before = in_flight.now.fetch_add(1, Ordering::Relaxed);
    let _counted = Counted(Arc::clone(&in_flight.now));
    if before >= in_flight.most {
        return Problem::unavailable(1, "Too many requests are in hand.").into_response();
    }
    next.run(request).await
}

async fn measured(matched: Option<MatchedPath>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let method = method_name(request.method());
    let response = next.run(request).await;
    let route = route_name(matched.as_ref().map(MatchedPath::as_str));
    let status = status_class(response.status());
    metrics::counter!("orders_http_requests_total", "method" => method, "route" => route, "status" => status)
        .increment(1);
    metrics::histogram!("orders_http_request_duration_seconds", "method" => method, "route" => route)
        .record(started.elapsed());
    response
}

/// Labels have few values, whatever clients send.
fn method_name(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "DELETE" => "DELETE",
        _ => "other",
    }
}

fn route_name(matched: Option<&str>) -> &'static str {
    match matched {
        Some("/") => "/",
        Some("/{id}") => "/{id}",
        Some("/{id}/events") => "/{id}/events",
        Some("/{id}/versions/{version}") => "/{id}/versions/{version}",
        _ => "other",
    }
}

fn status_class(status: StatusCode) -> &'static str {
    match status.as_u16() {
        200..=299 => "2xx",
        300..=399 => "3xx",
        429 | 503 => "shed",
        400..=499 => "4xx",
        _ => "5xx",
    }
}

fn cors(origins: Vec<HeaderValue>) -> CorsLayer {
    let origin = if origins.is_empty() { AllowOrigin::any() } else { AllowOrigin::list(origins) };
    let named = HeaderName::from_static;
    CorsLayer::new()
        .allow_origin(origin)
        .allow_methods([Method::GET, Method::HEAD, Method::POST, Method::DELETE, Method::OPTIONS])
        .allow_headers([
            AUTHORIZATION,
            CONTENT_TYPE,
            IF_MATCH,
            IF_NONE_MATCH,
            named("idempotency-key"),
            named("prefer"),
            named("traceparent"),
        ])
        .expose_headers([ETAG, LINK, LOCATION, RETRY_AFTER])
        .max_age(Duration::from_secs(3600))
}
