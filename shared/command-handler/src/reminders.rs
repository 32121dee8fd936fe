//! The relay of reminders: it publishes events again whose reminders are due. The marks of commits set and end reminders:
//! `marks.rs`.
//!
//! If the channel loses an event that awaits an outcome, its receiver never learns that it must bring the outcome about. The
//! reminder publishes the event again, under the version that it has. Receivers that know that version ignore it, so a reminder
//! never breaks the order.

use std::time::{Duration, Instant};

use clap::Args;
use event_channel::Header;
use event_sourcing::{Version, wire};
use event_store::{Commit, CommitId, EventStore, Load, Reminder, Reminders, StoreError};
use futures_util::{StreamExt, stream};
use runtime::settings::seconds;
use runtime::{KillPoint, kill_point};
use serde::Serialize;
use tokio::sync::watch;

use crate::publisher::Publisher;
use crate::relay::MARGIN;

/// The most reminders that one look takes, and the number that are in hand at the same time.
const A_LOOK: usize = 500;
const SIDE_BY_SIDE: usize = 16;

/// The interval of looks for due reminders.
const INTERVAL: Duration = Duration::from_secs(5);

/// The setting of programs that send reminders or set streams aside.
#[derive(Args, Clone, Debug)]
pub struct ReminderSettings {
    /// Seconds after which an order without an outcome gets a reminder: its event is published again. The time doubles with each
    /// reminder
    #[arg(long, env = "REMINDER_AFTER", value_name = "S", default_value = "900", value_parser = delay)]
    pub reminder_after: Duration,
}

impl ReminderSettings {
    /// The reminders of a store.
    #[must_use]
    pub const fn of(&self, store: EventStore) -> Reminders {
        Reminders::new(store, self.reminder_after)
    }
}

/// Parses a delay of at least one second. A delay of zero would publish every event again that is still on its way.
fn delay(text: &str) -> Result<Duration, String> {
    let delay = seconds(text)?;
    if delay < Duration::from_secs(1) {
        return Err(format!("{text:?} is not a number of seconds from 1 to 86400"));
    }
    Ok(delay)
}

/// Publishes the events whose reminders are due.
#[derive(Clone)]
pub struct ReminderRelay {
    reminders: Reminders,
    publisher: Publisher,
}

/// The result of one look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ReminderReport {
    /// Events that were published again.
    pub sent: usize,
    /// Reminders that ended because their streams had moved on.
    pub ended: usize,
    /// Reminders that could not be sent. They come again.
    pub failed: usize,
    /// `true` if there were as many reminders as a look takes, so there may be more.
    #[serde(skip)]
    pub more: bool,
}

impl ReminderReport {
    /// Returns whether there may be more and this look made progress.
    #[must_use]
    pub const fn may_go_on(&self) -> bool {
        self.more && self.sent + self.ended > 0
    }
}

/// The result of one reminder.
enum SendResult {
    Sent,
    /// Another relay has claimed it, or the stream has moved on.
    Taken,
    Failed,
}

impl ReminderRelay {
    /// Makes a relay of these reminders onto this publisher's channel. Any number may run: one relay claims each reminder.
    #[must_use]
    pub const fn new(reminders: Reminders, publisher: Publisher) -> Self {
        Self { reminders, publisher }
    }

    /// The reminders.
    #[must_use]
    pub const fn reminders(&self) -> &Reminders {
        &self.reminders
    }

    /// Sends the reminders that are due, until the deadline is near.
    ///
    /// # Errors
    /// When the event store is not available.
    pub async fn send_until(&self, deadline: Instant) -> Result<(), StoreError> {
        while deadline.saturating_duration_since(Instant::now()) > MARGIN {
            if !self.send_due().await?.may_go_on() {
                break;
            }
        }
        Ok(())
    }

    /// Sends up to `A_LOOK` reminders that are due, and ends those whose streams have moved on.
    ///
    /// # Errors
    /// When the event store is not available.
    pub async fn send_due(&self) -> Result<ReminderReport, StoreError> {
        let due = self.reminders.due(A_LOOK).await?;
        let mut reminded = ReminderReport { more: due.len() == A_LOOK, ..ReminderReport::default() };
        let (mut ended, mut waiting) = (Vec::new(), Vec::new());
        let looked = stream::iter(due).map(|reminder| async {
            let commits = self.load(&reminder).await;
            (reminder, commits)
        });
        let mut looked = looked.buffer_unordered(SIDE_BY_SIDE);
        while let Some((reminder, commits)) = looked.next().await {
            match commits.as_deref() {
                Ok([commit]) => waiting.push((reminder, commit.clone())),
                Ok(_) => ended.push(reminder.commit),
                Err(error) => {
                    tracing::error!(stream = %reminder.commit.stream, %error, "a stream can't be reminded of");
                    reminded.failed += 1;
                    // The claim hides it for a while, which makes room for others.
                    let _ = self.reminders.claim(&reminder).await;
                }
            }
        }
        drop(looked);
        reminded.ended = ended.len();
        self.reminders.end(ended).await?;
        let sendings = stream::iter(waiting).map(|(reminder, commit)| self.send(reminder, commit));
        let mut sendings = sendings.buffer_unordered(SIDE_BY_SIDE);
        while let Some(sending) = sendings.next().await {
            match sending {
                SendResult::Sent => reminded.sent += 1,
                SendResult::Taken => {}
                SendResult::Failed => reminded.failed += 1,
            }
        }
        Ok(reminded)
    }

    /// Loads the reminder's commit and those behind it.
    async fn load(&self, reminder: &Reminder) -> Result<Vec<Commit>, StoreError> {
        let CommitId { stream, version } = &reminder.commit;
        let after = Version::new(version.get().saturating_sub(1));
        let load = Load::after(stream.clone(), after);
        Ok(self.reminders.store().load(load).await?.commits)
    }

    async fn send(&self, reminder: Reminder, commit: Commit) -> SendResult {
        match self.try_to_send(&reminder, &commit).await {
            Ok(sending) => sending,
            Err(error) => {
                tracing::warn!(stream = %commit.stream, error, "a reminder was not sent; it comes again");
                SendResult::Failed
            }
        }
    }

    async fn try_to_send(&self, reminder: &Reminder, commit: &Commit) -> Result<SendResult, String> {
        let (Some(event), version) = (commit.events.last(), commit.last_version()) else {
            return Ok(SendResult::Taken);
        };
        let claimed = self.reminders.claim(reminder).await.map_err(|error| error.to_string())?;
        let Some(claimed) = claimed else { return Ok(SendResult::Taken) };
        kill_point(KillPoint::ReminderAfterClaim);
        let mut record = self.publisher.record(commit, version, event);
        let number = (claimed.sent + 1).to_string();
        record.headers.push(Header { name: wire::REMINDER.into(), value: Some(number.into()) });
        self.publisher.channel().publish(vec![record]).await.map_err(|error| error.to_string())?;
        kill_point(KillPoint::ReminderAfterPublish);
        self.reminders.sent(&claimed).await.map_err(|error| error.to_string())?;
        kill_point(KillPoint::ReminderAfterNext);
        tracing::info!(stream = %commit.stream, %version, number = claimed.sent + 1, "a stream was reminded of");
        metrics::counter!("reminders_sent_total").increment(1);
        Ok(SendResult::Sent)
    }

    /// Sends due reminders every few seconds, until told to stop.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        loop {
            tokio::select! {
                () = self.send_all() => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
            tokio::select! {
                () = tokio::time::sleep(INTERVAL) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }

    /// Sends while a look makes progress and there may be more.
    async fn send_all(&self) {
        loop {
            match self.send_due().await {
                Ok(reminded) if reminded.may_go_on() => {}
                Ok(_) => return,
                Err(error) => return tracing::warn!(%error, "the event store can't be asked for reminders"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_is_a_second_at_least() {
        assert_eq!(delay("1"), Ok(Duration::from_secs(1)));
        for text in ["0", "0.9", "-1", "86401", "soon"] {
            assert!(delay(text).unwrap_err().contains("from"), "{text}");
        }
    }
}
