//! A function behind Lambda's Invoke API as the target of a mapping: `cargo lambda watch`, the Lambda Runtime Interface
//! Emulator, `sam local start-lambda`, LocalStack, AWS itself.

mod answer;
mod endpoint;

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::StatusCode;
use reqwest::header::HeaderMap;

use self::answer::Answer;
pub use self::endpoint::{BadEndpoint, Endpoint};
use crate::event::{BatchResponse, KafkaEvent};
use crate::{InvokeError, Target};

/// How much longer than the function's timeout AWS is waited for: it ends the function itself, and says so.
const AWS_GRACE: Duration = Duration::from_secs(15);

/// A function and how it is invoked.
#[derive(Clone, Debug)]
pub struct FunctionAddress {
    /// Under which names it may be known, the likeliest first: of those that the endpoint does not know the next is tried.
    pub names: Vec<String>,
    /// The alias or version, for AWS.
    pub qualifier: Option<String>,
    /// How long an invocation may take: `Timeout`.
    pub timeout: Duration,
    /// How long the first answer is waited for where that is longer: the function may have to be compiled before. When it does
    /// not come, nothing is held against the records.
    pub first_answer: Duration,
    /// Is the answer looked at? `FunctionResponseTypes: [ReportBatchItemFailures]`.
    pub report_batch_item_failures: bool,
}

/// A function behind the Invoke API.
#[derive(Clone)]
pub struct Invoke {
    shared: Arc<Shared>,
}

struct Shared {
    endpoint: Endpoint,
    function: FunctionAddress,
    /// Which of the names the endpoint knew last.
    known: AtomicUsize,
    /// Has the function answered since this process began?
    has_answered: AtomicBool,
}

impl Invoke {
    /// The function at the endpoint. Nothing is connected to before the first invocation.
    #[must_use]
    pub fn new(endpoint: Endpoint, function: FunctionAddress) -> Self {
        let (known, has_answered) = (AtomicUsize::default(), AtomicBool::default());
        Self { shared: Arc::new(Shared { endpoint, function, known, has_answered }) }
    }

    /// The longest that an invocation takes, with everything that is waited for. A mapping's own timeout must be longer, or
    /// it holds against the records what is not their fault.
    #[must_use]
    pub fn longest(&self) -> Duration {
        let function = &self.shared.function;
        let names = u32::try_from(function.names.len().max(1)).unwrap_or(u32::MAX);
        (function.timeout.max(function.first_answer) + AWS_GRACE).saturating_mul(names)
    }
}

impl Target for Invoke {
    async fn invoke(&self, event: KafkaEvent, _: Instant) -> Result<BatchResponse, InvokeError> {
        let event = serde_json::to_vec(&event)
            .map_err(|error| InvokeError::Function(format!("its event can't be written: {error}")))?;
        self.shared.invoke(event.into()).await
    }
}

impl Shared {
    async fn invoke(&self, event: bytes::Bytes) -> Result<BatchResponse, InvokeError> {
        let names = &self.function.names;
        let known = self.known.load(Ordering::Relaxed);
        let mut unknown = None;
        for place in (0..names.len()).map(|step| (known + step) % names.len()) {
            match self.call(&names[place], event.clone()).await? {
                Answer::Response(response) => {
                    self.known.store(place, Ordering::Relaxed);
                    return Ok(response);
                }
                Answer::UnknownFunction(said) => unknown = Some(said),
            }
        }
        let said = unknown.map(|said| format!(" ({said})")).unwrap_or_default();
        Err(InvokeError::Transport(format!(
            "{} knows no function {}{said}; --function-name LOGICAL_ID=NAME gives the name that it knows",
            self.endpoint,
            names.join(" and no function "),
        )))
    }

    async fn call(&self, name: &str, event: bytes::Bytes) -> Result<Answer, InvokeError> {
        let name = utf8_percent_encode(name, NON_ALPHANUMERIC_BUT_NAMES);
        let qualifier = match (&self.function.qualifier, self.endpoint.is_aws()) {
            (Some(qualifier), true) => {
                format!("?Qualifier={}", utf8_percent_encode(qualifier, NON_ALPHANUMERIC))
            }
            _ => String::new(),
        };
        let path = format!("/2015-03-31/functions/{name}/invocations{qualifier}");
        let patience = self.patience();
        let answered = async {
            let response = self.endpoint.post(&path, event, patience).await?;
            let (status, function_error) = (response.status(), function_error(response.headers()));
            Ok::<_, Failure>((status, function_error, response.bytes().await?))
        };
        match answered.await {
            Ok((status, function_error, body)) => {
                self.has_answered.store(true, Ordering::Relaxed);
                self.judge(status, function_error.as_deref(), &body)
            }
            Err(failure) => Err(self.explain(&failure, patience)),
        }
    }

    fn patience(&self) -> Duration {
        let FunctionAddress { timeout, first_answer, .. } = self.function;
        match (self.endpoint.is_aws(), self.has_answered.load(Ordering::Relaxed)) {
            (true, _) => timeout + AWS_GRACE,
            (false, true) => timeout,
            (false, false) => timeout.max(first_answer),
        }
    }

    fn judge(
        &self,
        status: StatusCode,
        function_error: Option<&str>,
        body: &[u8],
    ) -> Result<Answer, InvokeError> {
        answer::judge(status, function_error, body, self.function.report_batch_item_failures)
    }

    fn explain(&self, failure: &Failure, waited: Duration) -> InvokeError {
        let Failure::Http(error) = failure else {
            return InvokeError::Transport(failure.to_string());
        };
        if !error.is_timeout() || error.is_connect() {
            return InvokeError::Transport(format!("{}: {}", self.endpoint, root_cause(error)));
        }
        if self.has_answered.load(Ordering::Relaxed) && !self.endpoint.is_aws() {
            // As Lambda words it.
            return InvokeError::Function(format!(
                "Task timed out after {:.2} seconds",
                waited.as_secs_f64()
            ));
        }
        InvokeError::Transport(format!(
            "{} has not answered within {} s; it may still be compiling",
            self.endpoint,
            waited.as_secs_f64()
        ))
    }
}

/// What must not stand in a path as it is; a name may have these.
const NON_ALPHANUMERIC_BUT_NAMES: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_');

fn function_error(headers: &HeaderMap) -> Option<String> {
    headers.get("x-amz-function-error").map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
}

/// A call came to no answer.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Http(#[from] reqwest::Error),
    #[error("the request can't be signed: {0}")]
    Signature(String),
}

/// The innermost cause says what is the matter: connection refused, and not that a request could not be sent.
fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}
