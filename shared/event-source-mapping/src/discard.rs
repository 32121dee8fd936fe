//! Records that are given up: the reasons, and what is done with the records.

use std::fmt;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use tracing::warn;

use crate::event::KafkaRecord;

/// The handling of records that are given up. Their offsets are committed only after it has succeeded.
#[derive(Clone, Default)]
pub enum OnFailure {
    /// The log names them, and they are dropped.
    #[default]
    Log,
    /// They are handed over. An error says why they could not be taken, and makes the mapping try again later.
    HandOver(DeadLetterHandler),
}

/// A closure that takes records that were given up.
pub type DeadLetterHandler = Arc<dyn Fn(DeadLetter) -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

impl OnFailure {
    /// Hands records that are given up to a closure.
    pub fn hand_over<F, Fut>(take: F) -> Self
    where
        F: Fn(DeadLetter) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), String>> + Send + 'static,
    {
        Self::HandOver(Arc::new(move |discarded| Box::pin(take(discarded))))
    }

    pub(crate) async fn take(&self, discarded: DeadLetter) -> Result<(), String> {
        match self {
            Self::Log => {
                discarded.log();
                Ok(())
            }
            Self::HandOver(take) => take(discarded).await,
        }
    }
}

impl fmt::Debug for OnFailure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Log => "Log",
            Self::HandOver(_) => "HandOver",
        })
    }
}

/// Records that are given up: all of one partition, in order.
#[derive(Clone, Debug, PartialEq)]
pub struct DeadLetter {
    /// The function that did not take them.
    pub function: String,
    /// The records.
    pub records: Vec<KafkaRecord>,
    /// The reason.
    pub reason: DiscardReason,
    /// The number of times that the function failed with them.
    pub attempts: u32,
    /// The last error of the function or the decoder; empty for records that are too old.
    pub error: String,
}

impl DeadLetter {
    fn log(&self) {
        warn!(
            function = self.function,
            records = self.records.len(),
            partition = self.records.first().map(|record| record.partition),
            offset = self.records.first().map(|record| record.offset),
            reason = self.reason.name(),
            error = self.error,
            "records are given up"
        );
    }
}

/// The reason why records are given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiscardReason {
    /// The function failed with them as often as the mapping allows.
    RetriesExhausted,
    /// They are older than the mapping allows.
    TooOld,
    /// The schema registry does not have their schema.
    SchemaNotFound,
    /// They are not what their schema says.
    Undecodable,
}

impl DiscardReason {
    /// The name in logs and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::RetriesExhausted => "retries_exhausted",
            Self::TooOld => "too_old",
            Self::SchemaNotFound => "schema_not_found",
            Self::Undecodable => "deserialization_error",
        }
    }
}
