//! The relay on a schedule: publishes the commits that are still unpublished, reminds of orders that wait too long for an
//! outcome, and ends.

use std::time::{Duration, Instant};

use command_handler::{Publisher, Relay, ReminderRelay, SweepReport};

/// The time that is kept free at the end of an invocation, so that the last marks are written and the answer is sent.
const MARGIN: Duration = Duration::from_secs(2);

/// Sweeps until nothing is left, the channel refuses, or the deadline is near; then waits for the marks.
///
/// # Errors
/// When the event store is not available.
pub async fn relay(
    relay: &Relay,
    publisher: &Publisher,
    deadline: Instant,
) -> Result<SweepReport, event_store::StoreError> {
    let mut total = SweepReport::default();
    while deadline.saturating_duration_since(Instant::now()) > MARGIN {
        let swept = relay.sweep().await?;
        total.streams += swept.streams;
        total.commits += swept.commits;
        total.failed += swept.failed;
        if swept.commits == 0 || !swept.more {
            break;
        }
    }
    let rest = deadline.saturating_duration_since(Instant::now());
    // The next sweep sends again the commits that are not marked in time.
    let _ = tokio::time::timeout(rest, publisher.idle()).await;
    Ok(total)
}

/// Sends the reminders that are due, until the deadline is near.
///
/// # Errors
/// When the event store is not available.
pub async fn remind(relay: &ReminderRelay, deadline: Instant) -> Result<(), event_store::StoreError> {
    while deadline.saturating_duration_since(Instant::now()) > MARGIN {
        if !relay.send_due().await?.may_go_on() {
            break;
        }
    }
    Ok(())
}
