//! The wrapper of every router, in the dispatcher and as a Lambda alike.
//!
//! A handler returns a [`Problem`] and writes none. Only the wrapper here writes them, under the request's trace id.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{FromRequestParts, Path, Query, Request};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use http::header::{
    ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HOST, HeaderName,
    TRANSFER_ENCODING, X_CONTENT_TYPE_OPTIONS,
};
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, Version};
use http_body_util::{BodyExt, LengthLimitError, Limited};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::json::field_named;
use crate::{Problem, Trace};

mod prefer;

pub use prefer::preference;

/// The largest body that is read: 64 KiB.
pub const BODY_LIMIT: usize = 64 * 1024;

/// The part of a too large body that is still read: 1 MiB.
const DRAIN_LIMIT: usize = 1024 * 1024;

/// The longest time for a body to arrive.
const BODY_PATIENCE: Duration = Duration::from_secs(10);

/// The sender of a request, if it is known. The code that authenticates a request puts it in the request's extensions.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Actor(pub String);

/// A mark in a request's extensions: the request is answered at once with what there is, however long its client is ready to wait.
#[derive(Clone, Copy, Debug)]
pub struct NoWait;

/// Wraps a router in [`with_fallbacks`], and answers every request through [`traced`].
pub fn wrap(router: Router) -> Router {
    let every = async |request: Request, next: Next| traced(request, |request| next.run(request)).await;
    with_fallbacks(router).layer(middleware::from_fn(every))
}

/// Adds two fallbacks. An unknown route is a 404, and a known route with another method is a 405, as a [`Problem`] each.
pub fn with_fallbacks(router: Router) -> Router {
    router
        .fallback(async || {
            Problem::not_found(
                "unknown-route",
                "There is nothing at this path",
                "See the documentation for the routes.",
            )
        })
        .method_not_allowed_fallback(async |method: Method| {
            let detail = format!("{method} is not allowed here; the Allow header says what is");
            Problem::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "method-not-allowed",
                "The method is not allowed",
                detail,
            )
        })
}

/// Answers a request. While the request is in hand, its extensions have a [`Trace`]. Every error is a [`Problem`] with that trace's
/// id. A panic is a 500 for that request and nothing more.
pub async fn traced<F: Future<Output = Response>>(
    mut request: Request,
    answer: impl FnOnce(Request) -> F,
) -> Response {
    let trace = Trace::of(request.headers());
    let head = request.method() == Method::HEAD;
    request.extensions_mut().insert(trace.clone());
    let mut response = match AssertUnwindSafe(answer(request)).catch_unwind().await {
        Ok(response) => response,
        Err(panic) => Problem::internal(panic_text(&*panic)).into_response(),
    };
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        response = explained(problem, response, &trace.id);
        if head {
            *response.body_mut() = Body::empty();
        }
    }
    if response.status() == StatusCode::NOT_MODIFIED {
        response.headers_mut().remove(CONTENT_LENGTH);
        *response.body_mut() = nothing();
    }
    // A browser must not take an answer in JSON for a page.
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Returns a problem's answer, with the headers of the response that carried it. It states the length of its text, for `HEAD` too.
fn explained(problem: Problem, response: Response, trace_id: &str) -> Response {
    let mut answer = problem.answer(trace_id);
    let length = answer.body().size_hint().lower();
    answer.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    let headers = answer.headers_mut();
    for name in
        response.headers().keys().filter(|name| !headers.contains_key(*name)).cloned().collect::<Vec<_>>()
    {
        response.headers().get_all(&name).iter().for_each(|value| _ = headers.append(&name, value.clone()));
    }
    answer
}

/// Checks the head of a request (RFC 9112, 3.2 and 6.1). A Lambda needs no check, because its gateway has read the head before.
///
/// # Errors
/// 400 without one valid `Host`, 501 when the body has a coding that is unknown here.
pub fn check_head(version: Version, headers: &HeaderMap) -> Result<(), Problem> {
    let mut hosts = headers.get_all(HOST).iter();
    let refuse_host =
        |what| Err(Problem::malformed(format!("{what}; allowed: one host, and its port")).at("Host"));
    match (hosts.next(), hosts.next()) {
        (_, Some(_)) => return refuse_host("Host was sent more than once"),
        (None, _) if version >= Version::HTTP_11 => return refuse_host("there is no Host"),
        (Some(host), _) if !is_host(host) => return refuse_host("Host is not one"),
        _ => {}
    }
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    if codings.all(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked")) {
        return Ok(());
    }
    let (kind, title) = ("unknown-coding", "The body is coded in an unknown way");
    Err(Problem::new(StatusCode::NOT_IMPLEMENTED, kind, title, "allowed Transfer-Encoding: chunked")
        .at("Transfer-Encoding")
        .unlogged())
}

/// Returns whether this is a valid `Host`. It may be empty, if the request's target has no host.
fn is_host(host: &HeaderValue) -> bool {
    let host = host.as_bytes();
    host.is_empty() || (!host.contains(&b'@') && Authority::try_from(host).is_ok())
}

/// An empty body of unknown length. If the length were known, axum would write that it is 0, although a 304 stands for a longer
/// body.
fn nothing() -> Body {
    Body::from_stream(futures_util::stream::empty::<Result<Bytes, Infallible>>())
}

/// Reads the rest of a request that is answered already. If a connection is closed while its client still sends, the client may
/// never see the answer. A client that waits to be told to send its body is not told.
pub fn discard_body(request: Request) {
    if request.headers().contains_key(EXPECT) || request.body().is_end_stream() {
        return;
    }
    let mut body = request.into_body();
    tokio::spawn(async move {
        let _ = tokio::time::timeout(BODY_PATIENCE, drain(&mut body)).await;
    });
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text =
        panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("a panic: {}", text.unwrap_or("without a text"))
}

/// An answer in JSON.
#[must_use]
pub fn json(status: StatusCode, body: &impl Serialize) -> Response {
    let mut text = Vec::with_capacity(256);
    // Writing plain structs to memory can't fail.
    let _ = serde_json::to_writer(&mut text, body);
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Reads a whole body.
///
/// # Errors
/// 413 when the body is larger than [`BODY_LIMIT`], 408 when it does not arrive in time, 415 when it is compressed. 400 when it
/// breaks off, or when `Content-Type` was sent more than once.
pub async fn read_body(headers: &HeaderMap, mut body: Body) -> Result<Bytes, Problem> {
    let whole = async {
        let read = Limited::new(&mut body, BODY_LIMIT).collect().await;
        if read.as_ref().is_err_and(|error| error.is::<LengthLimitError>()) {
            drain(&mut body).await;
        }
        read
    };
    match tokio::time::timeout(BODY_PATIENCE, whole).await {
        Ok(Ok(body)) => {
            // These checks come after the body is read. A connection with unread bytes is reset, and its answer may be lost.
            single_value(headers, &CONTENT_TYPE)?;
            check_coding(headers)?;
            Ok(body.to_bytes())
        }
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "body-too-large",
            "The body is too large",
            format!("a body may have {BODY_LIMIT} bytes"),
        )),
        Ok(Err(error)) => Err(Problem::malformed("the body broke off").because(error.to_string())),
        Err(_) => Err(Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            "body-too-slow",
            "The body did not arrive in time",
            format!("a body has {} s to arrive", BODY_PATIENCE.as_secs()),
        )),
    }
}

fn check_coding(headers: &HeaderMap) -> Result<(), Problem> {
    let is_plain = |coding: &HeaderValue| coding.as_bytes().eq_ignore_ascii_case(b"identity");
    let Some(coding) = headers.get_all(CONTENT_ENCODING).iter().find(|coding| !is_plain(coding)) else {
        return Ok(());
    };
    let (kind, title) = ("compressed-body", "The body is compressed");
    let detail = format!("the Content-Encoding is {coding:?}; allowed: none");
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, kind, title, detail)
        .at("Content-Encoding")
        .with(ACCEPT_ENCODING, HeaderValue::from_static("identity")))
}

/// Reads the rest of a body and drops it. If a connection is closed while its client still sends, it is reset, and the client never
/// sees the answer.
async fn drain(body: &mut Body) {
    let mut drained = 0;
    while let Some(Ok(frame)) = body.frame().await {
        drained += frame.data_ref().map_or(0, Bytes::len);
        if drained > DRAIN_LIMIT {
            return;
        }
    }
}

/// Refuses a body whose `Content-Type` is not JSON. A body without a `Content-Type` is taken for JSON.
///
/// # Errors
/// 415 that names the sent type and the allowed one; 400 when two types were sent.
pub fn require_json(headers: &HeaderMap) -> Result<(), Problem> {
    let Some(sent) = single_value(headers, &CONTENT_TYPE)? else {
        return Ok(());
    };
    let essence = sent.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(Problem::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "not-json",
        "The body is not JSON",
        format!("the Content-Type is {sent:?}; allowed: application/json"),
    ))
}

/// The parameters in the path, as text.
pub struct PathText<T>(pub T);

impl<T, S> FromRequestParts<S> for PathText<T>
where
    T: DeserializeOwned + Send,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Path::<T>::from_request_parts(parts, state).await {
            Ok(Path(values)) => Ok(Self(values)),
            Err(rejection) => Err(Problem::malformed(rejection.body_text())),
        }
    }
}

/// Reads the query string. Unknown parameters are refused where `T` says `deny_unknown_fields`.
///
/// # Errors
/// 422 that names the parameter.
pub fn query<T: DeserializeOwned>(uri: &Uri) -> Result<T, Problem> {
    match Query::try_from_uri(uri) {
        Ok(Query(values)) => Ok(values),
        Err(rejection) => {
            let text = rejection.body_text();
            let detail = text.strip_prefix("Failed to deserialize query string: ").unwrap_or(&text);
            let field =
                field_named(detail).or_else(|| detail.split_once(": ").map(|(field, _)| field.to_owned()));
            Err(Problem::invalid(field.unwrap_or_else(|| "query".to_owned()), detail))
        }
    }
}

/// Returns one header's text, if the header was sent.
///
/// # Errors
/// 400 when it was sent more than once or is not visible ASCII.
pub fn single_header<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Problem> {
    let text = |value: &'a HeaderValue| {
        value
            .to_str()
            .map_err(|_| Problem::malformed(format!("{name} is not visible ASCII")).at(name.as_str()))
    };
    single_value(headers, name)?.map(text).transpose()
}

fn single_value<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a HeaderValue>, Problem> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(_), Some(_)) => {
            Err(Problem::malformed(format!("{name} was sent more than once")).at(name.as_str()))
        }
        (value, _) => Ok(value),
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::{get, post};
    use http::header::ALLOW;
    use tower::ServiceExt;

    use super::*;

    async fn call(router: Router, request: Request) -> (StatusCode, HeaderMap, String) {
        let (parts, body) = wrap(router).oneshot(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (parts.status, parts.headers, String::from_utf8(body.to_vec()).unwrap())
    }

    fn request(method: Method, path: &str) -> Request {
        Request::builder().method(method).uri(path).body(Body::empty()).unwrap()
    }

    #[tokio::test]
    async fn an_unknown_route_is_a_404_problem_with_a_trace_id() {
        let (status, headers, body) = call(Router::new(), request(Method::GET, "/nowhere")).await;
        assert_eq!(status, StatusCode::NOT_FOUND);
        assert_eq!(headers[CONTENT_TYPE], "application/problem+json");
        assert!(body.contains(r#""type":"urn:problem:unknown-route""#), "{body}");
        assert!(body.contains(r#""trace_id":""#), "{body}");
    }

    #[tokio::test]
    async fn what_the_caller_sent_is_repeated_in_part_only() {
        let long = || "é".repeat(70_000);
        let router = Router::new().route("/", get(async move || Problem::invalid(long(), long())));
        let (status, _, body) = call(router, request(Method::GET, "/")).await;
        assert!(status == 422 && body.len() < 1_500 && body.contains("é…\""), "{} bytes: {body}", body.len());
    }

    #[tokio::test]
    async fn another_method_is_a_405_that_says_which_are_allowed() {
        let router = Router::new().route("/", get(async || "here"));
        let (status, headers, _) = call(router, request(Method::PUT, "/")).await;
        assert_eq!((status, &headers[ALLOW]), (StatusCode::METHOD_NOT_ALLOWED, &"GET,HEAD".parse().unwrap()));
    }

    #[tokio::test]
    async fn a_panic_is_a_500_that_tells_nothing() {
        let router =
            Router::new().route("/", get(async || -> &'static str { panic!("the password is 12345") }));
        let (status, _, body) = call(router, request(Method::GET, "/")).await;
        assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
        assert!(!body.contains("12345"), "{body}");
    }

    #[tokio::test]
    async fn a_problem_on_head_has_no_body() {
        let (status, _, body) = call(Router::new(), request(Method::HEAD, "/")).await;
        assert_eq!((status, body.as_str()), (StatusCode::NOT_FOUND, ""));
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_413_and_one_at_the_limit_is_read() {
        for (size, expected) in
            [(BODY_LIMIT, StatusCode::OK), (BODY_LIMIT + 1, StatusCode::PAYLOAD_TOO_LARGE)]
        {
            let router = Router::new().route(
                "/",
                post(async |request: Request| {
                    let (parts, body) = request.into_parts();
                    read_body(&parts.headers, body).await.map(|b| b.len().to_string())
                }),
            );
            let request = Request::post("/").body(Body::from(vec![b'x'; size])).unwrap();
            assert_eq!(call(router, request).await.0, expected);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_never_ends_is_given_up() {
        let endless = Body::from_stream(futures_util::stream::pending::<Result<Bytes, std::io::Error>>());
        assert_eq!(
            read_body(&HeaderMap::new(), endless).await.unwrap_err().status(),
            StatusCode::REQUEST_TIMEOUT
        );
    }
}
