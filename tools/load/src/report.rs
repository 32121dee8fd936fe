//! The measurements of a load: as they are counted, and as they are printed.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use hdrhistogram::{CreationError, Histogram};
use serde::Serialize;

use crate::call::{Call, Kind};
use crate::plan::Plan;
use crate::stop::Ending;

/// The counts of one client, or of several together.
pub(crate) struct Tally {
    /// Nanoseconds.
    latencies: Vec<(Kind, Histogram<u32>)>,
    errors: BTreeMap<String, u64>,
    retries: BTreeMap<String, u64>,
    commands_lost: u64,
    first_error: Option<String>,
}

impl Tally {
    pub(crate) fn new(kinds: impl Iterator<Item = Kind>) -> Result<Self, CreationError> {
        let histogram = |kind| Ok((kind, Histogram::new(3)?));
        Ok(Self {
            latencies: kinds.map(histogram).collect::<Result<_, _>>()?,
            errors: BTreeMap::new(),
            retries: BTreeMap::new(),
            commands_lost: 0,
            first_error: None,
        })
    }

    pub(crate) fn answered(&mut self, kind: Kind, latency: Duration) {
        if let Some((_, latencies)) = self.latencies.iter_mut().find(|(of, _)| *of == kind) {
            // The histogram grows as needed, so that no time is too long for it.
            let _ = latencies.record(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
        }
    }

    /// Counts a failed call. `what` is the status, or the reason why there was none.
    pub(crate) fn failed(&mut self, call: Call, what: &str, detail: &str) {
        let name = call.kind().map_or("call", Kind::name);
        let error = format!("{name} {what}");
        self.first_error
            .get_or_insert_with(|| format!("{error}: {detail}").trim_end_matches([':', ' ']).to_owned());
        *self.errors.entry(error).or_default() += 1;
        if matches!(call, Call::Create | Call::Process) {
            self.commands_lost += 1;
        }
    }

    pub(crate) fn repeated(&mut self, why: &str) {
        match self.retries.get_mut(why) {
            Some(count) => *count += 1,
            None => *self.retries.entry(why.to_owned()).or_default() += 1,
        }
    }

    pub(crate) fn add(&mut self, other: Self) -> Result<(), hdrhistogram::AdditionError> {
        for ((_, mine), (_, others)) in self.latencies.iter_mut().zip(&other.latencies) {
            mine.add(others)?;
        }
        for (mine, others) in [(&mut self.errors, other.errors), (&mut self.retries, other.retries)] {
            others.into_iter().for_each(|(what, count)| *mine.entry(what).or_default() += count);
        }
        self.commands_lost += other.commands_lost;
        self.first_error = self.first_error.take().or(other.first_error);
        Ok(())
    }
}

/// The result of a load.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// How it ended.
    pub ended: Ending,
    /// The prefix of the orders' ids; `-0`, `-1`, … follow.
    pub prefix: String,
    /// How many clients called.
    pub clients: u32,
    /// How many orders were asked for.
    pub orders: u64,
    /// The calls a second that were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    /// How long it took.
    pub seconds: f64,
    /// Calls that were answered with success, without the reads of `queryable`.
    pub answered: u64,
    /// The number of such calls a second.
    pub per_second: f64,
    /// By kind of call, as far as it was made: `create`, `process`, `get`. The kind `queryable` is the time from sending a
    /// command until a plain GET shows it.
    pub calls: BTreeMap<&'static str, Series>,
    /// Calls that failed for good, by call and status.
    pub errors: BTreeMap<String, u64>,
    /// Tries that were repeated, by the reason.
    pub retries: BTreeMap<String, u64>,
    /// Commands that were sent and finally not acknowledged.
    pub not_acknowledged: u64,
    /// One of the errors, whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_error: Option<String>,
}

/// The measurements of one kind.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Series {
    /// How many.
    pub count: u64,
    /// How many a second, over the whole load.
    pub per_second: f64,
    /// In milliseconds.
    pub latency_ms: Latency,
}

/// A distribution of latencies, in milliseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Latency {
    /// Half of them are no longer than this.
    pub p50: f64,
    /// 90 % are no longer than this.
    pub p90: f64,
    /// 99 % are no longer than this.
    pub p99: f64,
    /// 99.9 % are no longer than this.
    pub p999: f64,
    /// The longest.
    pub max: f64,
}

impl Report {
    pub(crate) fn new(plan: &Plan, ended: Ending, took: Duration, tally: Tally) -> Self {
        let seconds = took.as_secs_f64();
        let made = tally.latencies.iter().filter(|(_, latencies)| !latencies.is_empty());
        let calls: BTreeMap<_, _> =
            made.map(|(kind, latencies)| (kind.name(), Series::new(latencies, seconds))).collect();
        let answered =
            calls.iter().filter(|(name, _)| **name != Kind::Queryable.name()).map(|(_, s)| s.count).sum();
        Self {
            ended,
            prefix: plan.prefix.clone(),
            clients: plan.clients,
            orders: plan.orders,
            rate: plan.calls_per_second,
            seconds,
            answered,
            per_second: answered as f64 / seconds,
            calls,
            errors: tally.errors,
            retries: tally.retries,
            not_acknowledged: tally.commands_lost,
            first_error: tally.first_error,
        }
    }
}

impl Series {
    fn new(latencies: &Histogram<u32>, seconds: f64) -> Self {
        let ms = |quantile| latencies.value_at_quantile(quantile) as f64 / 1e6;
        Self {
            count: latencies.len(),
            per_second: latencies.len() as f64 / seconds,
            latency_ms: Latency {
                p50: ms(0.5),
                p90: ms(0.9),
                p99: ms(0.99),
                p999: ms(0.999),
                max: latencies.max() as f64 / 1e6,
            },
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} answered in {:.2} s by {} clients: {:.0} a second (orders {}-0 to {}-{})",
            self.answered,
            self.seconds,
            self.clients,
            self.per_second,
            self.prefix,
            self.prefix,
            self.orders.saturating_sub(1),
        )?;
        let [call, count, rate] = ["", "count", "a second"];
        let [p50, p90, p99, p999, max] = ["p50 ms", "p90 ms", "p99 ms", "p99.9 ms", "max ms"];
        write!(f, "{call:10}{count:>10}{rate:>10}{p50:>10}{p90:>10}{p99:>10}{p999:>10}{max:>10}")?;
        for (name, Series { count, per_second, latency_ms: l }) in &self.calls {
            write!(
                f,
                "\n{name:10}{count:>10}{per_second:>10.0}{:>10.3}{:>10.3}{:>10.3}{:>10.3}{:>10.3}",
                l.p50, l.p90, l.p99, l.p999, l.max
            )?;
        }
        for (title, counts) in [("failed", &self.errors), ("repeated", &self.retries)] {
            for (what, count) in counts {
                write!(f, "\n{title}: {what} × {count}")?;
            }
        }
        if let Some(error) = &self.first_error {
            write!(f, "\none of the failures: {error}")?;
        }
        match self.ended {
            Ending::Done => Ok(()),
            Ending::Interrupted => write!(f, "\ninterrupted before the end"),
            Ending::ServerGone => write!(f, "\nended early: the server was gone"),
        }
    }
}
