//! The trace that a request belongs to (W3C Trace Context).

use ::http::HeaderMap;
use uuid::Uuid;

/// The trace of a request: its own `traceparent` if it sent a valid one, else a fresh trace id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// 32 hexadecimal digits. A problem shows them, and the log repeats them.
    pub id: String,
    /// The `traceparent` that the request came with.
    pub traceparent: Option<String>,
}

impl Trace {
    /// The trace of a request with these headers.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        let sent = headers.get("traceparent").and_then(|value| value.to_str().ok());
        match sent.and_then(|text| Some((trace_id(text)?, text))) {
            Some((id, text)) => Self { id: id.to_owned(), traceparent: Some(text.to_owned()) },
            None => Self::fresh(),
        }
    }

    /// A trace that begins here.
    #[must_use]
    pub fn fresh() -> Self {
        Self { id: Uuid::new_v4().simple().to_string(), traceparent: None }
    }
}

/// The trace id in a `traceparent` of version 00: `00-<32 hex>-<16 hex>-<2 hex>`, neither id all zero.
fn trace_id(traceparent: &str) -> Option<&str> {
    let mut parts = traceparent.split('-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let hex = |part: &str, length: usize| {
        part.len() == length && part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    let zero = |part: &str| part.bytes().all(|b| b == b'0');
    let valid = version == "00" && hex(trace, 32) && hex(span, 16) && hex(flags, 2) && parts.next().is_none();
    (valid && !zero(trace) && !zero(span)).then_some(trace)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn of(value: &str) -> Trace {
        let mut headers = HeaderMap::new();
        headers.insert("traceparent", value.parse().unwrap());
        Trace::of(&headers)
    }

    #[test]
    fn a_valid_traceparent_is_kept_whole() {
        let trace = of(SENT);
        assert_eq!(trace.id, "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(trace.traceparent.as_deref(), Some(SENT));
    }

    #[test]
    fn anything_else_begins_a_trace() {
        for bad in
            ["", "x", &SENT[1..], &SENT.to_uppercase(), &format!("{SENT}-00"), &SENT.replace('4', "0")[..9]]
        {
            let trace = of(bad);
            assert_eq!((trace.id.len(), trace.traceparent), (32, None), "{bad:?}");
        }
    }
}
