//! The event store in MongoDB, or in a server that speaks its protocol (Amazon DocumentDB, FerretDB). Each commit is one
//! document, in a collection with the namespace's name.
//!
//! It needs neither transactions nor change streams. A document is written whole or not at all, and two unique keys carry the
//! guarantees. The id of a commit's document is its place, `stream@version`. The index on the id exists anyway, so (stream,
//! version) costs no index of its own. (stream, command id) has an index, which loads use as well. Both indexes begin with the
//! stream, so the collection can be sharded by `{stream: "hashed"}`. Reads and writes of streams name the stream.
//!
//! All waiting *appends* and small records are one `insertMany`, and all waiting *loads* of short streams are one `find`. All
//! waiting *marks* are one `updateMany`, and one more for those that set a reminder. The store asks nothing of a server before the
//! first of these calls, or of `connect`.

pub(crate) mod connection;
mod document;
mod export;
mod failure;
mod head_cache;
mod heads;
mod indexes;
mod maintenance;
mod mark;
mod read;
mod reminders;
mod snapshots;
mod write;

use std::ops::RangeInclusive;
use std::sync::Arc;

use event_sourcing::{EventType, StreamId, Version};
use jiff::Timestamp;
use runtime::SecretUrl;
use runtime::batcher::TaskBatcher;

use crate::jobs::Streams;
use crate::jobs::on_server::{self, MarkJob, Readers, TURN, ask};
use crate::load::Lane;
use crate::reminders::{DueTimes, ReminderRow};
use crate::snapshots::SnapshotRow;
use crate::{
    AppendError, Backlog, CommandRecord, Commit, CommitId, Heads, Load, Mark, Namespace, OpenError, Page,
    RecordPage, ReminderCounts, ScanPosition, ScannedCommit, StoreError,
};
use connection::Connection;
use head_cache::HeadCache;
use mark::Marker;
use read::Reader;
use write::{Write, Writer};

/// The number of inserts, and of updates, that run at a time. With two, batches would be half as large. A commit and its mark
/// would then cost the server a sixth to a half more, with no more throughput.
const WRITES: usize = 1;

/// The number of finds that run at a time, besides one that reads a page of a long stream.
const FINDS: usize = 2;

/// An event store in MongoDB. Clones share the client and the batches.
#[derive(Clone)]
pub struct MongoDbEventStore {
    connection: Arc<Connection>,
    writer: TaskBatcher<Write>,
    bulk: Arc<Writer>,
    readers: Readers,
    marks: TaskBatcher<MarkJob>,
    head_cache: Arc<HeadCache>,
}

impl MongoDbEventStore {
    /// Reads the URL; it connects to no server yet. The database is the one in the URL's path, else `events`. The URL sets the
    /// maximum number of connections, else `connections` does, else the driver.
    ///
    /// # Errors
    /// [`OpenError::Refused`], in one line and without the password, when the URL can't be used.
    pub async fn open(
        url: &SecretUrl,
        connections: Option<u32>,
        namespace: &Namespace,
    ) -> Result<Self, OpenError> {
        let connection = Arc::new(Connection::new(url, connections, namespace).await?);
        let head_cache = Arc::new(HeadCache::default());
        let writer = Arc::new(Writer::new(Arc::clone(&connection), Arc::clone(&head_cache)));
        let reader = Arc::new(Reader::new(Arc::clone(&connection), Arc::clone(&head_cache)));
        let marks = Arc::new(Marker::new(Arc::clone(&connection)));
        Ok(Self {
            head_cache,
            connection,
            bulk: Arc::clone(&writer),
            writer: TaskBatcher::start(TURN, WRITES, move |writes| Arc::clone(&writer).work(writes)),
            readers: Readers::start(FINDS, move |jobs| Arc::clone(&reader).work(jobs)),
            marks: TaskBatcher::start(TURN, WRITES, move |jobs| Arc::clone(&marks).work(jobs)),
        })
    }

    pub(crate) async fn append(&self, commit: Arc<Commit>) -> Result<(), AppendError> {
        let document = document::of_commit(&commit)?;
        ask(&self.writer, |answer| Write::commit(&commit, document, answer)).await
    }

    pub(crate) async fn append_all(&self, commits: &[Arc<Commit>]) -> Result<(), AppendError> {
        self.bulk.append_all(commits).await
    }

    pub(crate) async fn remember(&self, record: CommandRecord) -> Result<(), AppendError> {
        // The time is by the server's clock, because the server deletes the record.
        let now = connection::within(self.connection.server()).await?.now();
        let document = document::of_record(&record, now)?;
        ask(&self.writer, |answer| Write::record(document, answer)).await
    }

    pub(crate) async fn mark_published(&self, marks: Vec<Mark>) -> Result<(), StoreError> {
        on_server::mark(&self.marks, marks).await
    }

    pub(crate) async fn time(&self) -> Result<Timestamp, StoreError> {
        reminders::time(&self.connection).await
    }

    pub(crate) async fn due_reminders(
        &self,
        due: DueTimes,
        limit: usize,
    ) -> Result<Vec<ReminderRow>, StoreError> {
        reminders::due(&self.connection, due, limit).await
    }

    pub(crate) async fn list_reminders(
        &self,
        behind: Option<&CommitId>,
        limit: usize,
    ) -> Result<Vec<ReminderRow>, StoreError> {
        reminders::list(&self.connection, behind, limit).await
    }

    pub(crate) async fn count_reminders(&self) -> Result<ReminderCounts, StoreError> {
        reminders::count(&self.connection).await
    }

    pub(crate) async fn move_reminder(&self, row: ReminderRow, since: Timestamp) -> Result<bool, StoreError> {
        reminders::set(&self.connection, row, since).await
    }

    pub(crate) async fn set_aside(&self, row: ReminderRow) -> Result<(), StoreError> {
        reminders::set_aside(&self.connection, row).await
    }

    pub(crate) async fn end_reminders(&self, commits: Vec<CommitId>) -> Result<(), StoreError> {
        reminders::end(&self.connection, commits).await
    }

    pub(crate) async fn load_many(&self, loads: Vec<Load>, lane: Lane) -> Result<Streams, StoreError> {
        self.readers.load_many(loads, lane).await
    }

    pub(crate) async fn scan<E: EventType>(
        &self,
        after: Option<ScanPosition>,
        limit: usize,
    ) -> Result<Page<ScannedCommit<E>>, StoreError> {
        maintenance::scan(&self.connection, after.as_ref(), limit).await
    }

    pub(crate) async fn snapshot(
        &self,
        stream: &StreamId,
        revision: u32,
        last: Version,
    ) -> Result<Option<SnapshotRow>, StoreError> {
        snapshots::last(&self.connection, stream, revision, last).await
    }

    pub(crate) async fn put_snapshots(&self, rows: Vec<SnapshotRow>) -> Result<(), StoreError> {
        snapshots::put(&self.connection, &rows).await
    }

    pub(crate) async fn export_commits(
        &self,
        after: Option<ScanPosition>,
        limit: usize,
    ) -> Result<Page<Commit>, StoreError> {
        export::commits(&self.connection, after.as_ref(), limit).await
    }

    pub(crate) async fn export_records(
        &self,
        after: Option<ScanPosition>,
        limit: usize,
    ) -> Result<RecordPage, StoreError> {
        export::records(&self.connection, after.as_ref(), limit).await
    }

    pub(crate) async fn heads(&self, after: Option<&str>, limit: usize) -> Result<Heads, StoreError> {
        heads::heads(&self.connection, after, limit).await
    }

    pub(crate) async fn outstanding(
        &self,
        young: RangeInclusive<Timestamp>,
        limit: usize,
    ) -> Result<Vec<CommitId>, StoreError> {
        maintenance::outstanding(&self.connection, &young, limit).await
    }

    pub(crate) async fn is_current(&self, stream: &StreamId, version: Version) -> Result<bool, StoreError> {
        read::is_current(&self.connection, stream, version).await
    }

    /// Does nothing, because the server deletes each record at the time that the record names.
    #[allow(clippy::unused_async, clippy::unnecessary_wraps)]
    pub(crate) async fn forget_answered(&self, _before: Timestamp) -> Result<u64, StoreError> {
        Ok(0)
    }

    pub(crate) async fn count(&self) -> Result<u64, StoreError> {
        maintenance::count(&self.connection).await
    }

    pub(crate) async fn backlog(&self) -> Result<Backlog, StoreError> {
        maintenance::backlog(&self.connection).await
    }

    pub(crate) async fn connect(&self) -> Result<(), StoreError> {
        self.connection.begin().await
    }

    /// Checks the server and the indexes. Missing indexes mean that somebody has dropped them, or the whole collection. The store
    /// then clears its cache of heads, so that no commit is appended after one that is gone, and creates the indexes again.
    pub(crate) async fn ping(&self) -> Result<(), StoreError> {
        let Err(problem) = maintenance::ping(&self.connection).await else { return Ok(()) };
        self.head_cache.forget();
        if maintenance::mend(&self.connection).await.is_ok() {
            tracing::warn!(%problem, "the event store had lost its indexes; they were made again");
        }
        Err(problem)
    }
}
