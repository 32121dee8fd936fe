//! The form in which an event travels: one record for each event.
//!
//! The value is JSON, `{"type","schema","stream","version","time","data"}`. It has everything that a receiver needs, because an
//! event source mapping filters on the value alone. The headers repeat it as a `CloudEvent` (CloudEvents 1.0, Kafka protocol
//! binding, binary mode) for tools that know that standard.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use thiserror::Error;

use crate::event::{self, EncodedEvent, EventType, UnknownEvent};
use crate::excerpt::shortened;
use crate::reaction::Occasion;
use crate::values::{StreamId, Version};

/// An event with its stream, version and time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded<E> {
    /// The stream; the record's key.
    pub stream: StreamId,
    /// The stream's version with this event.
    pub version: Version,
    /// The time at which it was recorded.
    pub time: Timestamp,
    /// The event itself.
    pub event: E,
}

/// The reason for which a record's value is not an event. It has the parts that could be read, for the person who repairs the
/// record.
#[derive(Debug, Error)]
pub enum Undecodable {
    /// The value is not the JSON that [`encode`] writes.
    #[error("not an event: {0}")]
    Malformed(String),
    /// The stream's name is not valid.
    #[error("no valid stream: {0}")]
    NoValidStream(String),
    /// The version is 0, or more than a store can hold.
    #[error("version {version} is not that of an event")]
    BadVersion {
        /// The stream in the record.
        stream: StreamId,
        /// The version in the record.
        version: u64,
    },
    /// The record is well formed, but this program does not know its event.
    #[error("{problem}")]
    Unknown {
        /// The stream in the record.
        stream: StreamId,
        /// The version in the record.
        version: Version,
        /// The unknown part.
        problem: UnknownEvent,
    },
    /// The event store can't read the event, so that nobody can send it.
    #[error("the event store can't read it: {problem}")]
    Unreadable {
        /// The stream.
        stream: StreamId,
        /// The version.
        version: Version,
        /// The fault.
        problem: String,
    },
}

impl<E: EventType> Recorded<E> {
    /// Returns the value of the event's record.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        encode(&self.stream, self.version, self.time, &EncodedEvent::encode(&self.event))
    }
}

#[derive(Serialize)]
struct Value<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    schema: u32,
    stream: &'a StreamId,
    version: Version,
    time: Timestamp,
    data: &'a RawValue,
}

#[derive(Deserialize)]
struct ParsedValue<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    schema: u32,
    #[serde(borrow)]
    stream: Cow<'a, str>,
    version: u64,
    time: Timestamp,
    #[serde(borrow)]
    data: &'a RawValue,
}

/// Returns the value of an event's record.
#[must_use]
pub fn encode(stream: &StreamId, version: Version, time: Timestamp, event: &EncodedEvent) -> Vec<u8> {
    let EncodedEvent { kind, schema, data } = event;
    let written = Value { kind, schema: *schema, stream, version, time, data };
    let mut value = Vec::with_capacity(224);
    // Serializing plain structs to memory can't fail.
    let _ = serde_json::to_writer(&mut value, &written);
    value
}

/// Reads the value of a record.
///
/// # Errors
/// [`Undecodable`], with the parts that could be read.
pub fn decode<E: EventType>(value: &[u8]) -> Result<Recorded<E>, Undecodable> {
    // The parser does not check the text of unknown fields, so this check comes first. Other programs would not accept such a
    // value as JSON.
    let text = std::str::from_utf8(value).map_err(|error| Undecodable::Malformed(error.to_string()))?;
    let read: ParsedValue<'_> =
        serde_json::from_str(text).map_err(|error| Undecodable::Malformed(shortened(&error.to_string())))?;
    let stream =
        StreamId::parse(&read.stream).map_err(|invalid| Undecodable::NoValidStream(invalid.to_string()))?;
    if read.version == 0 || read.version > Version::MAX {
        return Err(Undecodable::BadVersion { stream, version: read.version });
    }
    let version = Version::new(read.version);
    match event::decode(&read.kind, read.schema, read.data) {
        Ok(event) => Ok(Recorded { stream, version, time: read.time, event }),
        Err(problem) => Err(Undecodable::Unknown { stream, version, problem }),
    }
}

/// The header of a record that a reminder has published again; its value is the reminder's number, from 1. A first delivery has no
/// such header. Receivers that know the version ignore it.
pub const REMINDER: &str = "reminder";

/// Reads the occasion of a delivery from the record's headers. A header that no relay of ours wrote counts as none.
pub fn occasion<'a>(headers: impl IntoIterator<Item = (&'a str, Option<&'a [u8]>)>) -> Occasion {
    let header = headers.into_iter().find(|(name, _)| *name == REMINDER);
    let number = header.and_then(|(_, value)| std::str::from_utf8(value?).ok()?.parse().ok());
    Occasion::from(number.unwrap_or(0_u32))
}

/// Returns the headers of an event's record: a `CloudEvent` in binary mode, with this `ce_source`. `traceparent` (W3C Trace
/// Context) comes from the request that caused the event, if the request had one. Texts that are the same in every record are
/// borrowed.
#[must_use]
pub fn headers(
    source: &'static str,
    stream: &StreamId,
    version: Version,
    time: Timestamp,
    event: &EncodedEvent,
    traceparent: Option<&str>,
) -> Vec<(&'static str, Cow<'static, str>)> {
    let sequence = version.to_string();
    let mut headers = Vec::with_capacity(8);
    headers.extend([
        ("ce_specversion", "1.0".into()),
        ("ce_id", [stream.as_str(), "@", &sequence].concat().into()),
        ("ce_type", event.kind.to_string().into()),
        ("ce_source", source.into()),
        ("ce_time", time.to_string().into()),
        ("ce_sequence", sequence.into()),
        ("content-type", "application/json".into()),
    ]);
    if let Some(traceparent) = traceparent {
        headers.push(("traceparent", traceparent.to_owned().into()));
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_of_a_reminder_tells_it_from_a_first_delivery() {
        let read = |name, value| occasion([("content-type", Some(&b"application/json"[..])), (name, value)]);
        assert_eq!(read(REMINDER, Some(b"3")), Occasion::from(3));
        assert_eq!(read(REMINDER, Some(b"3")).number(), 3);
        for (name, value) in [
            ("another", Some(&b"3"[..])),
            (REMINDER, Some(b"0")),
            (REMINDER, Some(b"-1")),
            (REMINDER, Some(b"\xff")),
            (REMINDER, Some(b"")),
            (REMINDER, None),
        ] {
            assert_eq!(read(name, value), Occasion::FirstDelivery, "{name} {value:?}");
        }
    }
}
