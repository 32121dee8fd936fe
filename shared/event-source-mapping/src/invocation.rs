//! The report of an invocation that has ended.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tracing::{debug, warn};

/// An invocation that has ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Invocation {
    /// The function.
    pub function: String,
    /// The records that it was given, by partition.
    pub partitions: Vec<OffsetRange>,
    /// The number of these records.
    pub records: usize,
    /// The time from the invocation to its answer.
    pub took: Duration,
    /// How it ended.
    pub ending: Ending,
    /// After a partial failure, the first record that failed of each partition that had one: `topic-partition` and offset.
    pub failed: Vec<(String, i64)>,
    /// After a failure as a whole, what is known of it.
    pub error: Option<String>,
}

/// Records of one partition, from the first to the last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OffsetRange {
    /// `topic-partition`.
    pub partition: String,
    /// The first record's offset.
    pub first: i64,
    /// The last record's offset.
    pub last: i64,
    /// The number of records. Filters and the brokers' own marks leave gaps in the offsets.
    pub records: usize,
}

/// Writes `topic-partition@first..=last`.
impl fmt::Display for OffsetRange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { partition, first, last, .. } = self;
        write!(formatter, "{partition}@{first}..={last}")
    }
}

/// How an invocation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// The function took every record.
    Succeeded,
    /// It named records that it did not take.
    PartlyFailed,
    /// It failed with all of them.
    Failed,
    /// It was not reached, or throttled.
    NotReached,
}

impl Ending {
    /// The name in logs and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::PartlyFailed => "partly_failed",
            Self::Failed => "failed",
            Self::NotReached => "not_reached",
        }
    }
}

/// The receiver of a report of every invocation that has ended.
#[derive(Clone, Default)]
pub enum Observer {
    /// The log: failures as warnings, all else for debugging.
    #[default]
    Log,
    /// A closure, instead of the log. It is called on the mapping's own task, so it must be quick.
    Closure(Arc<dyn Fn(Invocation) + Send + Sync>),
}

impl Observer {
    /// Makes an observer that calls this closure.
    pub fn new(observe: impl Fn(Invocation) + Send + Sync + 'static) -> Self {
        Self::Closure(Arc::new(observe))
    }

    pub(crate) fn tell(&self, invocation: Invocation) {
        match self {
            Self::Closure(observe) => observe(invocation),
            Self::Log => log(&invocation),
        }
    }

    /// Returns whether the observer takes reports of invocations that ended well.
    pub(crate) fn wants_successes(&self) -> bool {
        matches!(self, Self::Closure(_)) || tracing::enabled!(tracing::Level::DEBUG)
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Log => "Log",
            Self::Closure(_) => "Closure",
        })
    }
}

fn log(invocation: &Invocation) {
    let Invocation { function, partitions, records, took, ending, error, .. } = invocation;
    if let Some(error) = error {
        warn!(function, records, error, "an invocation failed");
    }
    let offsets = || partitions.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    debug!(
        function,
        partitions = partitions.len(),
        offsets = offsets(),
        records,
        ms = took.as_secs_f64() * 1e3,
        result = ending.name(),
        "invoked"
    );
}
