//! The event that Lambda's event source mapping for Kafka invokes a function with, and the function's answer.
//!
//! Here bytes are bytes. Base64 (keys and values) and signed numbers (headers) are only their form in JSON. The shape is that of
//! the AWS pages "Using Lambda with Amazon MSK" and "Using Lambda with self-managed Apache Kafka".

mod json;
mod response;
mod size;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

pub use self::response::{BatchItemFailure, BatchResponse};
pub(crate) use self::size::of_list as size_of_list;

/// Records by `topic-partition`.
///
/// Reading one is tolerant: fields may be missing, null or unknown. So one odd record is left to its reader, and does not fail the
/// batch that it came in.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct KafkaEvent {
    /// `aws:kafka` (Amazon MSK) or `SelfManagedKafka`.
    #[serde(deserialize_with = "json::null_as_default")]
    pub event_source: String,
    /// The cluster, for Amazon MSK.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_source_arn: Option<String>,
    /// The brokers, comma separated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bootstrap_servers: Option<String>,
    /// The records, by `topic-partition`, in order.
    #[serde(deserialize_with = "json::null_as_default")]
    pub records: BTreeMap<String, Vec<KafkaRecord>>,
}

/// A record as a function sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KafkaRecord {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: i32,
    /// The place in the partition.
    pub offset: i64,
    /// Milliseconds since 1970.
    #[serde(default, deserialize_with = "json::null_as_default")]
    pub timestamp: i64,
    /// `CREATE_TIME` or `LOG_APPEND_TIME`.
    #[serde(default)]
    pub timestamp_type: TimestampType,
    /// Any bytes. Text that is not base64 is read as its own bytes.
    #[serde(default, with = "json::payload", skip_serializing_if = "Option::is_none")]
    pub key: Option<Bytes>,
    /// Any bytes; `None` is a tombstone. Text that is not base64 is read as its own bytes, so that it can be looked at.
    #[serde(default, with = "json::payload", skip_serializing_if = "Option::is_none")]
    pub value: Option<Bytes>,
    /// Names and values, in order.
    #[serde(default, with = "json::headers")]
    pub headers: Vec<KafkaHeader>,
    /// The schema of the key, where a schema registry has it.
    #[serde(default, deserialize_with = "json::lenient", skip_serializing_if = "Option::is_none")]
    pub key_schema_metadata: Option<Arc<SchemaMetadata>>,
    /// The schema of the value, where a schema registry has it.
    #[serde(default, deserialize_with = "json::lenient", skip_serializing_if = "Option::is_none")]
    pub value_schema_metadata: Option<Arc<SchemaMetadata>>,
}

/// The schema that a key or a value was checked against, as events name it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SchemaMetadata {
    /// `AVRO`, `PROTOBUF` or `JSON`.
    pub data_format: String,
    /// The registry's id of it: a number (Confluent), or the UUID of a schema's version (Glue).
    pub schema_id: String,
}

/// A header's name and value. Names from the program's own code need no memory of their own.
pub type KafkaHeader = (Cow<'static, str>, Option<Bytes>);

/// The party that set a record's timestamp.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TimestampType {
    /// The producer.
    #[default]
    CreateTime,
    /// The broker.
    LogAppendTime,
}

impl KafkaRecord {
    /// The record's size in the event's JSON, in bytes.
    #[must_use]
    pub fn json_size(&self) -> usize {
        size::of_record(self)
    }
}

impl KafkaEvent {
    /// The event's size as JSON, in bytes.
    #[must_use]
    pub fn json_size(&self) -> usize {
        size::of_event(self)
    }
}

#[cfg(test)]
mod tests;
