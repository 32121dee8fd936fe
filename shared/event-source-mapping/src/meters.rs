//! The metrics of a mapping.

use std::time::Duration;

use metrics::{Counter, Histogram, counter, histogram};

use crate::discard::DiscardReason;
use crate::invocation::Ending;

/// Handles to a mapping's metrics, looked up once.
pub(crate) struct Meters {
    function: String,
    succeeded: Counter,
    partly_failed: Counter,
    failed: Counter,
    not_reached: Counter,
    records: Counter,
    passed_over: Counter,
    retries: Counter,
    batch_size: Histogram,
    seconds: Histogram,
}

impl Meters {
    pub(crate) fn new(function: &str) -> Self {
        let name = || function.to_owned();
        let invocations = |ending: Ending| counter!("event_source_mapping_invocations_total", "function" => name(), "result" => ending.name());
        Self {
            function: name(),
            succeeded: invocations(Ending::Succeeded),
            partly_failed: invocations(Ending::PartlyFailed),
            failed: invocations(Ending::Failed),
            not_reached: invocations(Ending::NotReached),
            records: counter!("event_source_mapping_records_total", "function" => name()),
            passed_over: counter!("event_source_mapping_filtered_total", "function" => name()),
            retries: counter!("event_source_mapping_retries_total", "function" => name()),
            batch_size: histogram!("event_source_mapping_batch_size", "function" => name()),
            seconds: histogram!("event_source_mapping_invocation_seconds", "function" => name()),
        }
    }

    pub(crate) fn invoked(&self, records: usize, took: Duration, ending: Ending) {
        match ending {
            Ending::Succeeded => self.succeeded.increment(1),
            Ending::PartlyFailed => self.partly_failed.increment(1),
            Ending::Failed => self.failed.increment(1),
            Ending::NotReached => self.not_reached.increment(1),
        }
        self.records.increment(records as u64);
        self.batch_size.record(records as f64);
        self.seconds.record(took);
    }

    /// Counts records that the filter did not let through.
    pub(crate) fn passed_over(&self, records: usize) {
        self.passed_over.increment(records as u64);
    }

    /// Counts that a partition's records come again.
    pub(crate) fn retried(&self) {
        self.retries.increment(1);
    }

    pub(crate) fn discarded(&self, records: usize, reason: DiscardReason) {
        let function = self.function.clone();
        counter!("event_source_mapping_discarded_total", "function" => function, "reason" => reason.name())
            .increment(records as u64);
    }
}
