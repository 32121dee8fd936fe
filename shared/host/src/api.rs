//! The public API: the functions' routers as one, behind CORS, tokens where they are asked for, and a bound on what is in hand.

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::Response;
use http::Method;
use http::header::{HeaderName, HeaderValue, ORIGIN, VARY};
use runtime::http::{check_head, traced, with_fallbacks};
use runtime::{Problem, Routes};

use crate::auth::identify;
use crate::gate::Gate;
use crate::listener::call;
use crate::origins::Origins;
use crate::route_table::RouteTable;
use crate::tokens::Tokens;

/// How the API is guarded.
pub struct Guards {
    /// Who is let in; everybody where there are no tokens.
    pub tokens: Option<Tokens>,
    /// Requests in hand at the same time, by what they need; more are turned away.
    pub max_in_flight: usize,
    /// Queries that wait for a version; more are answered at once.
    pub max_waits: usize,
    /// Whose pages a browser lets call.
    pub origins: Origins,
    /// The headers of answers that are the application's own, for pages that may call.
    pub own_headers: Vec<HeaderName>,
}

/// The API. What goes around the routes is called one in the other; as layers of a router each of them would be a boxed service,
/// cloned for each request, and together they took a fifth of what HTTP costs.
pub struct Api {
    guard: Arc<Guard>,
    routes: Router,
    /// The same behind the guard and CORS, for those whom it concerns.
    for_browsers: Router,
}

/// What stands before the routes.
struct Guard {
    gate: Arc<Gate>,
    tokens: Option<Tokens>,
    origins: Origins,
}

/// The functions' routes as one API.
pub fn api(routes: Routes, guards: Guards) -> Arc<Api> {
    let table = RouteTable::of(routes.list());
    let routes = with_fallbacks(routes.into_router());
    let Guards { tokens, max_in_flight, max_waits, origins, own_headers } = guards;
    let cors = origins.cors(table.methods(), &own_headers);
    let guard = Arc::new(Guard { gate: Gate::new(table, max_in_flight, max_waits), tokens, origins });
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
        // Browsers say where they come from, save in reads of the same origin.
        if request.headers().contains_key(ORIGIN) || request.method() == Method::OPTIONS {
            return call(self.for_browsers.clone(), request).await;
        }
        let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
        let routes = self.routes.clone();
        let mut response = self.guard.pass(request, |request| call(routes, request)).await;
        if is_read {
            // A cache must not give this one to a browser that comes from elsewhere.
            response.headers_mut().insert(VARY, HeaderValue::from_static("origin"));
        }
        response
    }

    /// Waits for the commands whose clients are gone.
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

    /// All that the head alone decides, before anything that others share: who it is, first of all.
    fn admit(&self, request: &mut Request) -> Result<(), Problem> {
        check_head(request.version(), request.headers())?;
        if let Some(tokens) = &self.tokens {
            let actor = identify(tokens, request.headers())?;
            request.extensions_mut().insert(actor);
        }
        self.origins.check(request.method(), request.headers())
    }
}
