//! The start-up of a function as a Lambda.
//!
//! A function opens what it needs when it starts, so that a wrong setting shows at once. If a setting stands for a secret, it does
//! so at the first invocation, because nobody can look the secret up before ([`crate::secrets`]). In both cases stores connect when
//! they are first used.

mod metrics;

use std::convert::Infallible;
use std::time::{Duration, Instant, SystemTime};

use axum::Router;
use axum::routing::any;
use lambda_http::Adapter;
use lambda_http::request::LambdaRequest;
use lambda_http::tower::ServiceExt;
use lambda_runtime::{LambdaEvent, service_fn};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::OnceCell;

use self::metrics::Metrics;
use crate::{Problem, Routes, http, http_event, settings};

/// An error after which the function can't run. Lambda reports it and starts another function instance.
pub type Error = lambda_runtime::Error;

/// The time of an invocation whose deadline was over before it began. Lambda sends no such deadline, but `cargo lambda watch` gives
/// every invocation one in 1970.
const WITHOUT_DEADLINE: Duration = Duration::from_secs(30);

/// Runs a function of the application as a Lambda behind an HTTP API, a REST API or a load balancer, until the process ends. `open` makes
/// its routes.
///
/// # Errors
/// When the routes can't be made at the start, or the Runtime API fails.
pub async fn run_http<F>(application: &'static str, open: impl Fn() -> F) -> Result<(), Error>
where
    F: Future<Output = Result<Routes, Error>>,
{
    let metrics = Metrics::start(application);
    let open = async || Ok(http::wrap(open().await?.into_router()));
    let opened = LazyValue::start(open, settings::have_secrets(application)).await?;
    lambda_runtime::run(service_fn(async |event| {
        let router = opened.get().await.cloned().unwrap_or_else(|error| not_open(&error));
        let answer = answer(router, event).await;
        metrics.iter().for_each(Metrics::flush);
        answer
    }))
    .await
}

/// Runs a function of the application that takes and gives JSON as a Lambda, until the process ends. `open` makes the value that
/// the function works with. `handle` gets that value, the event and its deadline.
///
/// # Errors
/// When that value can't be made at the start, or the Runtime API fails.
pub async fn run_event<T, I, O, F>(
    application: &'static str,
    open: impl Fn() -> F,
    handle: impl AsyncFn(&T, I, Instant) -> Result<O, Error>,
) -> Result<(), Error>
where
    F: Future<Output = Result<T, Error>>,
    I: DeserializeOwned,
    O: Serialize,
{
    let metrics = Metrics::start(application);
    let opened = LazyValue::start(open, settings::have_secrets(application)).await?;
    lambda_runtime::run(service_fn(async |event: LambdaEvent<I>| {
        let deadline = Instant::now() + remaining(event.context.deadline(), SystemTime::now());
        let answer = handle(opened.get().await?, event.payload, deadline).await;
        metrics.iter().for_each(Metrics::flush);
        answer
    }))
    .await
}

fn remaining(deadline: SystemTime, now: SystemTime) -> Duration {
    deadline.duration_since(now).unwrap_or(WITHOUT_DEADLINE)
}

/// Answers one HTTP event by a wrapped router.
///
/// # Errors
/// None: the router answers every request.
pub async fn answer(
    router: Router,
    event: LambdaEvent<LambdaRequest>,
) -> Result<impl Serialize + use<>, Infallible> {
    let (event, context) = event.into_parts();
    let actor = http_event::actor(&event);
    let router = router.map_request(move |mut request: lambda_http::Request| {
        actor.clone().map(|actor| request.extensions_mut().insert(actor));
        request
    });
    Adapter::from(router).oneshot(LambdaEvent::new(http_event::plain(event), context)).await
}

/// The router of a function that could not open what it needs. It answers 503 to every request.
fn not_open(error: &Error) -> Router {
    let problem =
        Problem::unavailable(2, "The function can't reach what it needs.").because(error.to_string());
    http::wrap(Router::new().route("/", any(problem.clone())).route("/{*path}", any(problem)))
}

/// A value that is opened once: at the start, or at the first invocation. If that fails, the next invocation tries again.
struct LazyValue<T, O> {
    open: O,
    cell: OnceCell<T>,
}

impl<T, O, F> LazyValue<T, O>
where
    O: Fn() -> F,
    F: Future<Output = Result<T, Error>>,
{
    async fn start(open: O, at_first_invocation: bool) -> Result<Self, Error> {
        let opened = Self { open, cell: OnceCell::new() };
        if !at_first_invocation {
            opened.get().await?;
        }
        Ok(opened)
    }

    async fn get(&self) -> Result<&T, Error> {
        self.cell.get_or_try_init(&self.open).await
    }
}

#[cfg(test)]
mod tests;
