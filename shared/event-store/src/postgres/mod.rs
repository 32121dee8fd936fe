//! The event store in a PostgreSQL database. Each commit is one row, and its events are one text.
//!
//! Every write is one statement, which is a transaction of its own. So a row is written whole or not at all, and no process
//! that is frozen in the middle holds a lock. Two unique keys carry the guarantees: (stream, version) and (stream, command id).
//! The outbox and the reminders are small tables beside, so that a mark does not write the commit again.
//!
//! All waiting *appends* and small records are one statement, and so are all waiting *loads* and all waiting *marks*. The store
//! asks nothing of a server before the first of these calls. There is one place to read from, the primary: a connection to a
//! server that takes no writes is refused.

mod connections;
mod export;
mod failure;
mod maintenance;
mod mark;
mod presence;
mod read;
mod reminders;
mod schema;
mod snapshots;
mod write;

use std::ops::RangeInclusive;
use std::sync::Arc;

use event_sourcing::{EventType, StreamId, Version};
use jiff::Timestamp;
use runtime::SecretUrl;
use runtime::batcher::TaskBatcher;

use self::connections::Connections;
use self::presence::Presence;
use self::write::Write;
use crate::jobs::Streams;
use crate::jobs::on_server::{self, MarkJob, Readers, TURN, ask};
use crate::load::Lane;
use crate::reminders::{DueTimes, ReminderRow};
use crate::snapshots::SnapshotRow;
use crate::{
    AppendError, Backlog, CommandRecord, Commit, CommitId, Heads, Load, Mark, Namespace, OpenError,
    OtherProcesses, Page, RecordPage, ReminderCounts, ScanPosition, ScannedCommit, StoreError,
};

/// The number of statements of appends, and of marks, that run at a time. With one, batches are as large as they can be.
const WRITES: usize = 1;

/// The number of statements of loads that run at a time, besides one that reads a page of a long stream.
const FINDS: usize = 2;

/// The number of connections of a process, if nobody names another: those of the batches, and as many for all else.
const CONNECTIONS: u32 = 8;

/// An event store in PostgreSQL. Clones share the connections and the batches.
#[derive(Clone)]
pub struct PostgresEventStore {
    connections: Arc<Connections>,
    presence: Arc<Presence>,
    writer: TaskBatcher<Write>,
    readers: Readers,
    marks: TaskBatcher<MarkJob>,
}

impl PostgresEventStore {
    /// Reads the URL; it connects to no server yet. It must be called on a runtime.
    ///
    /// # Errors
    /// [`OpenError::Refused`], in one line and without the password, when the URL can't be used.
    pub fn open(url: &SecretUrl, connections: Option<u32>, namespace: &Namespace) -> Result<Self, OpenError> {
        let size = connections.unwrap_or(CONNECTIONS).max(1) as usize;
        let connections = Arc::new(Connections::new(url, size, namespace)?);
        let [writing, reading, marking] = [(); 3].map(|()| Arc::clone(&connections));
        let presence = Arc::<Presence>::default();
        let appender = Arc::clone(&presence);
        Ok(Self {
            connections,
            presence,
            writer: TaskBatcher::start(TURN, WRITES, move |writes| {
                write::work(Arc::clone(&writing), appender.number(), writes)
            }),
            readers: Readers::start(FINDS, move |jobs| read::work(Arc::clone(&reading), jobs)),
            marks: TaskBatcher::start(TURN, WRITES, move |jobs| mark::work(Arc::clone(&marking), jobs)),
        })
    }

    pub(crate) async fn append(&self, commit: Arc<Commit>) -> Result<(), AppendError> {
        let row = write::Row::of_commit(&commit)?;
        ask(&self.writer, |answer| Write { row, answer }).await
    }

    pub(crate) async fn append_all(&self, commits: &[Arc<Commit>]) -> Result<(), AppendError> {
        on_server::patiently(write::append_all(&self.connections, self.presence.number(), commits)).await
    }

    pub(crate) async fn remember(&self, record: CommandRecord) -> Result<(), AppendError> {
        let row = write::Row::of_record(&record);
        ask(&self.writer, |answer| Write { row, answer }).await
    }

    pub(crate) async fn mark_published(&self, marks: Vec<Mark>) -> Result<(), StoreError> {
        on_server::mark(&self.marks, marks).await
    }

    pub(crate) async fn time(&self) -> Result<Timestamp, StoreError> {
        Ok(reminders::time(&self.connections).await?)
    }

    pub(crate) async fn due_reminders(
        &self,
        due: DueTimes,
        limit: usize,
    ) -> Result<Vec<ReminderRow>, StoreError> {
        Ok(reminders::due(&self.connections, due, limit).await?)
    }

    pub(crate) async fn list_reminders(
        &self,
        behind: Option<&CommitId>,
        limit: usize,
    ) -> Result<Vec<ReminderRow>, StoreError> {
        Ok(reminders::list(&self.connections, behind, limit).await?)
    }

    pub(crate) async fn count_reminders(&self) -> Result<ReminderCounts, StoreError> {
        Ok(reminders::count(&self.connections).await?)
    }

    pub(crate) async fn move_reminder(&self, row: ReminderRow, since: Timestamp) -> Result<bool, StoreError> {
        Ok(reminders::set(&self.connections, &row, since).await?)
    }

    pub(crate) async fn set_aside(&self, row: ReminderRow) -> Result<(), StoreError> {
        Ok(reminders::set_aside(&self.connections, &row).await?)
    }

    pub(crate) async fn end_reminders(&self, commits: Vec<CommitId>) -> Result<(), StoreError> {
        let places = commits.iter().map(|commit| (commit.stream.as_str(), commit.version));
        Ok(reminders::end(&self.connections, places).await?)
    }

    pub(crate) async fn load_many(&self, loads: Vec<Load>, lane: Lane) -> Result<Streams, StoreError> {
        self.readers.load_many(loads, lane).await
    }

    pub(crate) async fn scan<E: EventType>(
        &self,
        after: Option<ScanPosition>,
        limit: usize,
    ) -> Result<Page<ScannedCommit<E>>, StoreError> {
        maintenance::scan(&self.connections, after.as_ref(), limit).await
    }

    pub(crate) async fn snapshot(
        &self,
        stream: &StreamId,
        revision: u32,
        last: Version,
    ) -> Result<Option<SnapshotRow>, StoreError> {
        Ok(snapshots::last(&self.connections, stream, revision, last).await?)
    }

    pub(crate) async fn put_snapshots(&self, rows: Vec<SnapshotRow>) -> Result<(), StoreError> {
        Ok(snapshots::put(&self.connections, &rows).await?)
    }

    pub(crate) async fn export_commits(
        &self,
        after: Option<ScanPosition>,
        limit: usize,
    ) -> Result<Page<Commit>, StoreError> {
        export::commits(&self.connections, after.as_ref(), limit).await
    }

    pub(crate) async fn export_records(
        &self,
        after: Option<ScanPosition>,
        limit: usize,
    ) -> Result<RecordPage, StoreError> {
        export::records(&self.connections, after.as_ref(), limit).await
    }

    pub(crate) async fn heads(&self, after: Option<&str>, limit: usize) -> Result<Heads, StoreError> {
        Ok(maintenance::heads(&self.connections, after, limit).await?)
    }

    pub(crate) async fn outstanding(
        &self,
        young: RangeInclusive<Timestamp>,
        limit: usize,
    ) -> Result<Vec<CommitId>, StoreError> {
        Ok(maintenance::outstanding(&self.connections, &young, limit).await?)
    }

    /// Keeps a session for as long as the future is polled.
    pub(crate) async fn stay_present(&self) {
        presence::keep(&self.connections, &self.presence).await;
    }

    pub(crate) async fn other_processes(
        &self,
        young: RangeInclusive<Timestamp>,
    ) -> Result<OtherProcesses, StoreError> {
        Ok(maintenance::other_processes(&self.connections, &young, self.presence.number()).await?)
    }

    pub(crate) async fn is_current(&self, stream: &StreamId, version: Version) -> Result<bool, StoreError> {
        Ok(read::is_current(&self.connections, stream, version).await?)
    }

    /// Deletes small records by the server's clock: neither a process's clock that is wrong, nor its `before`, deletes one early.
    pub(crate) async fn forget_answered(&self) -> Result<u64, StoreError> {
        Ok(maintenance::forget_answered(&self.connections).await?)
    }

    pub(crate) async fn count(&self) -> Result<u64, StoreError> {
        Ok(maintenance::count(&self.connections).await?)
    }

    pub(crate) async fn backlog(&self) -> Result<Backlog, StoreError> {
        Ok(maintenance::backlog(&self.connections).await?)
    }

    pub(crate) async fn connect(&self) -> Result<(), StoreError> {
        Ok(self.connections.begin().await?)
    }

    pub(crate) async fn ping(&self) -> Result<(), StoreError> {
        Ok(maintenance::ping(&self.connections).await?)
    }
}
