//! The public API: the functions' routers as one, behind CORS, a bound on what is in hand, and tokens where they are asked for.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
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
use metrics::{Counter, Histogram};
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
    let gate = Gate { in_flight: AtomicUsize::new(0), most: guards.max_in_flight, meters: Meters::default() };
    let router = router.layer(middleware::from_fn_with_state(Arc::new(gate), pass));
    runtime::http::wrap(router).layer(cors(guards.cors_origins))
}

/// Through which every request comes: it bounds how many are in hand, and counts them.
struct Gate {
    in_flight: AtomicUsize,
    most: usize,
    meters: Meters,
}

/// Counts a request for as long as it is in hand, whatever becomes of it.
struct Counted<'a>(&'a AtomicUsize);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Turns requests away when too many are in hand: what is accepted keeps its latency, and memory stays bounded.
async fn pass(State(gate): State<Arc<Gate>>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let method = method_of(request.method());
    let route = route_of(request.extensions().get::<MatchedPath>().map(MatchedPath::as_str));
    let before = gate.in_flight.fetch_add(1, Ordering::Relaxed);
    let _counted = Counted(&gate.in_flight);
    let response = if before < gate.most {
        next.run(request).await
    } else {
        Problem::unavailable(1, "Too many requests are in hand.").into_response()
    };
    gate.meters.count(method, route, status_of(response.status()), started.elapsed());
    response
}

/// A label's value and its place among all. Labels have few values, whatever clients send.
type Label = (usize, &'static str);

type Series = OnceLock<(Counter, Histogram)>;

/// Requests and latencies by method, route and status. Each series is looked up once and kept, since the lookup by labels costs
/// more than the rest of the gate.
#[derive(Default)]
struct Meters {
    series: [[[Series; 5]; 5]; 5],
}

impl Meters {
    fn count(&self, method: Label, route: Label, status: Label, took: Duration) {
        let (counter, histogram) = self.series[method.0][route.0][status.0].get_or_init(|| {
            let (method, route, status) = (method.1, route.1, status.1);
            (
                metrics::counter!("orders_http_requests_total", "method" => method, "route" => route, "status" => status),
                metrics::histogram!("orders_http_request_duration_seconds", "method" => method, "route" => route),
            )
        });
        counter.increment(1);
        histogram.record(took);
    }
}

fn method_of(method: &Method) -> Label {
    match method.as_str() {
        "GET" => (0, "GET"),
        "HEAD" => (1, "HEAD"),
        "POST" => (2, "POST"),
        "DELETE" => (3, "DELETE"),
        _ => (4, "other"),
    }
}

fn route_of(matched: Option<&str>) -> Label {
    match matched {
        Some("/") => (0, "/"),
        Some("/{id}") => (1, "/{id}"),
        Some("/{id}/events") => (2, "/{id}/events"),
        Some("/{id}/versions/{version}") => (3, "/{id}/versions/{version}"),
        _ => (4, "other"),
    }
}

fn status_of(status: StatusCode) -> Label {
    match status.as_u16() {
        200..=299 => (0, "2xx"),
        300..=399 => (1, "3xx"),
        429 | 503 => (2, "shed"),
        400..=499 => (3, "4xx"),
        _ => (4, "5xx"),
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
