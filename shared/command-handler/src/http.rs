//! The HTTP that the command functions share: a request becomes a command, and an outcome or an error becomes an answer.

use axum::response::Response;
use event_sourcing::{
    Aggregate, Command, CommandId, IdempotencyKey, Invalid, Rejection, RejectionKind, StreamId, Version,
};
use event_store::{Metadata, StoreError};
use http::header::{ETAG, HeaderName, HeaderValue, IF_MATCH, LOCATION};
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode};
use runtime::http::{Actor, json, single_header};
use runtime::{KillPoint, Problem, Trace, kill_point};
use uuid::Uuid;

use crate::handler::{CommandError, CommandHandler, CommandRequest, IfMatch, KeyOrigin, Outcome};
use crate::hash::command_hash;

/// The parts of a command request besides its stream and its body.
#[derive(Clone, Debug)]
pub struct Call {
    method: Method,
    command_id: CommandId,
    key: KeyOrigin,
    if_match: Option<IfMatch>,
    metadata: Metadata,
}

impl Call {
    /// Reads the headers of a command.
    ///
    /// # Errors
    /// A [`Problem`] when `Idempotency-Key` or `If-Match` is not valid.
    pub fn read(parts: &Parts) -> Result<Self, Problem> {
        let actor = parts.extensions.get::<Actor>().map(|actor| actor.0.clone());
        let (key, origin) = key(&parts.headers)?;
        let command_id = CommandId::client(&key, actor.as_deref());
        let trace = parts.extensions.get::<Trace>().cloned().unwrap_or_else(|| Trace::of(&parts.headers));
        let metadata =
            Metadata { correlation_id: trace.id, causation_id: None, traceparent: trace.traceparent, actor };
        let (method, if_match) = (parts.method.clone(), if_match(&parts.headers)?);
        Ok(Self { method, command_id, key: origin, if_match, metadata })
    }

    /// Returns the command's id, if its sender may send the command again.
    #[must_use]
    pub fn repeatable(&self) -> Option<&CommandId> {
        (self.key == KeyOrigin::Sender).then_some(&self.command_id)
    }

    /// Handles the command and answers with the aggregate, its `ETag` and its `Location`. The status is 201 when the command
    /// created the aggregate, else 200. `canonical_body` is the form of the body that is compared when the key is used again.
    ///
    /// # Errors
    /// The [`Problem`] of the [`CommandError`].
    pub async fn answer<A: Aggregate>(
        self,
        handler: &CommandHandler<A>,
        stream: StreamId,
        command: A::Command,
        canonical_body: &[u8],
    ) -> Result<Response, Problem> {
        let creates = command.creates();
        let hash = command_hash(self.method.as_str(), &stream, canonical_body);
        let Self { command_id, key, if_match, metadata, .. } = self;
        let published = Version::NONE;
        let request =
            CommandRequest { stream, command, command_id, key, hash, if_match, metadata, published };
        kill_point(KillPoint::AfterParse);
        let outcome = handler.handle(request).await?;
        let status = if creates && outcome.with_events { StatusCode::CREATED } else { StatusCode::OK };
        Ok(shown(status, &outcome))
    }
}

/// Returns the client's key, or one made for this request.
fn key(headers: &HeaderMap) -> Result<(IdempotencyKey, KeyOrigin), Problem> {
    let (key, origin) = match single_header(headers, &HeaderName::from_static("idempotency-key"))? {
        Some(key) => (IdempotencyKey::parse(key), KeyOrigin::Sender),
        None => (IdempotencyKey::parse(&Uuid::now_v7().to_string()), KeyOrigin::Fresh),
    };
    Ok((key.map_err(|error| invalid(&error))?, origin))
}

fn shown<A: Aggregate>(status: StatusCode, outcome: &Outcome<A>) -> Response {
    let mut response = json(status, &outcome.snapshot);
    let headers = response.headers_mut();
    // An id has only characters that need no encoding in a header or a path.
    if let (Ok(etag), Ok(location)) = (
        HeaderValue::try_from(format!("\"{}\"", outcome.snapshot.version)),
        HeaderValue::try_from(["/", outcome.snapshot.id.as_str()].concat()),
    ) {
        headers.insert(ETAG, etag);
        headers.insert(LOCATION, location);
    }
    response
}

/// Reads `If-Match`: `*`, or one version as answers give it in `ETag`.
fn if_match(headers: &HeaderMap) -> Result<Option<IfMatch>, Problem> {
    let Some(text) = single_header(headers, &IF_MATCH)? else {
        return Ok(None);
    };
    if text == "*" {
        return Ok(Some(IfMatch::Exists));
    }
    let quoted = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    match quoted.map(Version::parse) {
        Some(Ok(version)) => Ok(Some(IfMatch::Version(version))),
        _ => Err(Problem::malformed(format!(
            "If-Match is {text:?}; allowed: * or one version in double quotes, as in the ETag of an answer"
        ))
        .at("If-Match")),
    }
}

/// Turns a refused value into a problem.
#[must_use]
pub fn invalid(error: &Invalid) -> Problem {
    Problem::invalid(error.what, error.to_string())
}

/// Parses the id in the path.
///
/// # Errors
/// 422 when it is not a valid id.
pub fn stream_id(path: &str) -> Result<StreamId, Problem> {
    StreamId::parse(path).map_err(|error| invalid(&error))
}

/// The 404: no aggregate of this kind has this id.
#[must_use]
pub fn not_found<A: Aggregate>() -> Problem {
    let kind = A::KIND;
    let title = format!("There is no such {kind}");
    Problem::not_found(format!("{kind}-not-found"), title, format!("No {kind} has this id."))
}

impl<A: Aggregate> From<CommandError<A>> for Problem {
    fn from(error: CommandError<A>) -> Self {
        let detail = error.to_string();
        match error {
            CommandError::Rejected(rejection) => match rejection.kind() {
                RejectionKind::NotFound => not_found::<A>(),
                RejectionKind::Conflict { code, title, field } => {
                    let problem = Self::new(StatusCode::CONFLICT, code, title, detail);
                    field.map_or(problem.clone(), |field| problem.at(field))
                }
            },
            // No client's key is the id of a reaction's command, so no client gets this.
            CommandError::RejectedBefore(_) => {
                Self::new(StatusCode::CONFLICT, "rejected", "The command was rejected", detail)
            }
            CommandError::PreconditionFailed(_) => Self::new(
                StatusCode::PRECONDITION_FAILED,
                "version-mismatch",
                format!("The {} is at another version", A::KIND),
                detail,
            )
            .at("If-Match"),
            CommandError::KeyReused => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "idempotency-key-reused",
                "The key was used for another command",
                "This Idempotency-Key came with another method or body before; use a fresh one for a new command.",
            )
            .at("Idempotency-Key"),
            CommandError::TooLarge(_) => Self::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "event-too-large",
                "The event would be too large",
                detail,
            ),
            // Contention is counted, and it is normal where many clients send commands to one stream. So it is not logged.
            CommandError::Contended => Self::unavailable(1, detail).unlogged(),
            CommandError::Store(StoreError::Unavailable(cause)) => {
                Self::unavailable(2, "The event store is not available; repeat the command under the same Idempotency-Key.")
                    .because(cause.as_ref())
            }
            CommandError::Store(StoreError::Unreadable(_)) => Self::internal(detail),
        }
    }
}
