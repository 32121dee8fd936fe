//! Kafka records to Lambda invocations, by the rules of Lambda's event source mapping. Knows nothing of orders, and
//! nothing of where its records come from: a [`Source`] gives them, a [`Target`] takes them, [`run`] is between the two.
//!
//! What is decided is in pure modules (`partition`: what waits, is in flight, is done with; `batch`: what goes together), and
//! `run` alone has tasks and clocks.
//!
//! Where it differs from Lambda, it loses less: partitions of a batch that failed as a whole are retried apart, so that one
//! does not give up the others' records; and of a partial failure only the record that the function named is given up.

mod batch;
#[cfg(feature = "channel")]
mod channel;
mod decode;
pub mod event;
pub mod filter;
mod in_process;
mod invocation;
mod mapping;
pub mod message;
mod meters;
mod partition;
mod run;

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use event::{BatchResponse, KafkaEvent, KafkaRecord};
use thiserror::Error;

#[cfg(feature = "channel")]
pub use crate::channel::ChannelSource;
pub use crate::decode::{Decoded, Decoder, RecordFormat, Undecodable};
pub use crate::filter::{FilterCriteria, FilterError};
pub use crate::in_process::InProcess;
pub use crate::invocation::{Ending, Invocation, Observer, Range};
pub use crate::mapping::{
    Backoff, Discarded, EventSource, HandOver, InvalidMapping, Mapping, OnFailure, PAYLOAD_LIMIT, Reason,
};
pub use crate::run::run;

/// A topic and one of its partitions.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: i32,
}

/// Where records come from: a member of a consumer group.
pub trait Source: Send {
    /// Waits for records and takes up to `limit`, in order within each partition, from partitions that are not paused. Cancel
    /// safe.
    fn poll(&mut self, limit: usize) -> impl Future<Output = Result<Polled, SourceError>> + Send;

    /// Everything of a partition before this offset is done with.
    fn commit(
        &mut self,
        partition: &TopicPartition,
        next_offset: i64,
    ) -> impl Future<Output = Result<(), SourceError>> + Send;

    /// Takes no more from a partition until it is resumed.
    fn pause(&mut self, partition: &TopicPartition);

    /// Takes from a partition again.
    fn resume(&mut self, partition: &TopicPartition);

    /// Whether records may be left where they are for as long as nothing more can be invoked: then they come together. Not where
    /// a member that does not poll is taken for dead.
    fn can_be_left(&self) -> bool {
        false
    }
}

/// What a poll found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Polled {
    /// Partitions that are another process's from now on: nothing of them that was polled before is invoked or committed.
    /// They come before the records. A partition that comes back is not paused.
    pub revoked: Vec<TopicPartition>,
    /// The records, in order within each partition.
    pub records: Vec<KafkaRecord>,
}

impl From<Vec<KafkaRecord>> for Polled {
    fn from(records: Vec<KafkaRecord>) -> Self {
        Self { revoked: Vec::new(), records }
    }
}

/// The source can't be read or committed to for now.
#[derive(Clone, Debug, Error)]
#[error("the source is not available: {0}")]
pub struct SourceError(pub String);

/// What is invoked: a function, in this process or behind the Invoke API.
pub trait Target: Clone + Send + Sync + 'static {
    /// Invokes the function, which is given until `deadline`.
    fn invoke(
        &self,
        event: KafkaEvent,
        deadline: Instant,
    ) -> impl Future<Output = Result<BatchResponse, InvokeError>> + Send;
}

/// An invocation failed as a whole.
#[derive(Clone, Debug, Error)]
pub enum InvokeError {
    /// The function ran and failed: it counts against the mapping's retries.
    #[error("the function failed: {0}")]
    Function(String),
    /// The function could not be reached, or was throttled: tried again without end.
    #[error("the function could not be invoked: {0}")]
    Transport(String),
}

/// How long a batch may gather when the mapping does not say: none is waited for in the dispatcher.
pub const NO_WINDOW: Duration = Duration::ZERO;
