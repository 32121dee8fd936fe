//! An event of a commit as a record of the channel.

use std::borrow::Cow;

use bytes::Bytes;
use event_channel::{Header, Record};
use event_sourcing::{EncodedEvent, Version, wire};
use event_store::Commit;

/// Returns an event of a commit as it is published, from this `ce_source`, under the event's own version.
#[must_use]
pub fn record(source: &'static str, commit: &Commit, version: Version, event: &EncodedEvent) -> Record {
    let traceparent = commit.metadata.traceparent.as_deref();
    let headers = wire::headers(source, &commit.stream, version, commit.recorded_at, event, traceparent);
    Record {
        key: Some(Bytes::copy_from_slice(commit.stream.as_str().as_bytes())),
        value: Some(wire::encode(&commit.stream, version, commit.recorded_at, event).into()),
        headers: headers
            .into_iter()
            .map(|(name, value)| Header { name: name.into(), value: Some(bytes(value)) })
            .collect(),
    }
}

fn bytes(text: Cow<'static, str>) -> Bytes {
    match text {
        Cow::Borrowed(text) => Bytes::from_static(text.as_bytes()),
        Cow::Owned(text) => text.into(),
    }
}
