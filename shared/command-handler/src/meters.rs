//! The metrics of commands. Each series is looked up once and kept, since the lookup by labels costs as much as a fold.

use std::collections::HashMap;
use std::time::Duration;

use event_store::{EventStore, ReminderCounts, Reminders, StoreError};
use jiff::Timestamp;
use metrics::{Counter, Histogram, Label};
use parking_lot::Mutex;

/// Counters by command and result, latencies by command.
#[derive(Default)]
pub(crate) struct Meters {
    commands: Mutex<HashMap<&'static str, Series>>,
}

/// The series of one command.
struct Series {
    results: HashMap<&'static str, Counter>,
    duration: Histogram,
}

impl Meters {
    pub(crate) fn count(&self, command: &'static str, result: &'static str, took: Duration) {
        let mut commands = self.commands.lock();
        let series = commands.entry(command).or_insert_with(|| Series {
            results: HashMap::new(),
            duration: metrics::histogram!("command_duration_seconds", "command" => command),
        });
        let counter = || metrics::counter!("commands_total", "command" => command, "result" => result);
        series.results.entry(result).or_insert_with(counter).increment(1);
        series.duration.record(took);
    }
}

/// Measures the backlog: the number of unpublished commits, and the age of the oldest in seconds. The series get these labels.
///
/// # Errors
/// When the event store is not available. The last figures stand then.
pub async fn measure_backlog(store: &EventStore, labels: &[Label]) -> Result<(), StoreError> {
    let backlog = store.backlog().await?;
    metrics::gauge!("unpublished_commits", labels.iter()).set(backlog.commits as f64);
    metrics::gauge!("unpublished_oldest_age", labels.iter()).set(backlog.age(Timestamp::now()).as_secs_f64());
    Ok(())
}

/// Measures the reminders: how many streams wait for an outcome, are set aside, or wait for too long. The
/// series get these labels.
///
/// # Errors
/// When the event store is not available. The last figures stand then.
pub async fn measure_reminders(reminders: &Reminders, labels: &[Label]) -> Result<(), StoreError> {
    let ReminderCounts { waiting, set_aside, overdue } = reminders.count().await?;
    metrics::gauge!("reminders_waiting", labels.iter()).set(waiting as f64);
    metrics::gauge!("reminders_set_aside", labels.iter()).set(set_aside as f64);
    metrics::gauge!("reminders_overdue", labels.iter()).set(overdue as f64);
    Ok(())
}
