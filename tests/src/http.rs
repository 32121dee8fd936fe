//! HTTP calls and their answers.

use std::future::IntoFuture;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http::request::Builder;
use http::{HeaderMap, Method, Request};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde_json::Value;

/// The time limit for an answer. The API lets no client wait for more than 20 s.
const PATIENCE: Duration = Duration::from_secs(30);

/// The time limit for a connection. The operating system drops a connection that reaches a listener while its process dies. It
/// tries again a second later, and then less and less often.
const CONNECT: Duration = Duration::from_secs(5);

/// The time that a connection is kept for the next call. The server closes it after 30 s, and a call at that moment would get no
/// answer.
const KEPT: Duration = Duration::from_secs(5);

/// One listener of a system.
#[derive(Clone, Debug)]
pub struct Http {
    address: SocketAddr,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Http {
    /// Returns the listener at this address.
    #[must_use]
    pub fn at(address: SocketAddr) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT));
        let mut client = Client::builder(TokioExecutor::new());
        client.pool_idle_timeout(KEPT).pool_timer(TokioTimer::new());
        Self { address, client: client.build(connector) }
    }

    /// The listener's address.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns a call to be made. The path goes out as it is given.
    #[must_use]
    pub fn call(&self, method: Method, path: &str) -> Call {
        let uri = format!("http://{}{path}", self.address);
        let request = Request::builder().method(method).uri(uri);
        Call { client: self.client.clone(), request, body: Bytes::new() }
    }

    /// A GET.
    #[must_use]
    pub fn get(&self, path: &str) -> Call {
        self.call(Method::GET, path)
    }

    /// A POST.
    #[must_use]
    pub fn post(&self, path: &str) -> Call {
        self.call(Method::POST, path)
    }

    /// A DELETE.
    #[must_use]
    pub fn delete(&self, path: &str) -> Call {
        self.call(Method::DELETE, path)
    }
}

/// A call to be made; `.await` makes it.
#[derive(Debug)]
pub struct Call {
    client: Client<HttpConnector, Full<Bytes>>,
    request: Builder,
    body: Bytes,
}

impl Call {
    /// Adds a header, also when there is one of this name.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.request = self.request.header(name, value);
        self
    }

    /// Adds an `Idempotency-Key`.
    #[must_use]
    pub fn key(self, key: &str) -> Self {
        self.header("idempotency-key", key)
    }

    /// Sets the body as it is given, without a `Content-Type`.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Sets a JSON body and its `Content-Type`.
    #[must_use]
    pub fn json(self, body: &Value) -> Self {
        self.header("content-type", "application/json").body(body.to_string())
    }

    /// Makes the call. The error describes the problem.
    ///
    /// # Errors
    /// When the server can't be reached or breaks off.
    ///
    /// # Panics
    /// When the call is not valid HTTP, or the answer does not come in time.
    pub async fn attempt(self) -> Result<Answer, String> {
        let what = format!("{:?} {:?}", self.request.method_ref(), self.request.uri_ref());
        let request = self.request.body(Full::new(self.body)).expect("a valid request");
        let answer = async {
            let response = self.client.request(request).await.map_err(|error| format!("{error:?}"))?;
            let (parts, body) = response.into_parts();
            let body = body.collect().await.map_err(|error| error.to_string())?.to_bytes();
            Ok(Answer { status: parts.status.as_u16(), headers: parts.headers, body })
        };
        let answer = tokio::time::timeout(PATIENCE, answer).await;
        answer.unwrap_or_else(|_| panic!("{what} was not answered in {PATIENCE:?}"))
    }
}

impl IntoFuture for Call {
    type Output = Answer;
    type IntoFuture = Pin<Box<dyn Future<Output = Answer> + Send>>;

    /// Makes the call; the test fails when there is no answer.
    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async { self.attempt().await.expect("an answer") })
    }
}

/// An answer with any status.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, whole.
    pub body: Bytes,
}

impl Answer {
    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Returns a header's text; empty when it was not sent.
    ///
    /// # Panics
    /// When it was sent more than once or is no text.
    #[must_use]
    #[track_caller]
    pub fn header(&self, name: &str) -> &str {
        let mut values = self.headers.get_all(name).iter();
        let value = values.next().map_or("", |value| value.to_str().expect("text"));
        assert!(values.next().is_none(), "{name} was sent twice: {self:?}");
        value
    }

    /// Checks the status, and returns the answer.
    ///
    /// # Panics
    /// When it has another.
    #[track_caller]
    pub fn with_status(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{:?} {}", self.headers, self.text());
        self
    }

    /// Returns the body as JSON.
    ///
    /// # Panics
    /// When the body is no JSON, or the `Content-Type` does not say so.
    #[must_use]
    #[track_caller]
    pub fn json(&self) -> Value {
        assert!(self.header("content-type").ends_with("json"), "{self:?}");
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Returns the version in the `ETag`.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    #[track_caller]
    pub fn version(&self) -> u64 {
        let version = self.header("etag").trim_matches('"').parse();
        version.unwrap_or_else(|_| panic!("no version: {} {:?} {}", self.status, self.headers, self.text()))
    }

    /// Returns the path of the next page, from `Link: <…>; rel="next"`.
    #[must_use]
    pub fn next_page(&self) -> Option<String> {
        let link = self.header("link").strip_prefix('<')?.strip_suffix(">; rel=\"next\"")?;
        Some(link.to_owned())
    }

    /// Checks that the answer is this problem, has the form of every problem, and tells nothing of the program's inside.
    ///
    /// # Panics
    /// When it is not.
    #[track_caller]
    pub fn problem(&self, status: u16, kind: &str) -> Problem {
        assert_eq!(self.status, status, "{:?} {}", self.headers, self.text());
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert_eq!(self.header("cache-control"), "no-store");
        let problem: Value = self.json();
        let text = |name: &str| problem[name].as_str().unwrap_or_default().to_owned();
        assert_eq!(text("type"), format!("urn:problem:{kind}"), "{problem}");
        assert_eq!(problem["status"], status, "{problem}");
        assert!(!text("title").is_empty() && !text("detail").is_empty(), "{problem}");
        let trace_id = text("trace_id");
        assert!(trace_id.len() == 32 && trace_id.bytes().all(|b| b.is_ascii_hexdigit()), "{problem}");
        let known = ["type", "title", "status", "detail", "field", "trace_id"];
        let unknown =
            problem.as_object().into_iter().flatten().find(|(key, _)| !known.contains(&key.as_str()));
        assert_eq!(unknown, None, "{problem}");
        for inner in ["sqlite", "SQL", "database", "panicked", ".rs", "src/", "thread '"] {
            assert!(!self.text().contains(inner), "{inner:?} is nobody's business: {problem}");
        }
        Problem { field: text("field"), detail: text("detail"), trace_id }
    }
}

/// The parts of a problem.
#[derive(Clone, Debug)]
pub struct Problem {
    /// The field at fault; empty where there is none.
    pub field: String,
    /// The description of the fault.
    pub detail: String,
    /// The id under which the log has more.
    pub trace_id: String,
}
