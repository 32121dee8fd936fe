//! Decodes keys and values before filters and the function see them: not at all, or as a schema registry says.
//!
//! The mapping gets a closure that decodes, so that the crate without features knows no registry. The closure never waits. If it
//! must know something first, it gives the record back with a future. That record and those behind it in its partition stand aside
//! until the future is ready. The other partitions go on.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;

use crate::discard::DiscardReason;
use crate::event::KafkaRecord;

/// The form of decoded keys and values in events: `EventRecordFormat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordFormat {
    /// JSON, whatever they are in Kafka.
    Json,
    /// Their form in Kafka, without the header that names the schema.
    Source,
}

/// Decodes records.
#[derive(Clone, Default)]
pub enum Decoder {
    /// Keys and values stay as they are in Kafka.
    #[default]
    None,
    /// A closure. It is called on the mapping's own task, so it must be quick.
    Closure(Arc<dyn Fn(KafkaRecord) -> DecodeOutcome + Send + Sync>),
}

/// The result of decoding a record.
pub enum DecodeOutcome {
    /// The record as the function gets it.
    Record {
        /// The record.
        record: KafkaRecord,
        /// The value as filters see it, if that is not the record's.
        json: Option<Bytes>,
    },
    /// The record, as it is in Kafka, is given up. Until then it keeps its place in its partition, so that offsets are committed in
    /// order.
    Undecodable {
        /// The record.
        record: KafkaRecord,
        /// The reason.
        undecodable: DecodeError,
    },
    /// Something must be known first. The record, as it is in Kafka, is decoded again when the future is ready. Those behind it in
    /// its partition wait until then.
    Later {
        /// The record.
        record: KafkaRecord,
        /// A future that finds out what is missing.
        lookup: BoxFuture<'static, ()>,
    },
}

/// The reason why a record is not passed to the function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodeError {
    /// The kind of the fault.
    pub reason: DiscardReason,
    /// A description of the fault.
    pub error: String,
}

impl Decoder {
    /// Decodes by a closure.
    pub fn new(decode: impl Fn(KafkaRecord) -> DecodeOutcome + Send + Sync + 'static) -> Self {
        Self::Closure(Arc::new(decode))
    }

    pub(crate) fn decode(&self, record: KafkaRecord) -> DecodeOutcome {
        match self {
            Self::None => DecodeOutcome::Record { record, json: None },
            Self::Closure(decode) => decode(record),
        }
    }

    pub(crate) fn decodes(&self) -> bool {
        matches!(self, Self::Closure(_))
    }
}

impl fmt::Debug for Decoder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::None => "None",
            Self::Closure(_) => "Closure",
        })
    }
}
