//! Through which every request comes. It bounds how many are in hand, and counts them: what is accepted keeps its latency, and memory
//! stays bounded.
//!
//! Queries are bounded apart from all others, because they need another store: one that hangs holds up nobody who does not need
//! it. And a request counts from when it is here as a whole: clients that send theirs a byte at a time take nobody's place but
//! that of others like them.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Instant;

use axum::body::{Body, HttpBody};
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use http::Method;
use runtime::Problem;
use runtime::http::read_body;

use super::meters::{Meters, method_of, route_of, status_of};

/// The gate of an API.
pub struct Gate {
    queries: AtomicUsize,
    others: AtomicUsize,
    /// Requests whose body was not there with the head.
    arriving: AtomicUsize,
    /// Of each.
    most: usize,
    meters: Meters,
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

impl Gate {
    /// A gate that lets through so many of each kind at a time.
    pub fn new(most: usize) -> Self {
        let [queries, others, arriving] = std::array::from_fn(|_| AtomicUsize::new(0));
        Self { queries, others, arriving, most, meters: Meters::default() }
    }

    /// Has a request answered, or turns it away.
    pub async fn pass<F: Future<Output = Response>>(
        &self,
        request: Request,
        answer: impl FnOnce(Request) -> F,
    ) -> Response {
        let started = Instant::now();
        let method = method_of(request.method());
        let route = route_of(request.uri().path());
        let in_hand = if is_read(request.method()) && matches!(route.1, "/" | "/{id}") {
            &self.queries
        } else {
            &self.others
        };
        let answered = async {
            let request = self.arrive(request, in_hand).await?;
            let _counted = Counted::one_of(self.most, in_hand).ok_or_else(too_many)?;
            Ok::<_, Problem>(answer(request).await)
        };
        let response = answered.await.unwrap_or_else(Problem::into_response);
        self.meters.count(method, route, status_of(response.status()), started.elapsed());
        response
    }

    /// The request with its body.
    async fn arrive(&self, request: Request, in_hand: &AtomicUsize) -> Result<Request, Problem> {
        if is_read(request.method()) || request.body().is_end_stream() {
            return Ok(request);
        }
        if in_hand.load(Ordering::Relaxed) >= self.most {
            return Err(too_many());
        }
        let (parts, body) = request.into_parts();
        let mut reading = pin!(read_body(body));
        let body = match poll_fn(|context| Poll::Ready(reading.as_mut().poll(context))).await {
            Poll::Ready(body) => body?,
            Poll::Pending => {
                let _counted = Counted::one_of(self.most, &self.arriving).ok_or_else(too_many)?;
                reading.await?
            }
        };
        Ok(Request::from_parts(parts, Body::from(body)))
    }
}

fn is_read(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

fn too_many() -> Problem {
    Problem::unavailable(1, "Too many requests are in hand.").unlogged()
}
