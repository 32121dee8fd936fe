//! The metrics of a function for CloudWatch: lines of the log in the embedded metric format ("Specification: Embedded metric
//! format", Amazon CloudWatch User Guide). They are written before an invocation answers, because a function is frozen afterwards.
//!
//! Each name is a custom metric, which costs money. So only the names in the variable `METRICS` are reported. Labels make no
//! metrics of their own: the series of one name are added up. The crate `metrics_cloudwatch_embedded` is not used, because it
//! reports every series. It also reports gauges again and again that nobody has measured meanwhile. Histograms are not reported,
//! since Lambda measures durations itself.

use std::env;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};
use parking_lot::Mutex;
use serde_json::{Map, Value, json};

use crate::settings::{METRICS, METRICS_DIMENSION, METRICS_NAMESPACE, variable};

/// The metrics that this process counts and reports. Clones share them.
#[derive(Clone)]
pub(super) struct Metrics {
    application: &'static str,
    namespace: Arc<str>,
    series: Arc<[Series]>,
}

/// A metric that is reported.
struct Series {
    /// The name in the report: `APPLICATION_NAME`.
    reported: String,
    count: Arc<AtomicU64>,
    levels: Mutex<Vec<(Key, Arc<Level>)>>,
}

/// A gauge of one set of labels. It is reported only when it was measured, so that no old value passes for a new one.
#[derive(Default)]
struct Level {
    bits: AtomicU64,
    is_new: AtomicBool,
}

impl Metrics {
    /// Starts to count, if the environment names a namespace.
    pub(super) fn start(application: &'static str) -> Option<Self> {
        let setting = |name| env::var(variable(application, name)).ok();
        let metrics =
            Self::new(application, &setting(METRICS_NAMESPACE)?, &setting(METRICS).unwrap_or_default());
        // A second recorder in one process is refused, and the first goes on.
        metrics::set_global_recorder(metrics.clone()).ok()?;
        Some(metrics)
    }

    fn new(application: &'static str, namespace: &str, names: &str) -> Self {
        let names = names.split(',').map(str::trim).filter(|name| !name.is_empty());
        let series = names.map(|name| Series {
            reported: name.to_owned(),
            count: Arc::default(),
            levels: Mutex::default(),
        });
        Self { application, namespace: namespace.into(), series: series.collect() }
    }

    /// Writes the metrics that were counted or measured since the last time.
    pub(super) fn flush(&self) {
        if let Some(line) = self.line(SystemTime::now()) {
            // If the log is closed, this error can't be logged either.
            let _ = writeln!(io::stdout().lock(), "{line}");
        }
    }

    fn line(&self, now: SystemTime) -> Option<Value> {
        let news = self.series.iter().filter_map(|series| Some((series.reported.clone(), series.take()?)));
        let mut members: Map<String, Value> = news.collect();
        if members.is_empty() {
            return None;
        }
        let names: Vec<Value> = members.keys().map(|name| json!({ "Name": name })).collect();
        let since_1970 = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let directive =
            json!({ "Namespace": *self.namespace, "Dimensions": [[METRICS_DIMENSION]], "Metrics": names });
        members.insert(METRICS_DIMENSION.to_owned(), json!(self.application));
        members.insert(
            "_aws".to_owned(),
            json!({
                "Timestamp": u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX),
                "CloudWatchMetrics": [directive],
            }),
        );
        Some(Value::Object(members))
    }

    fn of(&self, key: &Key) -> Option<&Series> {
        let reported = [self.application, "_", key.name()].concat();
        self.series.iter().find(|series| series.reported == reported)
    }
}

impl Series {
    /// Takes the new value: the number of events that were counted, or the levels' sum.
    fn take(&self) -> Option<Value> {
        let count = self.count.swap(0, Ordering::Relaxed);
        if count > 0 {
            return Some(json!(count));
        }
        let levels = self.levels.lock();
        // Every level is read, so that every level begins anew.
        let is_new =
            levels.iter().fold(false, |any, (_, level)| level.is_new.swap(false, Ordering::AcqRel) || any);
        let levels = levels.iter().map(|(_, level)| f64::from_bits(level.bits.load(Ordering::Acquire)));
        is_new.then(|| Value::from(levels.sum::<f64>()))
    }

    fn level(&self, key: &Key) -> Arc<Level> {
        let mut levels = self.levels.lock();
        if let Some((_, level)) = levels.iter().find(|(known, _)| known == key) {
            return Arc::clone(level);
        }
        let level = Arc::<Level>::default();
        levels.push((key.clone(), Arc::clone(&level)));
        level
    }
}

impl Level {
    fn change(&self, change: impl Fn(f64) -> f64) {
        let changed = |bits| Some(change(f64::from_bits(bits)).to_bits());
        // The closure always gives a value, so the update can't fail.
        let _ = self.bits.fetch_update(Ordering::AcqRel, Ordering::Acquire, changed);
        self.is_new.store(true, Ordering::Release);
    }
}

impl GaugeFn for Level {
    fn increment(&self, value: f64) {
        self.change(|level| level + value);
    }

    fn decrement(&self, value: f64) {
        self.change(|level| level - value);
    }

    fn set(&self, value: f64) {
        self.change(|_| value);
    }
}

impl Recorder for Metrics {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        self.of(key).map_or_else(Counter::noop, |series| {
            Counter::from_arc(Arc::new(Count(Arc::clone(&series.count))))
        })
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        self.of(key).map_or_else(Gauge::noop, |series| Gauge::from_arc(series.level(key)))
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

/// A counter with any labels. All counters of one name add to the same number.
struct Count(Arc<AtomicU64>);

impl CounterFn for Count {
    fn increment(&self, value: u64) {
        self.0.fetch_add(value, Ordering::Relaxed);
    }

    /// No counter of ours is set like this. A counter that is kept elsewhere reports its total.
    fn absolute(&self, value: u64) {
        self.0.fetch_max(value, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn line_of(metrics: &Metrics) -> Option<Value> {
        metrics.line(UNIX_EPOCH + Duration::from_millis(1_700_000_000_123))
    }

    #[test]
    fn a_line_is_as_the_specification_has_it() {
        let metrics = Metrics::new("shop", "of-the-shop", "shop_events_total, shop_oldest_age");
        metrics::with_local_recorder(&metrics, || {
            metrics::counter!("events_total", "result" => "applied").increment(3);
            metrics::counter!("events_total", "result" => "held").increment(1);
            metrics::gauge!("oldest_age").set(1.5);
        });
        let expected = json!({
            "_aws": {
                "Timestamp": 1_700_000_000_123_u64,
                "CloudWatchMetrics": [{
                    "Namespace": "of-the-shop",
                    "Dimensions": [["service"]],
                    "Metrics": [{ "Name": "shop_events_total" }, { "Name": "shop_oldest_age" }],
                }],
            },
            "service": "shop",
            "shop_events_total": 4,
            "shop_oldest_age": 1.5,
        });
        assert_eq!(line_of(&metrics), Some(expected));
    }

    #[test]
    fn what_is_not_named_is_not_reported() {
        let metrics = Metrics::new("shop", "of-the-shop", "shop_events_total");
        metrics::with_local_recorder(&metrics, || {
            metrics::counter!("commands_total").increment(1);
            metrics::gauge!("lag").set(1.0);
            metrics::histogram!("events_total").record(1.0);
        });
        assert_eq!(line_of(&metrics), None);
    }

    #[test]
    fn each_invocation_reports_what_is_new_to_it() {
        let metrics = Metrics::new("shop", "of-the-shop", "shop_events_total,shop_held");
        let count = metrics::with_local_recorder(&metrics, || {
            metrics::gauge!("held", "reason" => "gap").set(2.0);
            metrics::gauge!("held", "reason" => "malformed").set(1.0);
            metrics::counter!("events_total")
        });
        count.increment(1);
        let first = line_of(&metrics).unwrap();
        assert_eq!((&first["shop_events_total"], &first["shop_held"]), (&json!(1), &json!(3.0)));
        assert_eq!(line_of(&metrics), None);
        count.increment(2);
        let third = line_of(&metrics).unwrap();
        assert_eq!((&third["shop_events_total"], third.get("shop_held")), (&json!(2), None));
        // A level that goes to zero is reported. The other levels of its name keep their values.
        metrics::with_local_recorder(&metrics, || metrics::gauge!("held", "reason" => "gap").set(0.0));
        assert_eq!(line_of(&metrics).unwrap()["shop_held"], json!(1.0));
    }
}
