//! The event store as one SQLite file, for one machine.
//!
//! Four threads have a connection each. The *writer* takes all appends, small records and marks that wait, and writes them as
//! one transaction. So one sync to disk serves them all. SQLite has one writer at a time, so a second writer thread would only
//! wait. The *reader* answers all waiting loads from one snapshot. Another reader reads the pages of long streams, and their
//! snapshots. The *maintainer* reads the store at large, such as a page of a scan or the whole outbox, so that no load waits for
//! that. With a write-ahead log, none of them waits for another.
//!
//! Several processes may have the file open, and so may several namespaces of one process: each has its own threads and tables.
//! Their writers take SQLite's lock in turns. This module knows nothing of tasks or runtimes, except for the channels that bring
//! jobs.

mod columns;
mod export;
mod failure;
mod file;
mod heads;
mod maintenance;
mod read;
mod reminders;
mod snapshots;
mod tables;
mod write;

use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;

use event_sourcing::{EventType, StreamId, Version};
use jiff::Timestamp;
use runtime::batcher::{Batcher, ask};
use runtime::files::OpenedFile;

use crate::jobs::{LoadJob, Streams};
use crate::load::Lane;
use crate::reminders::{DueTimes, ReminderRow};
use crate::snapshots::SnapshotRow;
use crate::{
    AppendError, Backlog, CommandRecord, Commit, CommitId, Heads, Load, Mark, Namespace, OpenError, Page,
    RecordPage, ReminderCounts, ScanPosition, ScannedCommit, StoreError,
};
use failure::check;
use maintenance::{Maintainer, Question};
use read::Reader;
use tables::Tables;
use write::{Task, Write, Writer};

/// The most jobs that one turn of a thread takes. Its queue holds at most four times as many.
const TURN: usize = 512;

/// An event store in a SQLite file. When the last clone is dropped, all accepted jobs are finished and the file is closed.
#[derive(Clone)]
pub struct SqliteEventStore {
    opened: OpenedFile,
    reader: Batcher<LoadJob>,
    long_reader: Batcher<read::LongJob>,
    maintainer: Batcher<Question>,
    // The last field, so that it closes last. SQLite then writes the log back into the file and deletes the log.
    writer: Batcher<Write>,
}

impl SqliteEventStore {
    /// Opens the namespace in the file. Creates a missing file and its missing folder.
    ///
    /// # Errors
    /// [`OpenError::Refused`], in one line, when the file can't be used: the folder can't be written to, or the file is no
    /// database, not one of ours, or from a newer program.
    pub fn open(path: &Path, namespace: &Namespace) -> Result<Self, OpenError> {
        let (path, connection) = file::open(path, namespace)?;
        let connect =
            || file::connect(&path, file::Purpose::Load).map_err(|error| file::refused(&path, error));
        let (reading, reading_long) = (connect()?, connect()?);
        let opened = OpenedFile::at(&path).map_err(|error| file::refused(&path, error))?;
        let mut writer = Writer::new(connection, namespace, opened.clone());
        let mut reader = Reader::new(reading, namespace, opened.clone());
        let mut long_reader = Reader::new(reading_long, namespace, opened.clone());
        let mut maintainer = Maintainer::new(path.clone(), namespace.clone());
        let start = || -> std::io::Result<Self> {
            Ok(Self {
                opened,
                reader: Batcher::start("events-read", TURN, move |jobs| reader.work(jobs))?,
                long_reader: Batcher::start("events-long", 1, move |jobs| long_reader.work_long(jobs))?,
                maintainer: Batcher::start("events-maintenance", 1, move |asked| maintainer.work(asked))?,
                writer: Batcher::start("events-write", TURN, move |writes| writer.work(writes))?,
            })
        };
        start().map_err(|error| file::refused(&path, error))
    }

    pub(crate) async fn append(&self, commit: Arc<Commit>) -> Result<(), AppendError> {
        self.write_new(Task::Append(commit)).await
    }

    pub(crate) async fn append_all(&self, commits: Vec<Arc<Commit>>) -> Result<(), AppendError> {
        self.write_new(Task::AppendAll(commits)).await
    }

    pub(crate) async fn remember(&self, record: CommandRecord) -> Result<(), AppendError> {
        self.write_new(Task::Remember(record)).await
    }

    async fn write_new(&self, task: Task) -> Result<(), AppendError> {
        match self.write(task).await? {
            0 => Err(AppendError::Conflict),
            _ => Ok(()),
        }
    }

    pub(crate) async fn mark_published(&self, marks: Vec<Mark>) -> Result<(), StoreError> {
        self.write(Task::Mark(marks)).await.map(drop)
    }

    pub(crate) async fn move_reminder(&self, row: ReminderRow, since: Timestamp) -> Result<bool, StoreError> {
        let moved = self.write(Task::Reminder(reminders::ReminderTask::Move(row, since))).await?;
        Ok(moved > 0)
    }

    pub(crate) async fn set_aside(&self, row: ReminderRow) -> Result<(), StoreError> {
        self.write(Task::Reminder(reminders::ReminderTask::SetAside(row))).await.map(drop)
    }

    pub(crate) async fn end_reminders(&self, commits: Vec<CommitId>) -> Result<(), StoreError> {
        self.write(Task::Reminder(reminders::ReminderTask::End(commits))).await.map(drop)
    }

    pub(crate) async fn forget_answered(&self, before: Timestamp) -> Result<u64, StoreError> {
        self.write(Task::Forget(before)).await
    }

    async fn write(&self, task: Task) -> Result<u64, StoreError> {
        ask(|answer| self.writer.send(Write { task, answer })).await?
    }

    pub(crate) async fn load_many(&self, loads: Vec<Load>, lane: Lane) -> Result<Streams, StoreError> {
        let job = |answer| LoadJob { loads, answer };
        match lane {
            Lane::Shared => ask(|answer| self.reader.send(job(answer))).await?,
            Lane::Long => ask(|answer| self.long_reader.send(read::LongJob::Load(job(answer)))).await?,
        }
    }

    pub(crate) async fn scan<E: EventType>(
        &self,
        after: Option<ScanPosition>,
        limit: usize,
    ) -> Result<Page<ScannedCommit<E>>, StoreError> {
        self.maintain(move |tables| maintenance::scan(tables, after.as_ref(), limit)).await
    }

    pub(crate) async fn snapshot(
        &self,
        stream: &StreamId,
        revision: u32,
        last: Version,
    ) -> Result<Option<SnapshotRow>, StoreError> {
        let asked = read::SnapshotQuery { stream: stream.clone(), revision, last };
        ask(|answer| self.long_reader.send(read::LongJob::Snapshot(asked, answer))).await?
    }

    pub(crate) async fn put_snapshots(&self, rows: Vec<SnapshotRow>) -> Result<(), StoreError> {
        self.write(Task::Snapshots(rows)).await.map(drop)
    }

    pub(crate) async fn export_commits(
        &self,
        after: Option<ScanPosition>,
        limit: usize,
    ) -> Result<Page<Commit>, StoreError> {
        self.maintain(move |tables| export::commits(tables, after.as_ref(), limit)).await
    }

    pub(crate) async fn export_records(
        &self,
        after: Option<ScanPosition>,
        limit: usize,
    ) -> Result<RecordPage, StoreError> {
        self.maintain(move |tables| export::records(tables, after.as_ref(), limit)).await
    }

    pub(crate) async fn heads(&self, after: Option<&str>, limit: usize) -> Result<Heads, StoreError> {
        let after = after.map(str::to_owned);
        self.maintain(move |tables| heads::heads(tables, after.as_deref(), limit)).await
    }

    pub(crate) async fn outstanding(
        &self,
        young: RangeInclusive<Timestamp>,
        limit: usize,
    ) -> Result<Vec<CommitId>, StoreError> {
        self.maintain(move |tables| maintenance::outstanding(tables, &young, limit)).await
    }

    pub(crate) async fn due_reminders(
        &self,
        due: DueTimes,
        limit: usize,
    ) -> Result<Vec<ReminderRow>, StoreError> {
        self.maintain(move |tables| reminders::due(tables, due, limit)).await
    }

    pub(crate) async fn list_reminders(
        &self,
        behind: Option<&CommitId>,
        limit: usize,
    ) -> Result<Vec<ReminderRow>, StoreError> {
        let behind = behind.cloned();
        self.maintain(move |tables| reminders::list(tables, behind.as_ref(), limit)).await
    }

    pub(crate) async fn count_reminders(&self) -> Result<ReminderCounts, StoreError> {
        self.maintain(reminders::count).await
    }

    pub(crate) async fn count(&self) -> Result<u64, StoreError> {
        self.maintain(maintenance::commits).await
    }

    pub(crate) async fn backlog(&self) -> Result<Backlog, StoreError> {
        self.maintain(maintenance::backlog).await
    }

    pub(crate) async fn ping(&self) -> Result<(), StoreError> {
        check(&self.opened)?;
        self.maintain(maintenance::ping).await
    }

    async fn maintain<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Tables) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        ask(|answer| self.maintainer.send(Question::new(question, answer))).await?
    }
}
