//! The start-up of a function as a Lambda.
//!
//! A function opens what it needs when it starts, so that a wrong setting shows at once. If a setting stands for a secret, it does
//! so at the first invocation, because nobody can look the secret up before ([`crate::secrets`]). Once a server has refused a login,
//! it opens everything anew, because a secret may have been rotated.

mod metrics;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use axum::Router;
use axum::routing::any;
use lambda_http::Adapter;
use lambda_http::request::LambdaRequest;
use lambda_http::tower::ServiceExt;
use lambda_runtime::{LambdaEvent, service_fn};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use tokio::sync::Mutex;

use self::metrics::Metrics;
use crate::{Problem, Routes, http, http_event, secrets, settings};

/// An error after which the function can't run. Lambda reports it and starts another function instance.
pub type Error = lambda_runtime::Error;

/// The time of an invocation whose deadline was over before it began. Lambda sends no such deadline, but `cargo lambda watch` gives
/// every invocation one in 1970.
const WITHOUT_DEADLINE: Duration = Duration::from_secs(30);

/// The least time between two lookups after refused logins. A wrong password must not cost a lookup each invocation.
const LOOK_UP_AGAIN: Duration = Duration::from_secs(5);

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
    lambda_runtime::run(service_fn(async |event: LambdaEvent<Box<RawValue>>| {
        let handle = async || {
            let router = opened.get().await;
            let router = router.map_or_else(|error| not_open(&error), |router| Router::clone(&router));
            let request = serde_json::from_str(event.payload.get())?;
            Ok::<_, Error>(answer(router, LambdaEvent::new(request, event.context.clone())).await?)
        };
        let mut answer = handle().await?;
        // The server has refused the login, and so the request: nothing was done. With the secret's new value it is.
        if opened.is_outdated().await && is_unavailable(&answer) {
            answer = handle().await?;
        }
        metrics.iter().for_each(Metrics::flush);
        Ok::<_, Error>(answer)
    }))
    .await
}

fn is_unavailable(answer: &impl Serialize) -> bool {
    let unavailable = ::http::StatusCode::SERVICE_UNAVAILABLE.as_u16();
    serde_json::to_value(answer).is_ok_and(|answer| answer["statusCode"] == unavailable)
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
    lambda_runtime::run(service_fn(async |event: LambdaEvent<Box<RawValue>>| {
        let deadline = Instant::now() + remaining(event.context.deadline(), SystemTime::now());
        let handle = async || {
            let input = serde_json::from_str(event.payload.get())?;
            handle(&*opened.get().await?, input, deadline).await
        };
        let mut answer = handle().await;
        if answer.is_err() && opened.is_outdated().await {
            answer = handle().await;
        }
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

/// A value that is opened once: at the start, or at the first invocation. If that fails, the next invocation tries again. If it has
/// secrets, it is opened anew once a server has refused a login.
struct LazyValue<T, O> {
    open: O,
    has_secrets: bool,
    opened: Mutex<Option<Opened<T>>>,
}

struct Opened<T> {
    value: Arc<T>,
    /// The number of refused logins before it was opened.
    refused_logins: u64,
    /// The time at which it took another one's place.
    looked_up_again: Option<Instant>,
}

impl<T> Opened<T> {
    fn is_outdated(&self) -> bool {
        let may_look_up = self.looked_up_again.is_none_or(|at| at.elapsed() >= LOOK_UP_AGAIN);
        may_look_up && secrets::refused_logins() > self.refused_logins
    }
}

impl<T, O, F> LazyValue<T, O>
where
    O: Fn() -> F,
    F: Future<Output = Result<T, Error>>,
{
    async fn start(open: O, has_secrets: bool) -> Result<Self, Error> {
        let lazy = Self { open, has_secrets, opened: Mutex::default() };
        if !has_secrets {
            lazy.get().await?;
        }
        Ok(lazy)
    }

    async fn get(&self) -> Result<Arc<T>, Error> {
        let mut opened = self.opened.lock().await;
        if let Some(opened) = opened.as_ref().filter(|opened| !self.has_secrets || !opened.is_outdated()) {
            return Ok(Arc::clone(&opened.value));
        }
        let looked_up_again = opened.as_ref().map(|_| Instant::now());
        let refused_logins = secrets::refused_logins();
        let value = Arc::new((self.open)().await?);
        *opened = Some(Opened { value: Arc::clone(&value), refused_logins, looked_up_again });
        Ok(value)
    }

    async fn is_outdated(&self) -> bool {
        self.has_secrets && self.opened.lock().await.as_ref().is_some_and(Opened::is_outdated)
    }
}

#[cfg(test)]
mod tests;
