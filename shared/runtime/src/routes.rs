//! The routes of a function, as it declares them. They hold the handlers, and the facts that others take from here: a server's gate
//! and meters, the template and the router of cargo-lambda.

use axum::Router;
use axum::handler::Handler;
use axum::routing::{MethodRouter, delete, get, post};
use http::Method;

/// The store that a handler asks. A server bounds the requests of each store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    /// The event store.
    Events,
    /// The read store.
    Views,
}

/// A route of a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The function's name, which is also the name of its folder and its binary.
    pub function: &'static str,
    /// The method.
    pub method: Method,
    /// The path, with its parameters in braces: `/{id}`.
    pub path: &'static str,
    /// The store that its handler asks.
    pub store: Store,
    /// The query parameter that makes a request wait.
    pub waits_for: Option<&'static str>,
}

/// The routes of a function, or of several.
///
/// ```
/// use axum::extract::State;
/// use runtime::{Routes, Store};
///
/// async fn greet(State(greeting): State<String>) -> String {
///     greeting
/// }
///
/// let routes = Routes::of("greeter", Store::Views).get("/", greet).with_state("Hello".to_owned());
/// let methods: Vec<&str> = routes.list().iter().map(|route| route.method.as_str()).collect();
/// assert_eq!(methods, ["GET", "HEAD"]);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Routes {
    router: Router,
    list: Vec<Route>,
}

/// A function's routes while it declares them. [`RoutesBuilder::with_state`] ends this.
#[derive(Clone, Debug)]
pub struct RoutesBuilder<State> {
    function: &'static str,
    store: Store,
    router: Router<State>,
    list: Vec<Route>,
}

impl Routes {
    /// Begins the routes of this function, whose handlers ask this store.
    pub fn of<State>(function: &'static str, store: Store) -> RoutesBuilder<State>
    where
        State: Clone + Send + Sync + 'static,
    {
        RoutesBuilder { function, store, router: Router::new(), list: Vec::new() }
    }

    /// Returns these routes and those of another function.
    #[must_use]
    pub fn merge(mut self, other: Self) -> Self {
        self.list.extend(other.list);
        Self { router: self.router.merge(other.router), list: self.list }
    }

    /// The routes, in the sequence in which they were declared. HEAD is among them where GET is.
    #[must_use]
    pub fn list(&self) -> &[Route] {
        &self.list
    }

    /// The router that answers them.
    pub fn into_router(self) -> Router {
        self.router
    }
}

impl<State: Clone + Send + Sync + 'static> RoutesBuilder<State> {
    /// Adds a route for GET and HEAD.
    #[must_use]
    pub fn get<H: Handler<Input, State>, Input: 'static>(self, path: &'static str, handler: H) -> Self {
        self.route(path, &[Method::GET, Method::HEAD], get(handler))
    }

    /// Adds a route for POST.
    #[must_use]
    pub fn post<H: Handler<Input, State>, Input: 'static>(self, path: &'static str, handler: H) -> Self {
        self.route(path, &[Method::POST], post(handler))
    }

    /// Adds a route for DELETE.
    #[must_use]
    pub fn delete<H: Handler<Input, State>, Input: 'static>(self, path: &'static str, handler: H) -> Self {
        self.route(path, &[Method::DELETE], delete(handler))
    }

    /// Says that requests of the last route wait if their query has this parameter. A server bounds them apart from all others.
    #[must_use]
    pub fn waits_for(mut self, parameter: &'static str) -> Self {
        let last = self.list.last().map(|route| route.path);
        let of_last = self.list.iter_mut().filter(|route| Some(route.path) == last);
        of_last.for_each(|route| route.waits_for = Some(parameter));
        self
    }

    /// Ends the declaration: returns the routes, with the state that their handlers need.
    #[must_use]
    pub fn with_state(self, state: State) -> Routes {
        Routes { router: self.router.with_state(state), list: self.list }
    }

    fn route(mut self, path: &'static str, methods: &[Method], handlers: MethodRouter<State>) -> Self {
        let (function, store) = (self.function, self.store);
        let of_method =
            |method: &Method| Route { function, method: method.clone(), path, store, waits_for: None };
        self.list.extend(methods.iter().map(of_method));
        Self { router: self.router.route(path, handlers), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_declares_each_method_of_each_path_with_its_store() {
        let routes = Routes::of("reader", Store::Views)
            .get("/", async || "all")
            .get("/{id}", async || "one")
            .waits_for("min_version")
            .with_state(());
        let writer =
            Routes::of("writer", Store::Events).post("/", async || "new").delete("/{id}", async || "gone");
        let routes = routes.merge(writer.with_state(()));
        let route =
            |function, method, path, store, waits_for| Route { function, method, path, store, waits_for };
        assert_eq!(
            routes.list(),
            [
                route("reader", Method::GET, "/", Store::Views, None),
                route("reader", Method::HEAD, "/", Store::Views, None),
                route("reader", Method::GET, "/{id}", Store::Views, Some("min_version")),
                route("reader", Method::HEAD, "/{id}", Store::Views, Some("min_version")),
                route("writer", Method::POST, "/", Store::Events, None),
                route("writer", Method::DELETE, "/{id}", Store::Events, None),
            ]
        );
    }
}
