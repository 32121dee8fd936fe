//! Finds routes by method and path. The gate and the meters need the route before axum has the request.

use http::Method;
use matchit::Router;
use runtime::Route;

/// The routes of the API.
pub struct RouteTable {
    routes: Vec<Route>,
    /// Each method once: the safe ones first (RFC 9110, 9.2.1).
    methods: Vec<Method>,
    /// Each path once.
    paths: Vec<&'static str>,
    /// From a path to its index in `paths`.
    by_path: Router<usize>,
}

/// The indices of a request's method and path in the table. A method or a path that no route has gets the index after the last
/// one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteIndex {
    /// The method's.
    pub method: usize,
    /// The path's.
    pub path: usize,
}

impl RouteTable {
    /// The table of these routes.
    pub fn of(routes: &[Route]) -> Self {
        let mut table =
            Self { routes: routes.to_vec(), methods: Vec::new(), paths: Vec::new(), by_path: Router::new() };
        for Route { method, path, .. } in routes {
            if !table.methods.contains(method) {
                table.methods.push(method.clone());
            }
            // `insert` refuses a path that is here already. It also refuses a path that conflicts with another; axum refuses that
            // too.
            if table.by_path.insert(*path, table.paths.len()).is_ok() {
                table.paths.push(path);
            }
        }
        table.methods.sort_by_key(|method| !method.is_safe());
        table
    }

    /// The methods that the routes have.
    pub fn methods(&self) -> &[Method] {
        &self.methods
    }

    /// The numbers of indices of methods and of paths.
    pub fn size(&self) -> RouteIndex {
        RouteIndex { method: self.methods.len() + 1, path: self.paths.len() + 1 }
    }

    /// The indices of a request.
    pub fn index(&self, method: &Method, path: &str) -> RouteIndex {
        let method = self.methods.iter().position(|known| known == method);
        // An empty parameter names nothing: `//events` is the history of no stream.
        let matched =
            self.by_path.at(path).ok().filter(|found| found.params.iter().all(|(_, text)| !text.is_empty()));
        let path = matched.map_or(self.paths.len(), |found| *found.value);
        RouteIndex { method: method.unwrap_or(self.methods.len()), path }
    }

    /// The method and the path, as metrics name them.
    pub fn names(&self, index: RouteIndex) -> (String, &'static str) {
        let method = self.methods.get(index.method).map_or("other", Method::as_str);
        (method.to_owned(), self.paths.get(index.path).copied().unwrap_or("other"))
    }

    /// The route with this method and this path.
    pub fn route(&self, index: RouteIndex) -> Option<&Route> {
        let (method, path) = (self.methods.get(index.method)?, self.paths.get(index.path)?);
        self.routes.iter().find(|route| route.method == *method && route.path == *path)
    }
}

#[cfg(test)]
mod tests {
    use runtime::{Routes, Store};

    use super::*;

    fn table() -> RouteTable {
        let views = Routes::of("query", Store::Views).get("/", async || ()).get("/{id}", async || ());
        let events = Routes::of("history", Store::Events)
            .post("/", async || ())
            .get("/{id}/events", async || ())
            .get("/{id}/versions/{version}", async || ());
        RouteTable::of(events.with_state(()).merge(views.with_state(())).list())
    }

    #[test]
    fn a_path_is_counted_under_its_route() {
        let table = table();
        let route_of = |path| table.names(table.index(&Method::GET, path)).1;
        for (path, route) in [
            ("/", "/"),
            ("/a", "/{id}"),
            ("/a/events", "/{id}/events"),
            ("/a/versions/7", "/{id}/versions/{version}"),
        ] {
            assert_eq!(route_of(path), route);
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
            assert_eq!(route_of(path), "other", "{path}");
        }
    }

    #[test]
    fn a_route_is_found_by_its_method_and_its_path() {
        let table = table();
        let function_of = |method, path| Some(table.route(table.index(&method, path))?.function);
        assert_eq!(function_of(Method::GET, "/"), Some("query"));
        assert_eq!(function_of(Method::POST, "/"), Some("history"));
        assert_eq!(function_of(Method::HEAD, "/a"), Some("query"));
        for (method, path) in [(Method::POST, "/a"), (Method::PUT, "/"), (Method::GET, "//")] {
            assert_eq!(function_of(method, path), None, "{path}");
        }
        assert_eq!(table.names(table.index(&Method::PUT, "/")), ("other".to_owned(), "/"));
    }

    #[test]
    fn safe_methods_come_first_and_each_is_there_once() {
        assert_eq!(table().methods(), [Method::GET, Method::HEAD, Method::POST]);
    }
}
