//! The event that Lambda's event source mapping for Kafka invokes a function with, and the function's answer.
//!
//! Bytes are bytes here; base64 (keys and values) and signed numbers (headers) are only how they stand in JSON.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

/// Records by `topic-partition`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KafkaEvent {
    /// `aws:kafka` (Amazon MSK) or `SelfManagedKafka`.
    pub event_source: String,
    /// The cluster, for Amazon MSK.
    pub event_source_arn: Option<String>,
    /// The brokers, comma separated.
    pub bootstrap_servers: Option<String>,
    /// The records, by `topic-partition`, in order.
    pub records: BTreeMap<String, Vec<KafkaRecord>>,
}

/// A record as a function sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaRecord {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: i32,
    /// The place in the partition.
    pub offset: i64,
    /// Milliseconds since 1970.
    pub timestamp: i64,
    /// `CREATE_TIME` or `LOG_APPEND_TIME`.
    pub timestamp_type: TimestampType,
    /// Any bytes.
    pub key: Option<Bytes>,
    /// Any bytes; `None` is a tombstone.
    pub value: Option<Bytes>,
    /// Names and values, in order.
    pub headers: Vec<(String, Option<Bytes>)>,
}

/// Who set a record's timestamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampType {
    /// The producer.
    CreateTime,
    /// The broker.
    LogAppendTime,
}

/// A function's answer: which records failed. Empty for none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BatchResponse {
    /// For each partition that had a failure, the first record that failed: it and what follows come again.
    pub batch_item_failures: Vec<BatchItemFailure>,
}

/// A record that failed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BatchItemFailure {
    /// `topic-partition`.
    pub partition: String,
    /// The record's offset.
    pub offset: i64,
}
