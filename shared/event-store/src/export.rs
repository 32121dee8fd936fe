//! Everything that a store holds, in pages, as it is stored: to copy it into another store.
//!
//! Commits and small records go into another store by [`EventStore::append_all`] and [`EventStore::remember`], which refuse what
//! is there already. A reminder goes in by [`EventStore::import_reminder`].

#[cfg(any(feature = "embedded", feature = "postgres"))]
use event_sourcing::{CommandId, StreamId};

#[cfg(any(feature = "embedded", feature = "postgres"))]
use crate::UnreadableStream;
use crate::{
    CommandRecord, Commit, CommitId, EventStore, Page, ReminderRow, ScanPosition, StoreError, on_store,
};

/// A page of small records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordPage {
    /// The records, in the store's own order. A page may have none, and others follow.
    pub records: Vec<CommandRecord>,
    /// The position at which the next page begins; `None` after the last page.
    pub next: Option<ScanPosition>,
}

impl EventStore {
    /// Returns a page of all commits, as [`EventStore::scan`] does, but undecoded and with all that is stored of them.
    ///
    /// # Errors
    /// When the store is not available.
    pub async fn export_commits(
        &self,
        after: Option<ScanPosition>,
        limit: usize,
    ) -> Result<Page<Commit>, StoreError> {
        let limit = limit.max(1);
        on_store!(self, store => store.export_commits(after, limit).await)
    }

    /// Returns a page of all small records of commands without events. `limit` is the number of rows that the store looks at.
    ///
    /// # Errors
    /// When the store is not available, or none of our programs wrote a record.
    pub async fn export_records(
        &self,
        after: Option<ScanPosition>,
        limit: usize,
    ) -> Result<RecordPage, StoreError> {
        let limit = limit.max(1);
        on_store!(self, store => store.export_records(after, limit).await)
    }

    /// Returns a page of all reminders, which begins after the commit `behind`.
    ///
    /// # Errors
    /// When the store is not available.
    pub async fn export_reminders(
        &self,
        behind: Option<&CommitId>,
        limit: usize,
    ) -> Result<Vec<ReminderRow>, StoreError> {
        self.list_reminders(behind, limit).await
    }

    /// Gives a commit this reminder, in place of one that it has. A store may keep only the milliseconds of its time.
    ///
    /// # Errors
    /// When the store is not available.
    pub async fn import_reminder(&self, reminder: ReminderRow) -> Result<(), StoreError> {
        self.set_aside(reminder).await
    }

    /// Removes the reminders of these commits.
    ///
    /// # Errors
    /// When the store is not available.
    pub async fn remove_reminders(&self, commits: Vec<CommitId>) -> Result<(), StoreError> {
        if commits.is_empty() {
            return Ok(());
        }
        self.end_reminders(commits).await
    }
}

/// The cursor of an export of small records: the export goes on after this command of this stream.
#[cfg(any(feature = "embedded", feature = "postgres"))]
#[derive(Default)]
pub(crate) struct RecordCursor {
    pub(crate) stream: String,
    pub(crate) command: String,
}

#[cfg(any(feature = "embedded", feature = "postgres"))]
impl RecordCursor {
    pub(crate) fn parse(position: Option<&ScanPosition>) -> Result<Self, StoreError> {
        let Some(ScanPosition(text)) = position else { return Ok(Self::default()) };
        // No stream has a space in its name.
        let (stream, command) = text.split_once(' ').ok_or_else(|| {
            StoreError::Unavailable(format!("{text:?} is no position of an export of this store").into())
        })?;
        Ok(Self { stream: stream.to_owned(), command: command.to_owned() })
    }

    pub(crate) fn position(&self) -> ScanPosition {
        ScanPosition(format!("{} {}", self.stream, self.command))
    }

    /// Returns the stream and the command, if they are such.
    pub(crate) fn names(&self) -> Result<(StreamId, CommandId), UnreadableStream> {
        let unreadable =
            |problem: &dyn std::fmt::Display| UnreadableStream::new(&self.stream, &problem.to_string());
        let stream = StreamId::parse(&self.stream).map_err(|error| unreadable(&error))?;
        let command = CommandId::parse(&self.command).map_err(|error| unreadable(&error))?;
        Ok((stream, command))
    }
}
