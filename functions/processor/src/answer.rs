//! The fulfilment service's answers. Each is about the order or about the service.

use std::time::Duration;

use domain::Reason;
use http::header::RETRY_AFTER;
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use serde::Deserialize;

/// The longest pause that the service can ask for; a longer one is cut to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(60 * 60);

/// Client errors that are about the service and not about the order: its load, our credentials, a wrong URL.
const OF_THE_SERVICE: [StatusCode; 8] = [
    StatusCode::UNAUTHORIZED,
    StatusCode::FORBIDDEN,
    StatusCode::NOT_FOUND,
    StatusCode::METHOD_NOT_ALLOWED,
    StatusCode::PROXY_AUTHENTICATION_REQUIRED,
    StatusCode::REQUEST_TIMEOUT,
    StatusCode::TOO_EARLY,
    StatusCode::TOO_MANY_REQUESTS,
];

/// The result of one request for an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The order is fulfilled.
    Fulfilled,
    /// The order will never be fulfilled, for this reason.
    Refused(Reason),
    /// The service failed, and the outcome is unknown. Ask again under the same key.
    Failed(Failure),
    /// The service was not asked, for this reason.
    NotAsked(&'static str),
}

/// A failure of the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The problem, in one line.
    pub problem: String,
    /// The pause that the service asks for (`Retry-After`).
    pub pause: Option<Duration>,
}

impl From<Failure> for Answer {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// Reads an answer. 2xx means fulfilled. 4xx means refused, unless it is one of `OF_THE_SERVICE`. Everything else is a failure of
/// the service.
pub(crate) async fn read(response: reqwest::Response) -> Answer {
    let status = response.status();
    if status.is_success() {
        return Answer::Fulfilled;
    }
    if !status.is_client_error() || OF_THE_SERVICE.contains(&status) {
        let pause = pause(response.headers(), Timestamp::now());
        return Failure { problem: format!("the service answered {status}"), pause }.into();
    }
    Answer::Refused(Reason::from_any(&format!("{status}: {}", text(response).await)))
}

/// Reads `Retry-After` (RFC 9110 §10.2.3): seconds, or a date.
fn pause(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let pause = match value.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let until = rfc2822::DateTimeParser::new().parse_timestamp(value).ok()?;
            until.duration_since(now).try_into().unwrap_or_default()
        }
    };
    Some(pause.min(LONGEST_PAUSE))
}

/// Returns the detail or the title of a problem, else the beginning of the answer's text.
async fn text(mut response: reqwest::Response) -> String {
    #[derive(Deserialize)]
    struct Problem {
        detail: Option<String>,
        title: Option<String>,
    }
    let mut body = Vec::new();
    while body.len() < 4096 {
        match response.chunk().await {
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            _ => break,
        }
    }
    match serde_json::from_slice(&body) {
        Ok(Problem { detail: Some(text), .. } | Problem { title: Some(text), .. }) => text,
        _ => String::from_utf8_lossy(&body).into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_pause_is_seconds_or_a_date_and_never_too_long() {
        let now: Timestamp = "1994-11-06T08:49:30Z".parse().unwrap();
        for (value, seconds) in [
            ("0", Some(0)),
            (" 120 ", Some(120)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(7)),
            ("Sun, 06 Nov 1994 08:49:00 GMT", Some(0)),
            ("Mon, 07 Nov 1994 08:49:37 GMT", Some(3600)),
            ("86400", Some(3600)),
            ("soon", None),
            ("-1", None),
        ] {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static(value))]);
            assert_eq!(pause(&headers, now), seconds.map(Duration::from_secs), "{value}");
        }
        assert_eq!(pause(&HeaderMap::new(), now), None);
    }
}
