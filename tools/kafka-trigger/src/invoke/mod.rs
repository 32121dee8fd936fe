//! A mapping's target: a function behind Lambda's Invoke API. The API may be `cargo lambda watch`, the Lambda Runtime Interface
//! Emulator, `sam local start-lambda`, LocalStack or AWS itself.

mod answer;
mod endpoint;
mod turns;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use tokio::time;
use tracing::warn;

use self::answer::Answer;
pub use self::endpoint::{Endpoint, InvalidEndpoint};
use self::turns::FunctionTurns;
use crate::aws::{SigningError, root_cause};
use event_source_mapping::event::{BatchResponse, KafkaEvent};
use event_source_mapping::{InvokeError, Target};

/// The extra time for AWS, beyond the function's timeout. AWS ends the function itself, and reports it.
const AWS_GRACE: Duration = Duration::from_secs(15);
/// The extra time for other endpoints. They need it to pass on the event and the answer, on a busy machine. Most of them do not
/// end a function. So a function that takes longer than this has failed here, as it would on Lambda.
const LOCAL_GRACE: Duration = Duration::from_secs(1);
/// The longest time for which a call that nobody waits for any more keeps its turn. It keeps it no longer than the call runs. If
/// nobody ends the function, the endpoint is still busy with it, and the next call would wait behind it. The time has a limit,
/// because a function that is rebuilt meanwhile never answers the old call.
const LEFT_BEHIND: Duration = Duration::from_secs(60);

/// The address of a function, and the settings of its invocations.
#[derive(Clone, Debug)]
pub struct FunctionAddress {
    /// The names that the endpoint may know it by, the likeliest first. If the endpoint does not know a name, the next one is
    /// tried.
    pub names: Vec<String>,
    /// The alias or version, for AWS.
    pub qualifier: Option<String>,
    /// The longest time for an invocation: `Timeout`.
    pub timeout: Duration,
    /// The longest time until the function's first answer, if it is longer than `timeout`: the function may have to be compiled
    /// first. If no answer comes, that does not count as a failure of the records.
    pub first_answer: Duration,
    /// Is the answer read? `FunctionResponseTypes: [ReportBatchItemFailures]`.
    pub report_batch_item_failures: bool,
}

/// A function behind the Invoke API.
#[derive(Clone)]
pub struct InvokeApiTarget {
    shared: Arc<Shared>,
}

struct Shared {
    endpoint: Endpoint,
    function: FunctionAddress,
    turns: FunctionTurns,
    /// The index of the name that the endpoint knew last.
    known: AtomicUsize,
    /// Has the function itself answered since this process began? An answer of the endpoint alone does not count.
    has_answered: AtomicBool,
}

/// The time to wait for an answer, and the meaning of no answer.
struct Patience {
    wait: Duration,
    late: TimeoutMeaning,
}

#[derive(Clone, Copy)]
enum TimeoutMeaning {
    /// The function took too long.
    TimedOut,
    /// The function may not have run at all.
    NotReached,
}

/// The endpoint's answer: the status, the kind of error from the header, and the body.
type EndpointAnswer = (StatusCode, Option<String>, bytes::Bytes);

impl InvokeApiTarget {
    /// The invocation timeout for the mapping: in effect none. Only the target knows when the function began and what a missing
    /// answer means. And a call may wait for its turn without a limit.
    pub const INVOCATION_TIMEOUT: Duration = Duration::from_secs(365 * 24 * 3600);

    /// The function at the endpoint. It connects with the first invocation, and not before.
    #[must_use]
    pub fn new(endpoint: Endpoint, function: FunctionAddress) -> Self {
        let turns = endpoint.turns(&function.names);
        let (known, has_answered) = (AtomicUsize::default(), AtomicBool::default());
        Self { shared: Arc::new(Shared { endpoint, function, turns, known, has_answered }) }
    }
}

impl Target for InvokeApiTarget {
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
        let turn = self.turns.take().await;
        // The function's time begins here.
        let patience = self.patience();
        let endpoint = self.endpoint.clone();
        // The call is a task of its own, because it keeps its turn when nobody waits for it any more.
        let call = tokio::spawn(async move {
            let answered = answered(&endpoint, &path, event, patience.wait + LEFT_BEHIND).await;
            drop(turn);
            answered
        });
        match time::timeout(patience.wait, call).await {
            Ok(Ok(Ok(answered))) => self.judge(answered),
            Ok(Ok(Err(failure))) => Err(self.explain(&failure)),
            Ok(Err(ended)) => Err(InvokeError::Transport(format!("the call has ended: {ended}"))),
            Err(_) => Err(self.late(&patience)),
        }
    }

    fn patience(&self) -> Patience {
        let FunctionAddress { timeout, first_answer, .. } = self.function;
        match (self.endpoint.is_aws(), self.has_answered.load(Ordering::Relaxed)) {
            (true, _) => Patience { wait: timeout + AWS_GRACE, late: TimeoutMeaning::NotReached },
            (false, true) => Patience { wait: timeout + LOCAL_GRACE, late: TimeoutMeaning::TimedOut },
            (false, false) => Patience { wait: timeout.max(first_answer), late: TimeoutMeaning::NotReached },
        }
    }

    fn judge(&self, (status, function_error, body): EndpointAnswer) -> Result<Answer, InvokeError> {
        let report = self.function.report_batch_item_failures;
        let judged = answer::judge(status, function_error.as_deref(), &body, report);
        let is_the_functions = matches!(judged, Ok(Answer::Response(_)) | Err(InvokeError::Function(_)));
        // An event that is too large counts as a failure of the records. But the function itself did not answer.
        if is_the_functions && status != StatusCode::PAYLOAD_TOO_LARGE {
            self.has_answered.store(true, Ordering::Relaxed);
        }
        judged
    }

    fn explain(&self, failure: &CallError) -> InvokeError {
        InvokeError::Transport(match failure {
            CallError::Http(error) => format!("{}: {}", self.endpoint, root_cause(error)),
            CallError::Signature(_) => failure.to_string(),
        })
    }

    fn late(&self, patience: &Patience) -> InvokeError {
        match patience.late {
            TimeoutMeaning::TimedOut => {
                let seconds = self.function.timeout.as_secs_f64();
                warn!(
                    function = self.function.names.first(),
                    "it takes longer than its timeout, and may still run: its next call waits until it ends, {} s at the most",
                    LEFT_BEHIND.as_secs()
                );
                // These are Lambda's words.
                InvokeError::Function(format!("Task timed out after {seconds:.2} seconds"))
            }
            TimeoutMeaning::NotReached => InvokeError::Transport(format!(
                "{} has not answered within {} s; it may still be compiling",
                self.endpoint,
                patience.wait.as_secs_f64()
            )),
        }
    }
}

async fn answered(
    endpoint: &Endpoint,
    path: &str,
    event: bytes::Bytes,
    longest: Duration,
) -> Result<EndpointAnswer, CallError> {
    let response = endpoint.post(path, event, longest).await?;
    let (status, function_error) = (response.status(), function_error(response.headers()));
    Ok((status, function_error, response.bytes().await?))
}

/// The characters that are encoded in a path. Names may contain `-` and `_`.
const NON_ALPHANUMERIC_BUT_NAMES: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_');

fn function_error(headers: &HeaderMap) -> Option<String> {
    headers.get("x-amz-function-error").map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
}

/// A call ended without an answer.
#[derive(Debug, thiserror::Error)]
enum CallError {
    #[error(transparent)]
    Http(#[from] reqwest::Error),
    #[error(transparent)]
    Signature(#[from] SigningError),
}

#[cfg(test)]
mod tests;
