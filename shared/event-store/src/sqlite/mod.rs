//! The event store as one SQLite file, for one machine.
//!
//! Three threads have a connection each. The *writer* takes everything that waits (appends, small records, marks) and writes
//! it as one transaction, so that one sync to disk serves them all; SQLite has one writer at a time, so a second thread would
//! only wait. The *reader* answers all loads that wait from one snapshot. The *surveyor* reads the store at large, a page of a
//! scan or the whole outbox, so that no load waits for that. With a write-ahead log none of the three waits for another.
//!
//! Several processes may have the file open. Knows nothing of tasks or runtimes beyond the channels that jobs come by.

mod file;
mod json;
mod read;
mod survey;
mod write;

use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use runtime::waiting::Waiting;
use tokio::sync::oneshot;

use crate::{
    AppendError, Backlog, Commit, CommitId, Load, NoEvent, OpenError, Page, ScanPosition, StoreError, Stream,
};
use survey::{Question, Surveyor};
use write::{Task, Write, Writer};

/// The most jobs that one turn of a thread takes; what waits in its queue is bounded by four times that.
const TURN: usize = 512;

/// An event store in a SQLite file. When the last clone is dropped, what was accepted is done and the file is closed.
#[derive(Clone)]
pub struct SqliteEventStore {
    reader: Waiting<read::Job>,
    surveyor: Waiting<Question>,
    // Last, so that it closes last: then the log is written back into the file and deleted.
    writer: Waiting<Write>,
}

type Answer<T> = oneshot::Sender<Result<T, StoreError>>;

impl SqliteEventStore {
    /// Opens the file; it is made, and the folder that it is in, if it is not there.
    ///
    /// # Errors
    /// [`OpenError::Refused`], in one line, when the file can't be used: the folder can't be written to, it is no database,
    /// or not one of ours, or of a newer program.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let (path, connection) = file::open(path)?;
        let mut reading =
            file::connect(&path, file::Purpose::Load).map_err(|error| file::refused(&path, error))?;
        let mut writer = Writer::new(connection);
        let mut surveyor = Surveyor::new(path.clone());
        let start = || -> std::io::Result<Self> {
            Ok(Self {
                reader: Waiting::start("events-read", TURN, move |jobs| read::work(&mut reading, jobs))?,
                surveyor: Waiting::start("events-survey", 1, move |asked| surveyor.work(asked))?,
                writer: Waiting::start("events-write", TURN, move |writes| writer.work(writes))?,
            })
        };
        start().map_err(|error| file::refused(&path, error))
    }

    pub(crate) async fn append(&self, commit: Arc<Commit>) -> Result<(), AppendError> {
        self.write_new(Task::Append(commit)).await
    }

    pub(crate) async fn remember(&self, record: NoEvent) -> Result<(), AppendError> {
        self.write_new(Task::Remember(record)).await
    }

    async fn write_new(&self, task: Task) -> Result<(), AppendError> {
        match self.write(task).await? {
            0 => Err(AppendError::Conflict),
            _ => Ok(()),
        }
    }

    pub(crate) async fn mark_published(&self, commits: Vec<CommitId>) -> Result<(), StoreError> {
        self.write(Task::Mark(commits)).await.map(drop)
    }

    pub(crate) async fn forget_answered(&self, before: Timestamp) -> Result<u64, StoreError> {
        self.write(Task::Forget(before)).await
    }

    async fn write(&self, task: Task) -> Result<u64, StoreError> {
        ask(&self.writer, |answer| Write { task, answer }).await
    }

    pub(crate) async fn load_many(&self, loads: Vec<Load>) -> Result<Vec<Stream>, StoreError> {
        ask(&self.reader, |answer| read::Job { loads, answer }).await
    }

    pub(crate) async fn scan(&self, after: Option<ScanPosition>, limit: usize) -> Result<Page, StoreError> {
        self.survey(move |connection| survey::scan(connection, after.as_ref(), limit)).await
    }

    pub(crate) async fn outstanding(
        &self,
        before: Timestamp,
        limit: usize,
    ) -> Result<Vec<CommitId>, StoreError> {
        self.survey(move |connection| survey::outstanding(connection, before, limit)).await
    }

    pub(crate) async fn count(&self) -> Result<u64, StoreError> {
        self.survey(survey::commits).await
    }

    pub(crate) async fn backlog(&self) -> Result<Backlog, StoreError> {
        self.survey(survey::backlog).await
    }

    pub(crate) async fn ping(&self) -> Result<(), StoreError> {
        self.survey(survey::ping).await
    }

    async fn survey<T: Send + 'static>(
        &self,
        question: impl FnOnce(&rusqlite::Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        ask(&self.surveyor, |answer| Question::new(question, answer)).await
    }
}

async fn ask<J: Send, T>(worker: &Waiting<J>, job: impl FnOnce(Answer<T>) -> J) -> Result<T, StoreError> {
    let closed = || StoreError::Unavailable("it is closed".into());
    let (answer, answered) = oneshot::channel();
    worker.send(job(answer)).await.map_err(|_| closed())?;
    answered.await.map_err(|_| closed())?
}

fn unavailable(error: &rusqlite::Error) -> StoreError {
    StoreError::Unavailable(error.to_string().into())
}
