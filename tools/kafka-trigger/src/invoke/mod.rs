//! A function behind Lambda's Invoke API as the target of a mapping: `cargo lambda watch`, the Lambda Runtime Interface
//! Emulator, `sam local start-lambda`, LocalStack, AWS itself.

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
pub use self::endpoint::{BadEndpoint, Endpoint};
use self::turns::FunctionTurns;
use crate::aws::{Unsigned, root_cause};
use event_source_mapping::event::{BatchResponse, KafkaEvent};
use event_source_mapping::{InvokeError, Target};

/// How much longer than the function's timeout AWS is waited for: it ends the function itself, and says so.
const AWS_GRACE: Duration = Duration::from_secs(15);
/// The same of other endpoints: what they need besides to hand an event over and an answer back, on a busy machine. Most of
/// them end no function, so that what takes longer than this has failed here as it would on Lambda.
const LOCAL_GRACE: Duration = Duration::from_secs(1);
/// How long a call that is not waited for any more keeps its turn, unless it ends before. Where nobody ends the function it is
/// still busy with it, and whatever was sent would wait behind it. Not without end: a function that is built anew meanwhile
/// never answers what it was asked before.
const LEFT_BEHIND: Duration = Duration::from_secs(60);

/// A function and how it is invoked.
#[derive(Clone, Debug)]
pub struct FunctionAddress {
    /// Under which names it may be known, the likeliest first: of those that the endpoint does not know the next is tried.
    pub names: Vec<String>,
    /// The alias or version, for AWS.
    pub qualifier: Option<String>,
    /// How long an invocation may take: `Timeout`.
    pub timeout: Duration,
    /// How long the function's first answer is waited for where that is longer: it may have to be compiled before. When it
    /// does not come, nothing is held against the records.
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
    turns: FunctionTurns,
    /// Which of the names the endpoint knew last.
    known: AtomicUsize,
    /// Has the function itself answered since this process began? That the endpoint has says nothing about it.
    has_answered: AtomicBool,
}

/// How long an answer is waited for, and what it means when none comes.
struct Patience {
    wait: Duration,
    late: Late,
}

#[derive(Clone, Copy)]
enum Late {
    /// The function took too long.
    TimedOut,
    /// It may not have run at all.
    NotReached,
}

/// What an endpoint answered: the status, the kind of error that it names in a header, and the body.
type Answered = (StatusCode, Option<String>, bytes::Bytes);

impl Invoke {
    /// For the mapping: none of its own. Only the target knows since when a function runs and what it means that it does not
    /// answer, and a wait for a turn has no bound.
    pub const INVOCATION_TIMEOUT: Duration = Duration::from_secs(365 * 24 * 3600);

    /// The function at the endpoint. Nothing is connected to before the first invocation.
    #[must_use]
    pub fn new(endpoint: Endpoint, function: FunctionAddress) -> Self {
        let turns = endpoint.turns(&function.names);
        let (known, has_answered) = (AtomicUsize::default(), AtomicBool::default());
        Self { shared: Arc::new(Shared { endpoint, function, turns, known, has_answered }) }
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
        let turn = self.turns.take().await;
        // From here on it is the function's time.
        let patience = self.patience();
        let endpoint = self.endpoint.clone();
        // A task, because the call keeps its turn when it is not waited for any more.
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
            (true, _) => Patience { wait: timeout + AWS_GRACE, late: Late::NotReached },
            (false, true) => Patience { wait: timeout + LOCAL_GRACE, late: Late::TimedOut },
            (false, false) => Patience { wait: timeout.max(first_answer), late: Late::NotReached },
        }
    }

    fn judge(&self, (status, function_error, body): Answered) -> Result<Answer, InvokeError> {
        let report = self.function.report_batch_item_failures;
        let judged = answer::judge(status, function_error.as_deref(), &body, report);
        let is_the_functions = matches!(judged, Ok(Answer::Response(_)) | Err(InvokeError::Function(_)));
        // That the event is too large is held against the records, but no function has said it.
        if is_the_functions && status != StatusCode::PAYLOAD_TOO_LARGE {
            self.has_answered.store(true, Ordering::Relaxed);
        }
        judged
    }

    fn explain(&self, failure: &Failure) -> InvokeError {
        InvokeError::Transport(match failure {
            Failure::Http(error) => format!("{}: {}", self.endpoint, root_cause(error)),
            Failure::Signature(_) => failure.to_string(),
        })
    }

    fn late(&self, patience: &Patience) -> InvokeError {
        match patience.late {
            Late::TimedOut => {
                let seconds = self.function.timeout.as_secs_f64();
                warn!(
                    function = self.function.names.first(),
                    "it takes longer than its timeout, and may still run: its next call waits until it ends, {} s at the most",
                    LEFT_BEHIND.as_secs()
                );
                // As Lambda words it.
                InvokeError::Function(format!("Task timed out after {seconds:.2} seconds"))
            }
            Late::NotReached => InvokeError::Transport(format!(
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
) -> Result<Answered, Failure> {
    let response = endpoint.post(path, event, longest).await?;
    let (status, function_error) = (response.status(), function_error(response.headers()));
    Ok((status, function_error, response.bytes().await?))
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
    #[error(transparent)]
    Signature(#[from] Unsigned),
}

#[cfg(test)]
mod tests;
