//! Converts records to librdkafka's messages and back.

use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use rdkafka::message::{BorrowedMessage, Header as KafkaHeader, Headers, OwnedHeaders};
use rdkafka::{Message, Timestamp};

use crate::{Delivery, Header, Record, TimestampType};

/// The most bytes that a batch of one record adds to it ("Message Format", Apache Kafka documentation). The batch itself takes
/// 61; the rest is for lengths and numbers before and within the record.
const BATCH_OVERHEAD: usize = 61 + 36;
const HEADER_OVERHEAD: usize = 10;

/// The most bytes that a record takes when it is sent alone. Brokers compare this size with `max.message.bytes`.
pub(super) fn size(record: &Record) -> usize {
    let length = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
    let headers = record.headers.iter();
    let headers = headers.map(|header| HEADER_OVERHEAD + header.name.len() + length(&header.value));
    BATCH_OVERHEAD + length(&record.key) + length(&record.value) + headers.sum::<usize>()
}

/// A record's headers as librdkafka takes them.
pub(super) fn headers(record: &Record) -> Option<OwnedHeaders> {
    if record.headers.is_empty() {
        return None;
    }
    let none = OwnedHeaders::new_with_capacity(record.headers.len());
    Some(record.headers.iter().fold(none, |headers, header| {
        headers.insert(KafkaHeader { key: &header.name, value: header.value.as_deref() })
    }))
}

/// Copies a message out of librdkafka's memory, once, into one buffer.
pub(super) fn delivery(message: &BorrowedMessage<'_>, topic: &Arc<str>) -> Delivery {
    let (key, value) = (message.key(), message.payload());
    let headers = read_headers(message);
    let parts = || [key, value].into_iter().chain(headers.iter().map(|(_, value)| *value));
    let mut buffer = BytesMut::with_capacity(parts().flatten().map(<[u8]>::len).sum());
    parts().flatten().for_each(|part| buffer.extend_from_slice(part));
    // The parts are split off in the order in which they were added.
    let mut copied = buffer.freeze();
    let mut copy = |part: Option<&[u8]>| part.map(|part| copied.split_to(part.len()));
    let (key, value) = (copy(key), copy(value));
    let headers = headers.into_iter().map(|(name, value)| Header { name: named(name), value: copy(value) });
    let record = Record { key, value, headers: headers.collect() };
    Delivery {
        topic: Arc::clone(topic),
        partition: message.partition(),
        offset: message.offset(),
        timestamp: message.timestamp().to_millis().unwrap_or_default(),
        timestamp_type: match message.timestamp() {
            Timestamp::LogAppendTime(_) => TimestampType::LogAppendTime,
            _ => TimestampType::CreateTime,
        },
        record: Arc::new(record),
    }
}

/// The header names of CloudEvents and of trace context. Most records have them, so they are not copied each time.
const COMMON_NAMES: [&str; 10] = [
    "ce_id",
    "ce_source",
    "ce_type",
    "ce_time",
    "ce_sequence",
    "ce_specversion",
    "ce_subject",
    "content-type",
    "traceparent",
    "tracestate",
];

fn named(name: &str) -> Cow<'static, str> {
    match COMMON_NAMES.iter().find(|common| **common == name) {
        Some(common) => Cow::Borrowed(common),
        None => Cow::Owned(name.to_owned()),
    }
}

/// The names and values of a message's headers. A header whose name is not UTF-8 is skipped. Other programs may write such a
/// name. rdkafka panics when it reads it, and that must not stop a partition for good.
fn read_headers<'a>(message: &'a BorrowedMessage<'_>) -> Vec<(&'a str, Option<&'a [u8]>)> {
    let Some(headers) = message.headers() else { return Vec::new() };
    let read = |place| {
        let header = catch_unwind(AssertUnwindSafe(|| headers.get(place))).ok()?;
        Some((header.key, header.value))
    };
    (0..headers.count()).filter_map(read).collect()
}
