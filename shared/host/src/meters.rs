//! Counts requests by method, route and status, and measures how long they take.

use std::sync::OnceLock;
use std::time::Duration;

use http::StatusCode;
use metrics::{Counter, Histogram};

use crate::route_table::{RouteIndex, RouteTable};

/// The index of a label's value among all values, and the value. A label has few values, whatever clients send.
pub type Label = (usize, &'static str);

type Series = OnceLock<(Counter, Histogram)>;

/// How many kinds of status there are.
const STATUSES: usize = 6;

/// The number of requests by method, route and status, and their latencies by method and route. Each series is looked up once and
/// then cached, because the lookup by labels costs more than the rest of the gate.
pub struct Meters {
    /// By path, then by method, then by status.
    series: Vec<[Series; STATUSES]>,
}

impl Meters {
    /// Meters for each method and path of the table.
    pub fn of(table: &RouteTable) -> Self {
        let RouteIndex { method, path } = table.size();
        Self { series: std::iter::repeat_with(Default::default).take(method * path).collect() }
    }

    /// Counts a request.
    pub fn count(&self, table: &RouteTable, index: RouteIndex, status: Label, took: Duration) {
        let of_route = &self.series[index.path * table.size().method + index.method];
        let (counter, histogram) = of_route[status.0].get_or_init(|| {
            let ((method, route), status) = (table.names(index), status.1);
            (
                metrics::counter!("http_requests_total", "method" => method.clone(), "route" => route, "status" => status),
                metrics::histogram!("http_request_duration_seconds", "method" => method, "route" => route),
            )
        });
        counter.increment(1);
        histogram.record(took);
    }
}

/// The kind of a status, as a label.
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
