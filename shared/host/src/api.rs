//! The public API: the functions' routers as one. Before them stand CORS, tokens if they are asked for, and a bound on the
//! requests in hand.

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::Response;
use http::Method;
use http::header::{HeaderName, HeaderValue, ORIGIN, VARY};
use runtime::http::{check_head, traced, with_fallbacks};
use runtime::{Problem, Routes};
use tokio::sync::watch;

use crate::auth::identify;
use crate::gate::Gate;
use crate::listener::call;
use crate::origins::Origins;
use crate::registration::ViewStatus;
use crate::route_table::RouteTable;
use crate::tokens::Tokens;

/// The settings that guard the API.
pub struct Guards {
    /// The accepted tokens. Without tokens everybody may call.
    pub tokens: Option<Tokens>,
    /// The most requests in hand at the same time, of each kind. Further ones are refused.
    pub max_in_flight: usize,
    /// The most queries that wait for a version. Further ones are answered at once.
    pub max_waits: usize,
    /// The origins of the pages that may call from a browser.
    pub origins: Origins,
    /// The application's own headers of answers, which pages that may call can read.
    pub own_headers: Vec<HeaderName>,
    /// Whether each view can be queried.
    pub view_statuses: Vec<watch::Receiver<ViewStatus>>,
}

/// The API. The parts around the routes are plain calls, one within the other. As layers of a router, each part would be a boxed
/// service, cloned for each request. Together such layers took a fifth of the cost of HTTP.
pub struct Api {
    guard: Arc<Guard>,
    routes: Router,
    /// The same routes behind the guard and CORS, for browsers.
    for_browsers: Router,
}

/// The checks before the routes.
struct Guard {
    gate: Arc<Gate>,
    tokens: Option<Tokens>,
    origins: Origins,
}

/// The functions' routes as one API.
pub fn api(routes: Routes, guards: Guards) -> Arc<Api> {
    let table = RouteTable::of(routes.list());
    let routes = with_fallbacks(routes.into_router());
    let Guards { tokens, max_in_flight, max_waits, origins, own_headers, view_statuses } = guards;
    let cors = origins.cors(table.methods(), &own_headers);
    let guard =
        Arc::new(Guard { gate: Gate::new(table, max_in_flight, max_waits, view_statuses), tokens, origins });
    let before = Arc::clone(&guard);
    let guarded = routes.clone().layer(middleware::from_fn(move |request: Request, next: Next| {
        let guard = Arc::clone(&before);
        async move { guard.pass(request, |request| next.run(request)).await }
    }));
    Arc::new(Api { guard, routes, for_browsers: guarded.layer(cors) })
}

impl Api {
    /// Answers a request.
    pub async fn answer(self: Arc<Self>, request: Request) -> Response {
        traced(request, |request| self.behind_trace(request)).await
    }

    async fn behind_trace(self: Arc<Self>, request: Request) -> Response {
        // A browser names its page's origin, except in reads of the same origin.
        if request.headers().contains_key(ORIGIN) || request.method() == Method::OPTIONS {
            return call(self.for_browsers.clone(), request).await;
        }
        let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
        let routes = self.routes.clone();
        let mut response = self.guard.pass(request, |request| call(routes, request)).await;
        if is_read {
            // A cache must not give this answer to a browser whose page has another origin.
            response.headers_mut().insert(VARY, HeaderValue::from_static("origin"));
        }
        response
    }

    /// Waits until all commands whose clients are gone have finished.
    pub async fn idle(&self) {
        self.guard.gate.idle().await;
    }
}

impl Guard {
    async fn pass<F>(&self, request: Request, answer: impl FnOnce(Request) -> F + Send + 'static) -> Response
    where
        F: Future<Output = Response> + Send + 'static,
    {
        self.gate.pass(request, |request| self.admit(request), answer).await
    }

    /// Checks all that the head alone decides: its form, the sender's token and the page's origin. This comes before the request
    /// uses anything that requests share.
    fn admit(&self, request: &mut Request) -> Result<(), Problem> {
        check_head(request.version(), request.headers())?;
        if let Some(tokens) = &self.tokens {
            let actor = identify(tokens, request.headers())?;
            request.extensions_mut().insert(actor);
        }
        self.origins.check(request.method(), request.headers())
    }
}
