//! What is counted of requests: how many and how long, by method, route and status.

use std::sync::OnceLock;
use std::time::Duration;

use http::{Method, StatusCode};
use metrics::{Counter, Histogram};

/// A label's value and its place among all. Labels have few values, whatever clients send.
pub type Label = (usize, &'static str);

type Series = OnceLock<(Counter, Histogram)>;

/// Requests and latencies by method, route and status. Each series is looked up once and kept, since the lookup by labels costs
/// more than the rest of the gate.
#[derive(Default)]
pub struct Meters {
    series: [[[Series; 6]; 5]; 5],
}

impl Meters {
    /// Counts a request.
    pub fn count(&self, method: Label, route: Label, status: Label, took: Duration) {
        let (counter, histogram) = self.series[method.0][route.0][status.0].get_or_init(|| {
            let (method, route, status) = (method.1, route.1, status.1);
            (
                metrics::counter!("http_requests_total", "method" => method, "route" => route, "status" => status),
                metrics::histogram!("http_request_duration_seconds", "method" => method, "route" => route),
            )
        });
        counter.increment(1);
        histogram.record(took);
    }
}

/// The method, if it is one of ours.
pub fn method_of(method: &Method) -> Label {
    match method.as_str() {
        "GET" => (0, "GET"),
        "HEAD" => (1, "HEAD"),
        "POST" => (2, "POST"),
        "DELETE" => (3, "DELETE"),
        _ => (4, "other"),
    }
}

/// The route that a path is for.
pub fn route_of(path: &str) -> Label {
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

/// The kind of status.
pub fn status_of(status: StatusCode) -> Label {
    match status.as_u16() {
        200..=299 => (0, "2xx"),
        300..=399 => (1, "3xx"),
        429 | 503 => (2, "shed"),
        401 => (3, "unauthorized"),
        400..=499 => (4, "4xx"),
        _ => (5, "5xx"),
    }
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
