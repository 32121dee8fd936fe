//! The start-up of a function as a Lambda.

use axum::Router;
use lambda_runtime::{LambdaEvent, service_fn};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// What went wrong so badly that the function can't run: Lambda reports it and starts another.
pub type Error = lambda_runtime::Error;

/// Runs a router as a Lambda behind an HTTP API, until the process ends.
///
/// # Errors
/// When the Runtime API fails.
pub async fn run_http(router: Router) -> Result<(), Error> {
    lambda_http::run(crate::http::wrap(router)).await
}

/// Runs a function that takes and gives JSON as a Lambda, until the process ends. It is given the event and its deadline.
///
/// # Errors
/// When the Runtime API fails.
pub async fn run_event<I, O, F>(handle: impl Fn(I, std::time::Instant) -> F) -> Result<(), Error>
where
    I: DeserializeOwned,
    O: Serialize,
    F: Future<Output = Result<O, Error>>,
{
    lambda_runtime::run(service_fn(|event: LambdaEvent<I>| {
        let remaining =
            event.context.deadline().duration_since(std::time::SystemTime::now()).unwrap_or_default();
        handle(event.payload, std::time::Instant::now() + remaining)
    }))
    .await
}
