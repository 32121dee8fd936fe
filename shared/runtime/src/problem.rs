//! Errors as `application/problem+json` (RFC 9457). The problem has what the caller may know. The cause is for the log and never
//! leaves the process. The trace id connects the two.

use std::borrow::Cow;

use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderName, HeaderValue, StatusCode};
use serde::Serialize;

/// The most characters of a field's name and of a detail that an answer shows. Both may repeat what the caller sent, and an answer
/// must not be larger than its request.
const LONGEST_FIELD: usize = 100;
const LONGEST_DETAIL: usize = 400;

/// An error as the caller sees it. Its details are in a box, so that it is small to pass on.
#[derive(Clone, Debug)]
pub struct Problem(Box<Details>);

#[derive(Clone, Debug)]
struct Details {
    status: StatusCode,
    kind: Cow<'static, str>,
    title: Cow<'static, str>,
    detail: String,
    field: Option<String>,
    headers: Vec<(HeaderName, HeaderValue)>,
    cause: Option<String>,
    logged: bool,
}

#[derive(Serialize)]
struct Body<'a> {
    #[serde(rename = "type")]
    kind: String,
    title: &'a str,
    status: u16,
    detail: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<Cow<'a, str>>,
    trace_id: &'a str,
}

impl Problem {
    /// A problem. `kind` is its stable name, which becomes the type `urn:problem:KIND`; `title` is the same for every problem
    /// of that type; `detail` says what was wrong this time and what is allowed.
    #[must_use]
    pub fn new(
        status: StatusCode,
        kind: impl Into<Cow<'static, str>>,
        title: impl Into<Cow<'static, str>>,
        detail: impl Into<String>,
    ) -> Self {
        let (kind, title, detail) = (kind.into(), title.into(), detail.into());
        let (field, headers, cause) = (None, vec![], None);
        Self(Box::new(Details { status, kind, title, detail, field, headers, cause, logged: true }))
    }

    /// 400: the request can't be read at all.
    #[must_use]
    pub fn malformed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed-request", "The request can't be read", detail)
    }

    /// 404: there is no such thing.
    #[must_use]
    pub fn not_found(
        kind: impl Into<Cow<'static, str>>,
        title: impl Into<Cow<'static, str>>,
        detail: impl Into<String>,
    ) -> Self {
        Self::new(StatusCode::NOT_FOUND, kind, title, detail)
    }

    /// 422: the request can be read, but a field of it is not allowed.
    #[must_use]
    pub fn invalid(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid-field", "A field is not valid", detail).at(field)
    }

    /// 503: a store is down or the system is full; the same request may succeed after `seconds`.
    #[must_use]
    pub fn unavailable(seconds: u32, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Not available for now", detail)
            .retry_after(seconds)
    }

    /// 500: a fault of ours. The caller learns no more than that.
    #[must_use]
    pub fn internal(cause: impl Into<String>) -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "Something went wrong here",
            "The fault is ours, and logged under the trace id.",
        )
        .because(cause)
    }

    /// Names the field at fault.
    #[must_use]
    pub fn at(mut self, field: impl Into<String>) -> Self {
        self.0.field = Some(field.into());
        self
    }

    /// Adds a header to the answer.
    #[must_use]
    pub fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.push((name, value));
        self
    }

    /// Adds `Retry-After`: the seconds after which it is worth trying again.
    #[must_use]
    pub fn retry_after(self, seconds: u32) -> Self {
        self.with(RETRY_AFTER, HeaderValue::from(seconds))
    }

    /// Adds the cause, for the log alone.
    #[must_use]
    pub fn because(mut self, cause: impl Into<String>) -> Self {
        self.0.cause = Some(cause.into());
        self
    }

    /// Keeps the problem out of the log. This is for problems that come by the thousand under overload, are counted elsewhere, and
    /// are no fault.
    #[must_use]
    pub fn unlogged(mut self) -> Self {
        self.0.logged = false;
        self
    }

    /// The status of the answer.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        self.0.status
    }

    /// The description of what was wrong this time.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.0.detail
    }

    /// The problem's stable name.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.0.kind
    }

    /// Logs the problem. A caller's own mistakes are logged for debugging only, because a caller must not set the pace of the log.
    fn log(&self, trace_id: &str) {
        let Details { status, kind, detail, cause, .. } = &*self.0;
        let (status, cause) = (status.as_u16(), cause.as_deref().unwrap_or_default());
        if self.0.logged && self.0.status.is_server_error() {
            tracing::warn!(trace_id, status, problem = %kind, %detail, cause);
        } else {
            tracing::debug!(trace_id, status, problem = %kind, %detail, cause);
        }
    }

    /// Returns the answer, under this trace id, and logs the problem.
    #[must_use]
    pub fn answer(self, trace_id: &str) -> Response {
        self.log(trace_id);
        let body = Body {
            kind: format!("urn:problem:{}", self.0.kind),
            title: &self.0.title,
            status: self.0.status.as_u16(),
            detail: shown(&self.0.detail, LONGEST_DETAIL),
            field: self.0.field.as_deref().map(|field| shown(field, LONGEST_FIELD)),
            trace_id,
        };
        let json = serde_json::to_vec(&body).unwrap_or_default();
        let mut response = (self.0.status, json).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        for (name, value) in self.0.headers {
            headers.append(name, value);
        }
        response
    }
}

fn shown(text: &str, longest: usize) -> Cow<'_, str> {
    match text.char_indices().nth(longest) {
        Some((end, _)) => Cow::Owned(format!("{}…", &text[..end])),
        None => Cow::Borrowed(text),
    }
}

/// [`crate::http::wrap`] writes the answer, because it knows the trace id. Until then the problem travels beside an empty body.
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.0.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}
