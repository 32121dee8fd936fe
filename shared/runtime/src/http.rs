//! What every router is wrapped in, in the dispatcher and as a Lambda alike.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{FromRequestParts, Path, Query, Request};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use http::header::{ALLOW, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use http_body_util::{BodyExt, LengthLimitError, Limited};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::json::field_named;
use crate::{Problem, Trace};

/// The largest body that is read: 64 KiB.
pub const BODY_LIMIT: usize = 64 * 1024;

/// How much of a body that is too large is read on: 1 MiB.
const DRAIN_LIMIT: usize = 1024 * 1024;

/// How long a body may take to arrive.
const BODY_PATIENCE: Duration = Duration::from_secs(10);

/// Who sent a request, where that is known; whatever authenticates puts it in the request's extensions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor(pub String);

/// Wraps a router: [`with_fallbacks`], and every request is [`traced`].
pub fn wrap(router: Router) -> Router {
    let every = async |request: Request, next: Next| traced(request, |request| next.run(request)).await;
    with_fallbacks(router).layer(middleware::from_fn(every))
}

/// An unknown route is a 404, a known one with another method a 405, as a [`Problem`] each.
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

/// Answers a request that has a [`Trace`] in its extensions while it is in hand: every error is a [`Problem`] with that trace's
/// id, and a panic is a 500 for that request and nothing more.
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
    let Some(problem) = response.extensions_mut().remove::<Problem>() else {
        return response;
    };
    let mut answer = problem.answer(&trace.id);
    if let Some(allow) = response.headers_mut().remove(ALLOW) {
        answer.headers_mut().insert(ALLOW, allow);
    }
    if head {
        *answer.body_mut() = Body::empty();
    }
    answer
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
    // Writing plain structs to memory has no way to fail.
    let _ = serde_json::to_writer(&mut text, body);
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Reads a body whole.
///
/// # Errors
/// 413 over [`BODY_LIMIT`], 408 when it does not arrive in time, 400 when it breaks off.
pub async fn read_body(mut body: Body) -> Result<Bytes, Problem> {
    let whole = async {
        let read = Limited::new(&mut body, BODY_LIMIT).collect().await;
        if read.as_ref().is_err_and(|error| error.is::<LengthLimitError>()) {
            drain(&mut body).await;
        }
        read
    };
    match tokio::time::timeout(BODY_PATIENCE, whole).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
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

/// Reads on and forgets it. A connection that is closed while its client still sends is reset, and the client never sees the
/// answer.
async fn drain(body: &mut Body) {
    let mut drained = 0;
    while let Some(Ok(frame)) = body.frame().await {
        drained += frame.data_ref().map_or(0, Bytes::len);
        if drained > DRAIN_LIMIT {
            return;
        }
    }
}

/// Refuses a body that says it is not JSON. One that does not say is taken for JSON.
///
/// # Errors
/// 415 with what was sent and what is allowed.
pub fn require_json(headers: &HeaderMap) -> Result<(), Problem> {
    let Some(sent) = headers.get(CONTENT_TYPE) else {
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

/// One header's text, if it was sent.
///
/// # Errors
/// 400 when it was sent more than once or is not visible ASCII.
pub fn single_header<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<Option<&'a str>, Problem> {
    let mut values = headers.get_all(name).iter();
    let (first, second) = (values.next(), values.next());
    match (first, second) {
        (None, _) => Ok(None),
        (Some(_), Some(_)) => Err(Problem::malformed(format!("{name} was sent more than once")).at(name)),
        (Some(value), None) => value
            .to_str()
            .map(Some)
            .map_err(|_| Problem::malformed(format!("{name} is not visible ASCII")).at(name)),
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::{get, post};
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
                    read_body(request.into_body()).await.map(|b| b.len().to_string())
                }),
            );
            let request = Request::post("/").body(Body::from(vec![b'x'; size])).unwrap();
            assert_eq!(call(router, request).await.0, expected);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_never_ends_is_given_up() {
        let endless = Body::from_stream(futures_util::stream::pending::<Result<Bytes, std::io::Error>>());
        assert_eq!(read_body(endless).await.unwrap_err().status(), StatusCode::REQUEST_TIMEOUT);
    }
}
