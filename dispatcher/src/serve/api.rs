//! The public API: the functions' routers as one, behind CORS, a bound on what is in hand, and tokens where they are asked for.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::Response;
use command_handler::CommandHandler;
use http::Method;
use http::header::{
    AUTHORIZATION, CONTENT_TYPE, ETAG, HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH, LINK, LOCATION,
    ORIGIN, RETRY_AFTER, VARY,
};
use read_store::ReadStore;
use runtime::http::{traced, with_fallbacks, wrap};
use tower_http::cors::{AllowOrigin, CorsLayer};

use super::auth::{Tokens, authenticate};
use super::gate::Gate;
use super::listener::call;

/// How the API is guarded.
pub struct Guards {
    /// Who is let in; everybody where there are no tokens.
    pub tokens: Option<Tokens>,
    /// Requests in hand at the same time, by what they need; more are turned away.
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
    let gate = Arc::new(Gate::new(guards.max_in_flight));
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
        .expose_headers([ETAG, LINK, LOCATION, RETRY_AFTER, named("order-view")])
        .max_age(Duration::from_secs(3600))
}
