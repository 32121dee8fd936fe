//! Reminders: an event that asks for another is published again until its stream has moved on.
//!
//! The mark of a commit sets its reminder, by the event store's own clock. The mark of the stream's next commit ends it. In
//! between, a relay finds the reminder when it is due, claims it by compare-and-set, publishes the event and sets the next time.
//! The code works for any stream and any commit: the caller says which commits get a reminder.

use std::time::Duration;

use event_sourcing::Version;
use jiff::{SignedDuration, Timestamp};

use crate::{CommitId, EventStore, StoreError, on_store};

/// The number of times that an event is published again. Then its reminder is exhausted, and stays visible.
pub const REMINDERS: u32 = 20;

/// The longest wait between two reminders of a commit.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// The duration of a claim. If the relay dies, before or after it has published, another relay can claim the reminder after this
/// time.
const LEASE: Duration = Duration::from_secs(20);

/// The first wait of a commit that a receiver has set aside. It doubles with each reminder.
const SET_ASIDE: Duration = Duration::from_secs(5);

/// A commit to be marked as published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The commit.
    pub commit: CommitId,
    /// The change to the commit's reminder that is part of the mark.
    pub remind: ReminderPolicy,
    /// The first version of an earlier commit of the stream. The mark ends that commit's reminder.
    pub ends: Option<Version>,
}

/// The effect of a commit's mark on its reminder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReminderPolicy {
    /// The commit gets one: its last event is published again until the stream has moved on.
    UntilFollowed,
    /// The commit gets none.
    Never,
}

impl From<CommitId> for Mark {
    fn from(commit: CommitId) -> Self {
        Self { commit, remind: ReminderPolicy::Never, ends: None }
    }
}

/// A commit that waits for its stream to move on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reminder {
    /// The commit.
    pub commit: CommitId,
    /// The time at which its last event is published again. An exhausted reminder keeps this time, but is not published.
    pub due: Timestamp,
    /// The number of times that it was published again.
    pub sent: u32,
    /// The reason why a receiver has set it aside, if one has.
    pub problem: Option<String>,
    /// The time that a compare-and-set compares.
    pub(crate) since: Timestamp,
    /// The event store's time at the read of this reminder.
    pub(crate) read_at: Timestamp,
}

impl Reminder {
    /// Returns true if the next relay that looks publishes it again.
    #[must_use]
    pub fn is_due(&self) -> bool {
        self.due <= self.read_at && !self.is_overdue()
    }

    /// Returns true if it is exhausted and is not published any more.
    #[must_use]
    pub fn is_overdue(&self) -> bool {
        self.sent >= REMINDERS
    }
}

/// The number of commits that wait for their streams to move on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct ReminderCounts {
    /// All waiting commits.
    pub waiting: u64,
    /// The commits that a receiver has set aside.
    pub set_aside: u64,
    /// The commits whose reminders are exhausted.
    pub overdue: u64,
}

/// A reminder as the store keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReminderRow {
    /// The commit.
    pub commit: CommitId,
    /// The time at which the delay begins, so a new delay holds for old reminders too.
    pub since: Timestamp,
    /// The number of times that the commit was published again.
    pub sent: u32,
    /// The reason why a receiver has set it aside, if one has.
    pub problem: Option<String>,
}

/// The condition for a due reminder, as times for its `since`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DueTimes {
    /// A reminder is due if its `since` is not later than this.
    pub(crate) until: Timestamp,
    /// A reminder is due if its `since` is later than this. No reminder is ever set so late, so only a clock that was ahead can
    /// have set it.
    pub(crate) beyond: Timestamp,
    /// A reminder that no relay and no receiver has touched is due if its `since` is later than now, for the same reason.
    pub(crate) now: Timestamp,
}

/// The reminders of an event store, with their delay. Cheap to clone.
#[derive(Clone)]
pub struct Reminders {
    store: EventStore,
    after: Duration,
}

impl Reminders {
    /// Creates the reminders of this store. The first reminder of a commit goes out this long after its mark.
    #[must_use]
    pub const fn new(store: EventStore, after: Duration) -> Self {
        Self { store, after }
    }

    /// The store.
    #[must_use]
    pub const fn store(&self) -> &EventStore {
        &self.store
    }

    /// Returns up to `limit` reminders that are due and not exhausted.
    ///
    /// # Errors
    /// When the store is not available.
    pub async fn due(&self, limit: usize) -> Result<Vec<Reminder>, StoreError> {
        let now = self.store.time().await?;
        let (until, beyond) = (before(now, self.after), before(after(now, LONGEST), self.after));
        let rows = self.store.due_reminders(DueTimes { until, beyond, now }, limit).await?;
        Ok(rows.into_iter().map(|row| self.reminder(row, now)).collect())
    }

    /// Claims a due reminder, so that no other relay takes it. Returns `None` if another relay has claimed it, or if the stream
    /// has moved on meanwhile. The claim expires after a while.
    ///
    /// # Errors
    /// When the store is not available.
    pub async fn claim(&self, reminder: &Reminder) -> Result<Option<Reminder>, StoreError> {
        self.set(reminder, reminder.sent, LEASE).await
    }

    /// Sets the next time of a claimed reminder whose event was published again. The wait doubles with each reminder. For a
    /// commit that a receiver has set aside, the first wait is 5 seconds, or the delay if that is shorter. Such a commit must
    /// come again soon, even if the channel loses this record too.
    ///
    /// # Errors
    /// When the store is not available.
    pub async fn sent(&self, claimed: &Reminder) -> Result<(), StoreError> {
        let sent = claimed.sent + 1;
        let first = if claimed.problem.is_some() { SET_ASIDE.min(self.after) } else { self.after };
        self.set(claimed, sent, doubled(first, sent)).await.map(drop)
    }

    /// Ends the reminders of these commits, because their streams have moved on.
    ///
    /// # Errors
    /// When the store is not available.
    pub async fn end(&self, commits: Vec<CommitId>) -> Result<(), StoreError> {
        if commits.is_empty() {
            return Ok(());
        }
        self.store.end_reminders(commits).await
    }

    /// Sets a commit aside for a receiver that can't do now what the commit's last event asks for. `problem` is the reason.
    /// `sent` is the number of the reminder that brought the event, or 0 for the first delivery. The event comes again by itself,
    /// after `pause` at the earliest. The wait doubles with `sent`.
    ///
    /// # Errors
    /// When the store is not available.
    pub async fn set_aside(
        &self,
        commit: &CommitId,
        sent: u32,
        problem: &str,
        pause: Duration,
    ) -> Result<(), StoreError> {
        let wait = doubled(SET_ASIDE, sent).max(pause);
        let since = before(after(self.store.time().await?, wait), self.after);
        let row = ReminderRow { commit: commit.clone(), since, sent, problem: Some(problem.to_owned()) };
        self.store.set_aside(row).await
    }

    /// Returns a page of all reminders by stream. The page begins after the commit `behind`.
    ///
    /// # Errors
    /// When the store is not available.
    pub async fn list(&self, behind: Option<&CommitId>, limit: usize) -> Result<Vec<Reminder>, StoreError> {
        let now = self.store.time().await?;
        let rows = self.store.list_reminders(behind, limit).await?;
        Ok(rows.into_iter().map(|row| self.reminder(row, now)).collect())
    }

    /// Counts the reminders.
    ///
    /// # Errors
    /// When the store is not available.
    pub async fn count(&self) -> Result<ReminderCounts, StoreError> {
        self.store.count_reminders().await
    }

    async fn set(
        &self,
        reminder: &Reminder,
        sent: u32,
        wait: Duration,
    ) -> Result<Option<Reminder>, StoreError> {
        let since = before(after(reminder.read_at, wait), self.after);
        // The new time must differ from the old one. Else a second claim in the same moment would find the old time, and succeed
        // too.
        let is_same = since.as_millisecond() == reminder.since.as_millisecond();
        let since = if is_same { after(since, TICK) } else { since };
        let row =
            ReminderRow { commit: reminder.commit.clone(), since, sent, problem: reminder.problem.clone() };
        let is_set = self.store.move_reminder(row.clone(), reminder.since).await?;
        Ok(is_set.then(|| self.reminder(row, reminder.read_at)))
    }

    fn reminder(&self, row: ReminderRow, read_at: Timestamp) -> Reminder {
        let ReminderRow { commit, since, sent, problem } = row;
        Reminder { commit, due: after(since, self.after), sent, problem, since, read_at }
    }
}

/// The calls to the variants, for [`Reminders`] alone.
impl EventStore {
    async fn time(&self) -> Result<Timestamp, StoreError> {
        match self {
            #[cfg(feature = "mongodb")]
            Self::MongoDb(store) => store.time().await,
            #[cfg(feature = "postgres")]
            Self::Postgres(store) => store.time().await,
            // The file's clock is the clock of its machine.
            #[cfg(feature = "embedded")]
            Self::Sqlite(_) => Ok(Timestamp::now()),
        }
    }

    async fn due_reminders(&self, due: DueTimes, limit: usize) -> Result<Vec<ReminderRow>, StoreError> {
        on_store!(self, store => store.due_reminders(due, limit).await)
    }

    pub(crate) async fn list_reminders(
        &self,
        behind: Option<&CommitId>,
        limit: usize,
    ) -> Result<Vec<ReminderRow>, StoreError> {
        on_store!(self, store => store.list_reminders(behind, limit).await)
    }

    async fn count_reminders(&self) -> Result<ReminderCounts, StoreError> {
        on_store!(self, store => store.count_reminders().await)
    }

    /// Moves the reminder to the row's time. Returns true if the reminder's time was `since` until then.
    async fn move_reminder(&self, row: ReminderRow, since: Timestamp) -> Result<bool, StoreError> {
        on_store!(self, store => store.move_reminder(row, since).await)
    }

    pub(crate) async fn set_aside(&self, row: ReminderRow) -> Result<(), StoreError> {
        on_store!(self, store => store.set_aside(row).await)
    }

    pub(crate) async fn end_reminders(&self, commits: Vec<CommitId>) -> Result<(), StoreError> {
        on_store!(self, store => store.end_reminders(commits).await)
    }
}

/// The smallest difference between two times that every store keeps.
const TICK: Duration = Duration::from_millis(1);

/// Returns the wait after this many reminders: `first`, doubled with each reminder, at most [`LONGEST`].
fn doubled(first: Duration, reminders: u32) -> Duration {
    first.saturating_mul(1_u32.checked_shl(reminders).unwrap_or(u32::MAX)).min(LONGEST)
}

fn after(time: Timestamp, wait: Duration) -> Timestamp {
    SignedDuration::try_from(wait).map_or(Timestamp::MAX, |wait| time.saturating_add(wait).unwrap_or(time))
}

fn before(time: Timestamp, wait: Duration) -> Timestamp {
    SignedDuration::try_from(wait).map_or(Timestamp::MIN, |wait| time.saturating_sub(wait).unwrap_or(time))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_wait_is_twice_the_last_and_none_is_longer_than_a_day() {
        let waits = [0, 1, 2, 8, 31, 32, u32::MAX].map(|n| doubled(Duration::from_secs(900), n).as_secs());
        assert_eq!(waits, [900, 1800, 3600, 86_400, 86_400, 86_400, 86_400]);
    }
}
