//! Input: a request as it is on the wire: a line with method and target, headers, an empty line, a body.

use axum::body::Body;
use domain::IdempotencyKey;
use http::header::{
    CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG, HOST, IF_MATCH, LOCATION, TRANSFER_ENCODING,
};
use http::{HeaderName, HeaderValue, Method, Request, StatusCode};
use runtime::http::preference;
use serde_json::Value;

use crate::system::{self, Answer, System};
use crate::values::{assert_is_id, assert_is_line, assert_is_said_shortly};

/// Checks that every request gets a documented status, and never a 500. A refusal is a short problem. An order in an answer is
/// valid and can be read in its history. A command that is repeated under its key gets the same answer.
pub fn check(bytes: &[u8]) {
    let Some(asked) = Asked::parse(bytes) else { return };
    system::with(async |system| {
        let answer = system.answer(asked.request()).await;
        check_answer(&asked.method, &answer);
        check_taken(&asked, &answer);
        if matches!(asked.method, Method::POST | Method::DELETE) && answer.status.is_success() {
            check_command(system, &asked, &answer).await;
        }
    });
}

/// Returns whether these bytes are a request that [`check`] checks; it leaves out the others.
#[must_use]
pub fn is_checked(bytes: &[u8]) -> bool {
    Asked::parse(bytes).is_some()
}

/// A request that can be made more than once.
struct Asked {
    method: Method,
    target: String,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Vec<u8>,
}

impl Asked {
    /// Parses bytes that a server would take for a request. Returns `None` for bytes that a server refuses by itself, and for
    /// requests that only wait.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let (head, body) = match bytes.windows(2).position(|pair| pair == b"\n\n") {
            Some(at) => (&bytes[..at], &bytes[at + 2..]),
            None => (bytes, &[][..]),
        };
        let mut lines = head.split(|byte| *byte == b'\n');
        let first = std::str::from_utf8(lines.next()?).ok()?;
        let (method, target) = first.split_once(' ')?;
        let headers = lines.map(|line| {
            let colon = line.iter().position(|byte| *byte == b':')?;
            let name = HeaderName::from_bytes(&line[..colon]).ok()?;
            Some((name, HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?))
        });
        let headers = headers.collect::<Option<Vec<_>>>()?;
        let asked = Self {
            method: Method::from_bytes(method.as_bytes()).ok()?,
            target: target.to_owned(),
            headers,
            body: body.to_vec(),
        };
        let request = Request::get(target).body(()).ok()?;
        let waits = |(name, _): (_, _)| name == "min_version";
        // Most requests have no query, and are checked all the same.
        let query = request.uri().query().unwrap_or_default();
        let may_wait = form_urlencoded::parse(query.as_bytes()).any(waits);
        (!may_wait || asked.prefers_not_to_wait()).then_some(asked)
    }

    fn prefers_not_to_wait(&self) -> bool {
        preference(&self.headers.iter().cloned().collect(), "wait").is_some_and(|wait| wait == "0")
    }

    fn request(&self) -> Request<Body> {
        let mut request = Request::builder().method(self.method.clone()).uri(&self.target);
        // Few inputs have a `Host`, and a request without one gets no answer from a function.
        if !self.has(HOST) {
            request = request.header(HOST, "x");
        }
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        request.body(Body::from(self.body.clone())).expect("a request")
    }

    fn has(&self, name: HeaderName) -> bool {
        self.all(name).next().is_some()
    }

    fn all(&self, name: HeaderName) -> impl Iterator<Item = &[u8]> {
        self.headers.iter().filter(move |(is, _)| *is == name).map(|(_, value)| value.as_bytes())
    }
}

const DOCUMENTED: [u16; 13] = [200, 201, 304, 400, 404, 405, 409, 412, 413, 415, 422, 501, 503];

pub(crate) fn check_answer(method: &Method, answer: &Answer) {
    let Answer { status, headers, body } = answer;
    assert!(DOCUMENTED.contains(&status.as_u16()), "{answer:?}");
    if *method == Method::HEAD || *status == StatusCode::NOT_MODIFIED {
        assert_eq!(body, b"", "{answer:?}");
        let length = headers.get(CONTENT_LENGTH).map(HeaderValue::as_bytes);
        let is_wrong = length == Some(b"0") || (length.is_some() && *status == StatusCode::NOT_MODIFIED);
        assert!(!is_wrong, "{answer:?}");
        return;
    }
    let json: Value = serde_json::from_slice(body).unwrap_or_else(|error| panic!("{error}: {answer:?}"));
    if status.is_success() {
        return;
    }
    assert_eq!(headers["content-type"], "application/problem+json");
    assert!(*status != 503 || json["type"] == "urn:problem:view-behind", "{json}");
    assert!(json["type"].as_str().is_some_and(|kind| kind.starts_with("urn:problem:")), "{json}");
    assert_eq!(json["status"], status.as_u16());
    assert!(json["trace_id"].as_str().is_some_and(|id| id.len() == 32), "{json}");
    assert_is_said_shortly(std::str::from_utf8(body).expect("JSON is text"));
}

/// Checks that an accepted request is unambiguous. It has one host at most, and a body that is no array and has no coding. Its tag has
/// the form of an answer's tag.
fn check_taken(asked: &Asked, answer: &Answer) {
    assert_eq!(answer.headers["x-content-type-options"], "nosniff");
    if !answer.status.is_success() {
        return;
    }
    assert!(asked.all(HOST).count() < 2, "{answer:?}");
    assert!(asked.all(TRANSFER_ENCODING).all(|coding| coding.eq_ignore_ascii_case(b"chunked")), "{answer:?}");
    if !matches!(asked.method, Method::POST | Method::DELETE) {
        return;
    }
    assert!(asked.all(CONTENT_ENCODING).all(|coding| coding.eq_ignore_ascii_case(b"identity")), "{answer:?}");
    assert!(asked.all(CONTENT_TYPE).count() < 2, "{answer:?}");
    assert_ne!(asked.body.trim_ascii_start().first(), Some(&b'['), "{answer:?}");
    let is_canonical = |tag: &[u8]| tag == b"*" || tag.len() == 3 || !tag.starts_with(b"\"0");
    assert!(asked.all(IF_MATCH).all(is_canonical), "{answer:?}");
}

async fn check_command(system: &System, asked: &Asked, answer: &Answer) {
    let order: Value = serde_json::from_slice(&answer.body).expect("an order");
    let text = |name: &str| order[name].as_str().unwrap_or_default().to_owned();
    let (id, version) = (text("id"), order["version"].as_u64().expect("a version"));
    assert_is_id(&id);
    assert_is_line(&text("name"));
    assert_eq!(answer.headers[LOCATION], format!("/{id}"));
    assert_eq!(answer.headers[ETAG], format!("\"{version}\""));

    let then = Request::get(format!("/{id}/versions/{version}")).header(HOST, "x");
    let then = then.body(Body::empty()).expect("a request");
    let then = system.answer(then).await;
    assert_eq!((then.status, &then.body), (StatusCode::OK, &answer.body), "{then:?}");

    if let Some((_, key)) = asked.headers.iter().find(|(name, _)| name == "idempotency-key") {
        let key =
            key.to_str().ok().and_then(|key| IdempotencyKey::parse(key).ok()).expect("a key that was taken");
        let again = system.answer(asked.request()).await;
        assert_eq!((again.status, &again.body), (answer.status, &answer.body), "under {key}: {again:?}");
    }
}
