//! Reminders: an event that asks for another is published again until its stream has moved on.
//!
//! The mark of a commit sets its reminder, by the event store's own clock; the mark of the stream's next commit ends it. In between a
//! relay finds the reminder when it is due, claims it by compare-and-set, publishes the event and sets the next time. Whatever stream
//! and commit may be: the caller says which commits get one.

use std::time::Duration;

use event_sourcing::Version;
use jiff::{SignedDuration, Timestamp};

use crate::{CommitId, EventStore, StoreError};

/// How often an event is published again before its reminder is exhausted; it stays visible then.
pub const REMINDERS: u32 = 20;

/// The longest time between two of them.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// How long a claim holds: a relay that died after it has published, or not, is followed by another then.
const LEASE: Duration = Duration::from_secs(20);

/// The first time that a stream waits alone; it doubles with each reminder.
const SET_ASIDE: Duration = Duration::from_secs(5);

/// A commit to be marked as published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The commit.
    pub commit: CommitId,
    /// What happens to reminders with it.
    pub remind: Remind,
    /// The earlier commit of the stream, by its version, whose reminder ends.
    pub ends: Option<Version>,
}

/// Whether a commit gets a reminder with its mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remind {
    /// Its last event is published again while the stream does not move on.
    UntilFollowed,
    /// It is not.
    Never,
}

impl From<CommitId> for Mark {
    fn from(commit: CommitId) -> Self {
        Self { commit, remind: Remind::Never, ends: None }
    }
}

/// A commit that waits for its stream to move on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reminder {
    /// The commit.
    pub commit: CommitId,
    /// When its last event is published again. Exhausted, when that would be.
    pub due: Timestamp,
    /// How often it was.
    pub sent: u32,
    /// Why a receiver has set it aside, if one has.
    pub problem: Option<String>,
    /// What a compare-and-set compares.
    pub(crate) since: Timestamp,
    /// The event store's time when this was read.
    pub(crate) read_at: Timestamp,
}

impl Reminder {
    /// Whether it is published again as soon as a relay looks.
    #[must_use]
    pub fn is_due(&self) -> bool {
        self.due <= self.read_at && !self.is_overdue()
    }

    /// Whether it is past its time and is not published any more.
    #[must_use]
    pub fn is_overdue(&self) -> bool {
        self.sent >= REMINDERS
    }
}

/// How many commits wait for their streams to move on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct ReminderCounts {
    /// All.
    pub waiting: u64,
    /// Those that a receiver has set aside.
    pub set_aside: u64,
    /// Those whose reminders are exhausted.
    pub overdue: u64,
}

/// A reminder as a store has it. Its time is that from which the delay runs, so that a new delay holds for old reminders too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) commit: CommitId,
    pub(crate) since: Timestamp,
    pub(crate) sent: u32,
    pub(crate) problem: Option<String>,
}

/// Which reminders are due.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Due {
    /// Those from no later than this.
    pub(crate) until: Timestamp,
    /// Those that only a clock which was ahead can have set: none is ever set to be later than this.
    pub(crate) beyond: Timestamp,
    /// And of those that no relay and no receiver has touched, such as are later than now.
    pub(crate) now: Timestamp,
}

/// The reminders of an event store, with their delay. Cheap to clone.
#[derive(Clone)]
pub struct Reminders {
    store: EventStore,
    after: Duration,
}

impl Reminders {
    /// The reminders of this store, the first of which goes out when a commit was marked so long ago.
    #[must_use]
    pub const fn new(store: EventStore, after: Duration) -> Self {
        Self { store, after }
    }

    /// The store.
    #[must_use]
    pub const fn store(&self) -> &EventStore {
        &self.store
    }

    /// Up to so many reminders that are due and not exhausted.
    ///
    /// # Errors
    /// When the store is not available.
    pub async fn due(&self, limit: usize) -> Result<Vec<Reminder>, StoreError> {
        let now = self.store.time().await?;
        let (until, beyond) = (before(now, self.after), before(after(now, LONGEST), self.after));
        let rows = self.store.due_reminders(Due { until, beyond, now }, limit).await?;
        Ok(rows.into_iter().map(|row| self.reminder(row, now)).collect())
    }

    /// Takes a reminder that is due, so that no other relay does; `None` if another has, or if the stream has moved on meanwhile. The
    /// claim holds for a while only.
    ///
    /// # Errors
    /// When the store is not available.
    pub async fn claim(&self, reminder: &Reminder) -> Result<Option<Reminder>, StoreError> {
        self.set(reminder, reminder.sent, LEASE).await
    }

    /// A claimed reminder's event was published again: sets the next time, twice as far away as the last. The channel may lose this one
    /// too, and a stream that is set aside was to come again soon.
    ///
    /// # Errors
    /// When the store is not available.
    pub async fn sent(&self, claimed: &Reminder) -> Result<(), StoreError> {
        let sent = claimed.sent + 1;
        let first = if claimed.problem.is_some() { SET_ASIDE.min(self.after) } else { self.after };
        self.set(claimed, sent, doubled(first, sent)).await.map(drop)
    }

    /// The stream has moved on from these commits.
    ///
    /// # Errors
    /// When the store is not available.
    pub async fn end(&self, commits: Vec<CommitId>) -> Result<(), StoreError> {
        if commits.is_empty() {
            return Ok(());
        }
        self.store.end_reminders(commits).await
    }

    /// A receiver gives up for now what the commit's last event asks for, for this reason, after it came as reminder number `sent`, or
    /// 0: it comes again by itself, after `pause` at the earliest, and the later the more often it was set aside.
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
        let row = Row { commit: commit.clone(), since, sent, problem: Some(problem.to_owned()) };
        self.store.set_aside(row).await
    }

    /// A page of all reminders by stream, from behind this one on.
    ///
    /// # Errors
    /// When the store is not available.
    pub async fn list(&self, behind: Option<&CommitId>, limit: usize) -> Result<Vec<Reminder>, StoreError> {
        let now = self.store.time().await?;
        let rows = self.store.list_reminders(behind, limit).await?;
        Ok(rows.into_iter().map(|row| self.reminder(row, now)).collect())
    }

    /// How many there are.
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
        // Another time than the one before, or a second claim in the same moment would take it too.
        let is_same = since.as_millisecond() == reminder.since.as_millisecond();
        let since = if is_same { after(since, TICK) } else { since };
        let row = Row { commit: reminder.commit.clone(), since, sent, problem: reminder.problem.clone() };
        let is_set = self.store.move_reminder(row.clone(), reminder.since).await?;
        Ok(is_set.then(|| self.reminder(row, reminder.read_at)))
    }

    fn reminder(&self, row: Row, read_at: Timestamp) -> Reminder {
        let Row { commit, since, sent, problem } = row;
        Reminder { commit, due: after(since, self.after), sent, problem, since, read_at }
    }
}

/// What the variants do, for [`Reminders`] alone.
impl EventStore {
    async fn time(&self) -> Result<Timestamp, StoreError> {
        match self {
            #[cfg(feature = "mongodb")]
            Self::MongoDb(store) => store.time().await,
            // The file's clock is that of the machine which it is on.
            #[cfg(feature = "embedded")]
            Self::Sqlite(_) => Ok(Timestamp::now()),
        }
    }

    async fn due_reminders(&self, due: Due, limit: usize) -> Result<Vec<Row>, StoreError> {
        match self {
            #[cfg(feature = "mongodb")]
            Self::MongoDb(store) => store.due_reminders(due, limit).await,
            #[cfg(feature = "embedded")]
            Self::Sqlite(store) => store.due_reminders(due, limit).await,
        }
    }

    async fn list_reminders(&self, behind: Option<&CommitId>, limit: usize) -> Result<Vec<Row>, StoreError> {
        match self {
            #[cfg(feature = "mongodb")]
            Self::MongoDb(store) => store.list_reminders(behind, limit).await,
            #[cfg(feature = "embedded")]
            Self::Sqlite(store) => store.list_reminders(behind, limit).await,
        }
    }

    async fn count_reminders(&self) -> Result<ReminderCounts, StoreError> {
        match self {
            #[cfg(feature = "mongodb")]
            Self::MongoDb(store) => store.count_reminders().await,
            #[cfg(feature = "embedded")]
            Self::Sqlite(store) => store.count_reminders().await,
        }
    }

    /// Whether the reminder was from `since` until then.
    async fn move_reminder(&self, row: Row, since: Timestamp) -> Result<bool, StoreError> {
        match self {
            #[cfg(feature = "mongodb")]
            Self::MongoDb(store) => store.move_reminder(row, since).await,
            #[cfg(feature = "embedded")]
            Self::Sqlite(store) => store.move_reminder(row, since).await,
        }
    }

    async fn set_aside(&self, row: Row) -> Result<(), StoreError> {
        match self {
            #[cfg(feature = "mongodb")]
            Self::MongoDb(store) => store.set_aside(row).await,
            #[cfg(feature = "embedded")]
            Self::Sqlite(store) => store.set_aside(row).await,
        }
    }

    async fn end_reminders(&self, commits: Vec<CommitId>) -> Result<(), StoreError> {
        match self {
            #[cfg(feature = "mongodb")]
            Self::MongoDb(store) => store.end_reminders(commits).await,
            #[cfg(feature = "embedded")]
            Self::Sqlite(store) => store.end_reminders(commits).await,
        }
    }
}

/// What every store tells apart.
const TICK: Duration = Duration::from_millis(1);

/// So long, twice as long for the first reminder, and so on.
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
