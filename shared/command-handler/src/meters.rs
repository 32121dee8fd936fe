//! What is counted of commands. Each series is looked up once and kept, since the lookup by labels costs as much as a fold.

use std::sync::OnceLock;
use std::time::Duration;

use domain::Command;
use event_store::{EventStore, ReminderCounts, Reminders, StoreError};
use jiff::Timestamp;
use metrics::{Counter, Histogram};

use crate::handler::{CommandError, Outcome};

/// Counters by command and result, latencies by command.
#[derive(Default)]
pub(crate) struct Meters {
    results: [[OnceLock<Counter>; 8]; 5],
    durations: [OnceLock<Histogram>; 5],
}

/// A command without its data.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Create,
    Process,
    Complete,
    Fail,
    Cancel,
}

impl Kind {
    pub(crate) const fn of(command: &Command) -> Self {
        match command {
            Command::Create { .. } => Self::Create,
            Command::Process => Self::Process,
            Command::Complete => Self::Complete,
            Command::Fail { .. } => Self::Fail,
            Command::Cancel { .. } => Self::Cancel,
        }
    }

    const fn name(self) -> &'static str {
        ["create", "process", "complete", "fail", "cancel"][self as usize]
    }
}

impl Meters {
    pub(crate) fn count(&self, command: Kind, result: &Result<Outcome, CommandError>, took: Duration) {
        let (place, result) = result_of(result);
        let counter =
            || metrics::counter!("orders_commands_total", "command" => command.name(), "result" => result);
        self.results[command as usize][place].get_or_init(counter).increment(1);
        let histogram =
            || metrics::histogram!("orders_command_duration_seconds", "command" => command.name());
        self.durations[command as usize].get_or_init(histogram).record(took);
    }
}

/// Measures what waits to be published: how many commits, and for how many seconds the oldest.
///
/// # Errors
/// When the event store is not available; the last figures stand then.
pub async fn measure_backlog(store: &EventStore) -> Result<(), StoreError> {
    let backlog = store.backlog().await?;
    metrics::gauge!("orders_unpublished_commits").set(backlog.commits as f64);
    metrics::gauge!("orders_unpublished_oldest_age").set(backlog.age(Timestamp::now()).as_secs_f64());
    Ok(())
}

/// Measures which orders wait for their outcomes, and which for too long.
///
/// # Errors
/// When the event store is not available; the last figures stand then.
pub async fn measure_reminders(reminders: &Reminders) -> Result<(), StoreError> {
    let ReminderCounts { waiting, set_aside, overdue } = reminders.count().await?;
    metrics::gauge!("orders_reminders_waiting").set(waiting as f64);
    metrics::gauge!("orders_reminders_set_aside").set(set_aside as f64);
    metrics::gauge!("orders_reminders_overdue").set(overdue as f64);
    Ok(())
}

const fn result_of(result: &Result<Outcome, CommandError>) -> (usize, &'static str) {
    match result {
        Ok(Outcome { with_events: true, .. }) => (0, "done"),
        Ok(_) => (1, "already-true"),
        Err(CommandError::Rejected(_)) => (2, "rejected"),
        Err(CommandError::PreconditionFailed(_)) => (3, "precondition-failed"),
        Err(CommandError::KeyReused) => (4, "key-reused"),
        Err(CommandError::Contended) => (5, "contended"),
        Err(CommandError::Store(_)) => (6, "store-failed"),
        Err(CommandError::TooLarge(_)) => (7, "too-large"),
    }
}
