//! An event source mapping: its function, its batches, and the handling of failures.

use std::time::Duration;

use runtime::Backoff;
use thiserror::Error;

use crate::decode::Decoder;
use crate::discard::OnFailure;
use crate::filter::FilterCriteria;
use crate::invocation::Observer;

/// An event source mapping, with the properties that it has in a template, and some that are fixed in Lambda.
#[derive(Clone, Debug)]
pub struct Mapping {
    /// The function's name, in logs and metrics.
    pub function: String,
    /// The consumer group that its source joins: `ConsumerGroupId`.
    pub group: String,
    /// The time for which brokers gather records before they hand over a few. Lambda has no such setting.
    pub gather: Duration,
    /// The source that events name.
    pub event_source: EventSource,
    /// The most records in one invocation: `BatchSize`, 1 to 10,000.
    pub batch_size: usize,
    /// The time for which a batch may gather from its first record on: `MaximumBatchingWindowInSeconds`. With zero a function is
    /// invoked with what is there, and batches grow with the load alone.
    pub window: Duration,
    /// The decoder of keys and values, before filters and the function see them: `SchemaRegistryConfig`.
    pub decoder: Decoder,
    /// The filter of records that are passed to the function: `FilterCriteria`.
    pub filter: FilterCriteria,
    /// The most bytes in one invocation, as JSON. A single record that is larger goes alone.
    pub payload_limit: usize,
    /// `true` if the function's answer is looked at: `FunctionResponseTypes: [ReportBatchItemFailures]`.
    pub report_batch_item_failures: bool,
    /// `true` if a batch that failed as a whole is halved until the record at fault is alone: `BisectBatchOnFunctionError`. Halving
    /// does not count as a retry.
    pub bisect_on_function_error: bool,
    /// The most retries of records that failed: `MaximumRetryAttempts`; `None` is without end.
    pub maximum_retry_attempts: Option<u32>,
    /// The greatest age, by its own timestamp, of a record that is passed on: `MaximumRecordAgeInSeconds`; `None` is any age.
    pub maximum_record_age: Option<Duration>,
    /// The most invocations that run at once. A partition is in one of them at most.
    pub concurrency: usize,
    /// `true` if only a full batch is invoked while others run. This is for a function that costs as much for one record as for
    /// many.
    pub full_beside_others: bool,
    /// The time after which an invocation counts as failed.
    pub invocation_timeout: Duration,
    /// The waits of a partition after failures.
    pub backoff: Backoff,
    /// The handling of records that are given up.
    pub on_failure: OnFailure,
    /// The time for which the shutdown waits for running invocations.
    pub drain: Duration,
    /// The receiver of a report of every invocation.
    pub observer: Observer,
}

/// A mapping can't be run as it is set.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{setting} of the mapping to {function} is {value}; it must be {allowed}")]
pub struct InvalidMapping {
    /// The function.
    pub function: String,
    /// The setting's name.
    pub setting: &'static str,
    /// The setting's value.
    pub value: usize,
    /// The values that are allowed.
    pub allowed: &'static str,
}

/// The waits of a partition, if the mapping does not say others.
const BACKOFF: Backoff = Backoff { first: Duration::from_millis(100), longest: Duration::from_secs(30) };

/// Lambda's limit for a synchronous invocation: 6 MB.
pub const PAYLOAD_LIMIT: usize = 6 * 1024 * 1024;

impl Mapping {
    /// A mapping with Lambda's defaults: batches of 100, a window of 500 ms, retries without end; one invocation at a time. Its group has
    /// the function's name.
    #[must_use]
    pub fn new(function: impl Into<String>) -> Self {
        let function = function.into();
        Self {
            group: function.clone(),
            function,
            gather: Duration::ZERO,
            event_source: EventSource::default(),
            batch_size: 100,
            window: Duration::from_millis(500),
            decoder: Decoder::default(),
            filter: FilterCriteria::default(),
            payload_limit: PAYLOAD_LIMIT,
            report_batch_item_failures: false,
            bisect_on_function_error: false,
            maximum_retry_attempts: None,
            maximum_record_age: None,
            concurrency: 1,
            full_beside_others: false,
            invocation_timeout: Duration::from_secs(30),
            backoff: BACKOFF,
            on_failure: OnFailure::Log,
            drain: Duration::from_secs(8),
            observer: Observer::Log,
        }
    }

    /// Checks the settings that would keep a mapping from ever invoking anything.
    pub(crate) fn check(&self) -> Result<(), InvalidMapping> {
        let refuse = |setting, value, allowed| {
            Err(InvalidMapping { function: self.function.clone(), setting, value, allowed })
        };
        if !(1..=10_000).contains(&self.batch_size) {
            return refuse("the batch size", self.batch_size, "1 to 10,000");
        }
        if self.concurrency == 0 {
            return refuse("the concurrency", self.concurrency, "1 or more");
        }
        Ok(())
    }
}

/// The source that an event names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventSource {
    /// `aws:kafka` (Amazon MSK) or `SelfManagedKafka`.
    pub name: String,
    /// The cluster, for Amazon MSK.
    pub arn: Option<String>,
    /// The brokers, comma separated.
    pub bootstrap_servers: Option<String>,
}

impl Default for EventSource {
    fn default() -> Self {
        Self { name: "SelfManagedKafka".to_owned(), arn: None, bootstrap_servers: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapping_that_could_invoke_nothing_is_refused() {
        assert_eq!(Mapping::new("f").check(), Ok(()));
        for mapping in [
            Mapping { batch_size: 0, ..Mapping::new("f") },
            Mapping { batch_size: 10_001, ..Mapping::new("f") },
            Mapping { concurrency: 0, ..Mapping::new("f") },
        ] {
            assert!(mapping.check().unwrap_err().to_string().contains("of the mapping to f is"));
        }
    }
}
