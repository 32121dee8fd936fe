//! Passes Kafka records to Lambda invocations, by the rules of Lambda's event source mapping. The crate knows nothing of orders,
//! and nothing of where its records come from. A [`Source`] gives them, a [`Target`] takes them, and [`run`] is between the two.
//!
//! Pure modules decide. `partition` knows the records that wait, are in flight and are done. `batch` chooses the records that go
//! together. `run` alone has tasks and clocks.
//!
//! Where it differs from Lambda, it loses less. Partitions of a batch that failed as a whole are retried apart, so that one does
//! not give up the others' records. After a partial failure, only the record that the function named is given up.

mod batch;
#[cfg(feature = "channel")]
mod channel;
mod decode;
mod discard;
pub mod event;
pub mod filter;
mod in_process;
mod invocation;
mod mapping;
pub mod message;
mod meters;
mod partition;
mod run;
mod trigger;

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use event::{BatchResponse, KafkaEvent, KafkaRecord};
pub use runtime::Backoff;
use thiserror::Error;

#[cfg(feature = "channel")]
pub use crate::channel::ChannelSource;
pub use crate::decode::{DecodeError, DecodeOutcome, Decoder, RecordFormat};
pub use crate::discard::{DeadLetter, DeadLetterHandler, DiscardReason, OnFailure};
pub use crate::filter::{FilterCriteria, FilterError};
pub use crate::in_process::InProcessTarget;
pub use crate::invocation::{Ending, Invocation, Observer, OffsetRange};
pub use crate::mapping::{EventSource, InvalidMapping, Mapping, PAYLOAD_LIMIT};
pub use crate::run::run;
pub use crate::trigger::{BatchFunction, Trigger};

/// A topic and one of its partitions.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: i32,
}

/// The source of records: a member of a consumer group.
pub trait Source: Send {
    /// Waits for records and takes up to `limit`, in order within each partition, from partitions that are not paused. Cancel
    /// safe.
    fn poll(&mut self, limit: usize) -> impl Future<Output = Result<SourcePoll, SourceError>> + Send;

    /// Commits that everything of a partition before this offset is done.
    fn commit(
        &mut self,
        partition: &TopicPartition,
        next_offset: i64,
    ) -> impl Future<Output = Result<(), SourceError>> + Send;

    /// Takes no more from a partition until it is resumed.
    fn pause(&mut self, partition: &TopicPartition);

    /// Takes from a partition again.
    fn resume(&mut self, partition: &TopicPartition);

    /// Returns whether records may be left where they are for as long as nothing more can be invoked. Then they come together. It
    /// is `false` where a member that does not poll is taken for dead.
    fn can_be_left(&self) -> bool {
        false
    }
}

/// The result of a poll.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SourcePoll {
    /// Partitions that another process has from now on. Records of them that were polled before are no longer invoked or committed.
    /// The revocations come before the records. A partition that comes back is not paused.
    pub revoked: Vec<TopicPartition>,
    /// The records, in order within each partition.
    pub records: Vec<KafkaRecord>,
}

impl From<Vec<KafkaRecord>> for SourcePoll {
    fn from(records: Vec<KafkaRecord>) -> Self {
        Self { revoked: Vec::new(), records }
    }
}

/// The source can't be read or committed to for now.
#[derive(Clone, Debug, Error)]
#[error("the source is not available: {0}")]
pub struct SourceError(pub String);

/// The target of invocations: a function, in this process or behind the Invoke API.
pub trait Target: Clone + Send + Sync + 'static {
    /// Invokes the function. It has until `deadline`.
    fn invoke(
        &self,
        event: KafkaEvent,
        deadline: Instant,
    ) -> impl Future<Output = Result<BatchResponse, InvokeError>> + Send;
}

/// An invocation failed as a whole.
#[derive(Clone, Debug, Error)]
pub enum InvokeError {
    /// The function ran and failed. This counts against the mapping's retries.
    #[error("the function failed: {0}")]
    Function(String),
    /// The function could not be reached, or was throttled. It is tried again without end.
    #[error("the function could not be invoked: {0}")]
    Transport(String),
}

/// A batch window of zero, for mappings in the dispatcher: a batch does not wait for more records.
pub const NO_WINDOW: Duration = Duration::ZERO;
