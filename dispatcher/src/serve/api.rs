//! The public API: the functions' routers as one, behind CORS, a bound on what is in hand, and tokens where they are asked for.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use command_handler::CommandHandler;
use http::header::{
    AUTHORIZATION, CONTENT_TYPE, ETAG, HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH, LINK, LOCATION,
    ORIGIN, RETRY_AFTER, VARY,
};
use http::{Method, StatusCode};
use metrics::{Counter, Histogram};
use read_store::ReadStore;
use runtime::Problem;
use runtime::http::{traced, with_fallbacks, wrap};
use tower_http::cors::{AllowOrigin, CorsLayer};

use super::auth::{Tokens, authenticate};
use super::listener::call;

/// How the API is guarded.
pub struct Guards {
    /// Who is let in; everybody where there are no tokens.
    pub tokens: Option<Tokens>,
    /// Requests in hand at the same time; more are turned away.
    pub max_in_flight: usize,
    /// Origins that a browser lets call; none for any.
    pub cors_origins: Vec<HeaderValue>,
}

/// The API. What goes around the routes is called one in the other; as layers of a router each of them would be a boxed service,
/// cloned for each request, and together they took a fifth of what HTTP costs.
pub struct Api {
    routes: Router,
    /// The same behind CORS, for those whom it concerns.
    for_browsers: Router,
    gate: Arc<Gate>,
}

/// The functions' routes as one API.
pub fn api(handler: &CommandHandler, view: &ReadStore, guards: Guards) -> Arc<Api> {
    let mut router = create_order::router(handler.clone())
        .merge(process_order::router(handler.clone()))
        .merge(cancel_order::router(handler.clone()))
        .merge(query::router(view.clone()))
        .merge(history::router(handler.store().clone()));
    if let Some(tokens) = guards.tokens {
        router = router.layer(middleware::from_fn_with_state(tokens, authenticate));
    }
    let meters = Meters::default();
    let gate = Arc::new(Gate { in_flight: AtomicUsize::new(0), most: guards.max_in_flight, meters });
    let at_gate = Arc::clone(&gate);
    let gated = router.clone().layer(middleware::from_fn(move |request: Request, next: Next| {
        let gate = Arc::clone(&at_gate);
        async move { gate.pass(request, |request| next.run(request)).await }
    }));
    let for_browsers = wrap(gated).layer(cors(guards.cors_origins));
    Arc::new(Api { routes: with_fallbacks(router), for_browsers, gate })
}

impl Api {
    /// Answers a request.
    pub async fn answer(self: Arc<Self>, request: Request) -> Response {
        // Browsers say where they come from, save in reads of the same origin.
        if request.headers().contains_key(ORIGIN) || request.method() == Method::OPTIONS {
            return call(self.for_browsers.clone(), request).await;
        }
        let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
        let passed = |request| self.gate.pass(request, |request| call(self.routes.clone(), request));
        let mut response = traced(request, passed).await;
        if is_read {
            // A cache must not give this one to a browser that comes from elsewhere.
            response.headers_mut().insert(VARY, HeaderValue::from_static("origin"));
        }
        response
    }
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

impl Gate {
    /// Turns requests away when too many are in hand: what is accepted keeps its latency, and memory stays bounded.
    async fn pass<F: Future<Output = Response>>(
        &self,
        request: Request,
        answer: impl FnOnce(Request) -> F,
    ) -> Response {
        let started = Instant::now();
        let method = method_of(request.method());
        let route = route_of(request.uri().path());
        let before = self.in_flight.fetch_add(1, Ordering::Relaxed);
        let _counted = Counted(&self.in_flight);
        let response = if before < self.most {
            answer(request).await
        } else {
            Problem::unavailable(1, "Too many requests are in hand.").into_response()
        };
        self.meters.count(method, route, status_of(response.status()), started.elapsed());
        response
    }
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

fn route_of(path: &str) -> Label {
    let mut parts = path.split('/').skip(1);
    match [parts.next(), parts.next(), parts.next(), parts.next()] {
        [Some(""), None, ..] => (0, "/"),
        [None | Some(""), ..] => (4, "other"),
        [_, None, ..] => (1, "/{id}"),
        [_, Some("events"), None, _] => (2, "/{id}/events"),
        [_, Some("versions"), Some(version), None] if !version.is_empty() => (3, "/{id}/versions/{version}"),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_counted_under_its_route() {
        for (path, route) in [
            ("/", "/"),
            ("/a", "/{id}"),
            ("/a/events", "/{id}/events"),
            ("/a/versions/7", "/{id}/versions/{version}"),
        ] {
            assert_eq!(route_of(path).1, route);
        }
        for path in [
            "",
            "//",
            "/a/",
            "//events",
            "/a/other",
            "/a/events/",
            "/a/versions",
            "/a/versions/",
            "/a/versions/7/8",
        ] {
            assert_eq!(route_of(path).1, "other", "{path}");
        }
    }
}
