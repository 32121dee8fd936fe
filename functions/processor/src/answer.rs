//! What the fulfilment service answers, and whether it speaks of the order or of the service.

use std::time::Duration;

use domain::Reason;
use http::header::RETRY_AFTER;
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use serde::Deserialize;

/// The longest that a service is left in peace because it asked for it.
const LONGEST_PAUSE: Duration = Duration::from_secs(60 * 60);

/// Client errors that speak of the service and not of the order: of its load, of our credentials, of a wrong URL.
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

/// What came of asking for an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The order is fulfilled.
    Fulfilled,
    /// It never will be, and why.
    Refused(Reason),
    /// The service failed, and nobody knows; ask again under the same key.
    Failed(Failure),
    /// The service was not asked, and why.
    NotAsked(&'static str),
}

/// A failure of the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What happened, in one line.
    pub problem: String,
    /// How long the service asks to be left in peace (`Retry-After`).
    pub pause: Option<Duration>,
}

impl From<Failure> for Answer {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// Reads an answer: 2xx is fulfilled; 4xx is refused, unless it speaks of the service; all else is the service's failure.
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

/// `Retry-After` (RFC 9110 §10.2.3): seconds, or a date.
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

/// The detail or the title of a problem, else the beginning of the answer's text.
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
