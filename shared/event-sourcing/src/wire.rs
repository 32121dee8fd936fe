//! How an event travels: one record an event.
//!
//! The value is JSON, `{"type","schema","stream","version","time","data"}`: all that a receiver needs, since an event
//! source mapping filters on the value alone. The headers repeat it as a `CloudEvent` (CloudEvents 1.0, Kafka protocol
//! binding, binary mode) for tools that know that standard.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use thiserror::Error;

use crate::event::{self, EncodedEvent, EventType, UnknownEvent};
use crate::excerpt::shortened;
use crate::values::{StreamId, Version};

/// One event with its place in its stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded<E> {
    /// The stream; the record's key.
    pub stream: StreamId,
    /// The stream's version with this event in.
    pub version: Version,
    /// When it was recorded.
    pub time: Timestamp,
    /// What happened.
    pub event: E,
}

/// Why a record's value is not an event. What could still be read of it is kept for whoever mends it.
#[derive(Debug, Error)]
pub enum Undecodable {
    /// Not the JSON that [`encode`] writes.
    #[error("not an event: {0}")]
    Malformed(String),
    /// The stream's name is not valid.
    #[error("no valid stream: {0}")]
    NoValidStream(String),
    /// The version is 0, or more than a store can hold.
    #[error("version {version} is not that of an event")]
    BadVersion {
        /// The stream named.
        stream: StreamId,
        /// The version named.
        version: u64,
    },
    /// A well-formed record of an event that this program does not know.
    #[error("{problem}")]
    Unknown {
        /// The stream named.
        stream: StreamId,
        /// The version named.
        version: Version,
        /// What is not known.
        problem: UnknownEvent,
    },
}

impl<E: EventType> Recorded<E> {
    /// The value of its record.
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

/// The value of the record of an event.
#[must_use]
pub fn encode(stream: &StreamId, version: Version, time: Timestamp, event: &EncodedEvent) -> Vec<u8> {
    let EncodedEvent { kind, schema, data } = event;
    let written = Value { kind, schema: *schema, stream, version, time, data };
    let mut value = Vec::with_capacity(224);
    // Writing plain structs to memory has no way to fail.
    let _ = serde_json::to_writer(&mut value, &written);
    value
}

/// Reads the value of a record.
///
/// # Errors
/// [`Undecodable`], which says how much of it could be read.
pub fn decode<E: EventType>(value: &[u8]) -> Result<Recorded<E>, Undecodable> {
    // Else what is in fields that are passed over would not be looked at, and others would not take it for JSON.
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

/// The header of a record that is published again, with the number of the reminder. Whoever knows the version passes it over.
pub const REMINDER: &str = "reminder";

/// The headers of the record of an event: a `CloudEvent` in binary mode, from this `ce_source`. `traceparent` (W3C Trace Context) is
/// that of the request that caused it, where there was one. What is the same in every record is borrowed.
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
