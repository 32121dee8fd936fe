//! The gate that every accepted request passes. It bounds how many requests are in hand, and counts them. So an accepted request
//! keeps its latency, and memory stays bounded.
//!
//! Queries have a bound of their own, because they need another store. If one store hangs, requests that do not need it go on.
//! Queries that wait for a version have a third bound.
//!
//! A request counts once all of it is here, so clients that send a byte at a time take nobody's place. With tokens, the number of
//! requests that are still arriving is bounded for each caller. Without tokens, a connection has one such request, and
//! [`crate::connections`] closes the slowest of too many.

use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Instant;

use axum::body::{Body, HttpBody};
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use http::Method;
use parking_lot::Mutex;
use runtime::http::{Actor, NoWait, discard_body, read_body};
use runtime::{Problem, Route, Store};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use crate::meters::{Meters, status_of};
use crate::registration::ViewStatus;
use crate::route_table::{RouteIndex, RouteTable};
use crate::uninterrupted::Uninterrupted;

/// The gate of an API.
pub struct Gate {
    queries: AtomicUsize,
    waits: AtomicUsize,
    others: AtomicUsize,
    /// The number of requests whose bodies are still arriving, by caller.
    arriving: Mutex<HashMap<Actor, usize>>,
    /// The most requests of each kind in hand, and the most arriving requests of a caller.
    most: usize,
    /// The most queries that wait for a version.
    most_waits: usize,
    orphans: TaskTracker,
    table: RouteTable,
    meters: Meters,
    view_statuses: Vec<watch::Receiver<ViewStatus>>,
}

/// The start and the route of a request, for its metrics.
struct RequestLabels {
    since: Instant,
    index: RouteIndex,
}

/// The kind of a request, by what it needs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    Query,
    /// A query that may wait for a version.
    Wait,
    Other,
}

/// Counts a request as in hand until this value is dropped, however the request ends.
struct Counted<'a>(&'a AtomicUsize);

impl<'a> Counted<'a> {
    /// Counts one more request; `None` if there are `most` already.
    fn one_of(most: usize, count: &'a AtomicUsize) -> Option<Self> {
        let before = count.fetch_add(1, Ordering::Relaxed);
        let counted = Self(count);
        (before < most).then_some(counted)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Counts a caller's request for as long as its body is on its way.
struct OnItsWay<'a> {
    gate: &'a Gate,
    caller: Actor,
}

impl<'a> OnItsWay<'a> {
    fn of(gate: &'a Gate, caller: Actor) -> Result<Self, Problem> {
        let mut arriving = gate.arriving.lock();
        let count = arriving.entry(caller.clone()).or_default();
        if *count >= gate.most {
            return Err(too_many());
        }
        *count += 1;
        drop(arriving);
        Ok(Self { gate, caller })
    }
}

impl Drop for OnItsWay<'_> {
    fn drop(&mut self) {
        let mut arriving = self.gate.arriving.lock();
        if let Some(count) = arriving.get_mut(&self.caller) {
            *count -= 1;
            if *count == 0 {
                arriving.remove(&self.caller);
            }
        }
    }
}

impl Gate {
    /// Creates a gate before these routes. At a time it lets through at most `most` queries and `most` other requests, and lets
    /// at most `most_waits` queries wait.
    pub fn new(
        table: RouteTable,
        most: usize,
        most_waits: usize,
        view_statuses: Vec<watch::Receiver<ViewStatus>>,
    ) -> Arc<Self> {
        let [queries, waits, others] = std::array::from_fn(|_| AtomicUsize::new(0));
        let (arriving, orphans, meters) = (Mutex::default(), TaskTracker::new(), Meters::of(&table));
        Arc::new(Self {
            queries,
            waits,
            others,
            arriving,
            most,
            most_waits,
            orphans,
            table,
            meters,
            view_statuses,
        })
    }

    /// Has a request answered, or refuses it if `admit` refuses its head or too many are in hand. Once its body is here, a
    /// command runs to its end and is then counted, whatever its client does.
    pub async fn pass<F>(
        self: &Arc<Self>,
        mut request: Request,
        admit: impl FnOnce(&mut Request) -> Result<(), Problem>,
        answer: impl FnOnce(Request) -> F + Send + 'static,
    ) -> Response
    where
        F: Future<Output = Response> + Send + 'static,
    {
        let index = self.table.index(request.method(), request.uri().path());
        let asked = RequestLabels { since: Instant::now(), index };
        let need = Need::of(self.table.route(index), request.uri().query());
        if let Err(refusal) = admit(&mut request) {
            discard_body(request);
            return self.count(&asked, refusal.into_response());
        }
        let request = match self.arrive(request).await {
            Ok(request) => request,
            Err(refusal) => return self.count(&asked, refusal.into_response()),
        };
        let is_read = is_read(request.method());
        let gate = Arc::clone(self);
        let answered = async move {
            let response = gate.answer(request, need, answer).await.unwrap_or_else(Problem::into_response);
            gate.count(&asked, response)
        };
        if is_read { answered.await } else { Uninterrupted::new(answered, &self.orphans).await }
    }

    /// Waits until all commands whose clients are gone have finished.
    pub async fn idle(&self) {
        self.orphans.close();
        self.orphans.wait().await;
    }

    fn count(&self, asked: &RequestLabels, response: Response) -> Response {
        self.meters.count(&self.table, asked.index, status_of(response.status()), asked.since.elapsed());
        response
    }

    async fn answer<F: Future<Output = Response>>(
        &self,
        mut request: Request,
        need: Need,
        answer: impl FnOnce(Request) -> F,
    ) -> Result<Response, Problem> {
        if need != Need::Other {
            self.refuse_unfilled_view()?;
        }
        let mut place = self.place(need);
        if need == Need::Wait && place.is_none() {
            // Too many queries wait already, so this one is answered at once with what there is. It gets a place only while less
            // than half of the queries' places are taken: the other half stays for other queries.
            request.extensions_mut().insert(NoWait);
            place = Counted::one_of(self.most.div_ceil(2), &self.queries);
        }
        let _place = place.ok_or_else(too_many)?;
        Ok(answer(request).await)
    }

    /// A query of a view that is not filled yet would miss what others have acknowledged. A route does not say which view it
    /// needs, so all must be filled.
    fn refuse_unfilled_view(&self) -> Result<(), Problem> {
        for status in &self.view_statuses {
            let why = match &*status.borrow() {
                ViewStatus::Filled => continue,
                ViewStatus::Filling(progress) => {
                    format!("The view is being filled from the event store: {progress}.")
                }
                ViewStatus::Unknown => "The read store has not answered yet.".to_owned(),
            };
            return Err(Problem::unavailable(1, why).unlogged());
        }
        Ok(())
    }

    fn place(&self, need: Need) -> Option<Counted<'_>> {
        match need {
            Need::Query => Counted::one_of(self.most, &self.queries),
            Need::Wait => Counted::one_of(self.most_waits, &self.waits),
            Need::Other => Counted::one_of(self.most, &self.others),
        }
    }

    /// Waits for the request's body, and returns the request with it.
    async fn arrive(&self, request: Request) -> Result<Request, Problem> {
        if is_read(request.method()) || request.body().is_end_stream() {
            return Ok(request);
        }
        if self.others.load(Ordering::Relaxed) >= self.most {
            discard_body(request);
            return Err(too_many());
        }
        let (parts, body) = request.into_parts();
        let body = {
            let mut reading = pin!(read_body(&parts.headers, body));
            match poll_fn(|context| Poll::Ready(reading.as_mut().poll(context))).await {
                Poll::Ready(body) => body?,
                Poll::Pending => {
                    let caller = parts.extensions.get::<Actor>().cloned();
                    let _on_its_way = caller.map(|caller| OnItsWay::of(self, caller)).transpose()?;
                    reading.await?
                }
            }
        };
        Ok(Request::from_parts(parts, Body::from(body)))
    }
}

impl Need {
    /// The need of a request, by the store and the parameter that its route declares.
    fn of(route: Option<&Route>, query: Option<&str>) -> Self {
        let Some(Route { store: Store::Views, waits_for, .. }) = route else { return Self::Other };
        match (waits_for, query) {
            (Some(parameter), Some(query)) if names(query, parameter) => Self::Wait,
            _ => Self::Query,
        }
    }
}

fn names(query: &str, parameter: &str) -> bool {
    form_urlencoded::parse(query.as_bytes()).any(|(name, _)| name == parameter)
}

fn is_read(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

fn too_many() -> Problem {
    Problem::unavailable(1, "Too many requests are in hand.").unlogged()
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use runtime::Routes;

    use super::*;

    #[tokio::test]
    async fn queries_are_refused_until_the_view_is_filled_and_commands_never() {
        let nothing = async || {};
        let routes = Routes::of("query", Store::Views).get("/", nothing).with_state(());
        let routes = routes.merge(Routes::of("command", Store::Events).post("/", nothing).with_state(()));
        let status = watch::Sender::new(ViewStatus::Unknown);
        let gate = Gate::new(RouteTable::of(routes.list()), 10, 10, vec![status.subscribe()]);
        let answered = async |method: Method| {
            let request = Request::builder().method(method).uri("/").body(Body::empty()).unwrap();
            let answer = async |_: Request| Response::default();
            gate.pass(request, |_| Ok(()), answer).await.status()
        };
        for unfilled in [ViewStatus::Unknown, ViewStatus::Filling("1 of 2 commits".to_owned())] {
            status.send_replace(unfilled);
            assert_eq!(answered(Method::GET).await, StatusCode::SERVICE_UNAVAILABLE);
            assert_eq!(answered(Method::POST).await, StatusCode::OK);
        }
        status.send_replace(ViewStatus::Filled);
        assert_eq!(answered(Method::GET).await, StatusCode::OK);
    }
}
