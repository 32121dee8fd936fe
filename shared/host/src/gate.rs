//! Through which every request comes that is let in. It bounds how many are in hand, and counts them: what is accepted keeps its latency,
//! and memory stays bounded.
//!
//! Queries are bounded apart from all others, because they need another store: one that hangs holds up nobody who does not need
//! it. Queries that wait for a version are bounded apart from those that don't. And a request counts from when it is here as a whole:
//! clients that send theirs a byte at a time take nobody's place. Where there are tokens, each caller may have so many on their way;
//! where there are none, a connection has one, and [`crate::connections`] closes the slowest of too many.

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
use runtime::http::{Actor, AtOnce, discard_body, read_body};
use runtime::{Problem, Route, Store};
use tokio_util::task::TaskTracker;

use crate::meters::{Meters, status_of};
use crate::route_table::{RouteIndex, RouteTable};
use crate::uninterrupted::Uninterrupted;

/// The gate of an API.
pub struct Gate {
    queries: AtomicUsize,
    waits: AtomicUsize,
    others: AtomicUsize,
    /// Requests whose body was not there with the head, by caller.
    arriving: Mutex<HashMap<Actor, usize>>,
    /// Of each.
    most: usize,
    /// Of those that wait.
    most_waits: usize,
    orphans: TaskTracker,
    table: RouteTable,
    meters: Meters,
}

/// A request, as it is counted.
struct RequestLabels {
    since: Instant,
    index: RouteIndex,
}

/// What a request needs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    Query,
    /// A query that may wait for a version.
    Wait,
    Other,
}

/// Counts a request for as long as it is in hand, whatever becomes of it.
struct Counted<'a>(&'a AtomicUsize);

impl<'a> Counted<'a> {
    /// `None` when there are as many already.
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
    /// A gate before these routes that lets through so many requests of each kind at a time, and lets wait so many.
    pub fn new(table: RouteTable, most: usize, most_waits: usize) -> Arc<Self> {
        let [queries, waits, others] = std::array::from_fn(|_| AtomicUsize::new(0));
        let (arriving, orphans, meters) = (Mutex::default(), TaskTracker::new(), Meters::of(&table));
        Arc::new(Self { queries, waits, others, arriving, most, most_waits, orphans, table, meters })
    }

    /// Has a request answered that is `admitted` by its head, or turns it away. A command whose body is here runs to its end, and is
    /// counted then, whatever its client does.
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

    /// Waits for the commands whose clients are gone.
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
        let mut place = self.place(need);
        if need == Need::Wait && place.is_none() {
            // So many wait that this one is told at once what there is, and however many they are, half of the queries' places are others'.
            request.extensions_mut().insert(AtOnce);
            place = Counted::one_of(self.most.div_ceil(2), &self.queries);
        }
        let _place = place.ok_or_else(too_many)?;
        Ok(answer(request).await)
    }

    fn place(&self, need: Need) -> Option<Counted<'_>> {
        match need {
            Need::Query => Counted::one_of(self.most, &self.queries),
            Need::Wait => Counted::one_of(self.most_waits, &self.waits),
            Need::Other => Counted::one_of(self.most, &self.others),
        }
    }

    /// The request with its body.
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
    /// By the store and the parameter that the route declares.
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
