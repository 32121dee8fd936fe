//! The read store in a SQLite file.
//!
//! Three threads have a connection each: one writes, one answers single reads, one answers lists, so that a long list delays no
//! single read. SQLite has one writer at a time, so a second thread that writes would only wait. The writer takes waiting batches
//! together as one transaction, and the reader waiting reads. Any number of processes may have the file open. Each transaction
//! reads the list of views anew.

mod held;
mod keyed;
mod parts;
mod programs;
mod project;
mod read;
mod rebuild;
mod rows;
mod schema;
mod walk;
mod write;

use std::path::Path;
use std::time::Duration;

use event_sourcing::{Entry, Recorded, StreamId, Version, View};
use jiff::Timestamp;
use runtime::Backoff;
use runtime::batcher::{Batcher, ask};
use runtime::files::{LostFile, OpenedFile};
use rusqlite::Connection;

use self::write::{Job, Writer};
use crate::calls::{Answer, LookupCall};
use crate::programs::{Program, Registration};
use crate::shape::Shape;
use crate::waiters::Waiters;
use crate::walk::{Step, Walk, Walker};
use crate::{
    Difference, DropRefused, Filter, HeldEvent, HeldId, HeldSummary, Incoming, Lookup, OpenError, Page,
    ProjectionCounts, ReadStoreError, RedriveCounts, RowPage, SwapRefused, ViewId,
};

/// The pauses after which a caller that waits for a version looks again, because another process may write it.
const LOOK_AGAIN: Backoff =
    Backoff { first: Duration::from_millis(100), longest: Duration::from_millis(100) };

/// The maximum number of calls in one transaction.
const CALLS: usize = 256;

/// A read that may take long.
type Scan = Box<dyn FnOnce(&mut Connection) + Send>;

impl From<LostFile> for ReadStoreError {
    fn from(gone: LostFile) -> Self {
        Self::Unavailable(gone.to_string())
    }
}

/// An open file. Cheap to clone; it is closed with the last clone.
#[derive(Clone)]
pub struct SqliteReadStore<V: View> {
    opened: OpenedFile,
    writer: Batcher<Job<V>>,
    reads: Batcher<LookupCall<V::Row>>,
    scans: Batcher<Scan>,
    shape: Shape,
    waiters: Waiters<V::Row>,
}

impl<V: View> SqliteReadStore<V> {
    pub(crate) fn open(path: &Path) -> Result<Self, OpenError> {
        let shape = Shape::of::<V>();
        schema::create(path, shape)?;
        let cannot = |error: std::io::Error| OpenError::Refused(error.to_string());
        let opened = OpenedFile::at(path).map_err(cannot)?;
        let waiters = Waiters::default();
        let mut writer = Writer::open(path, opened.clone(), waiters.clone(), shape)?;
        let mut reader = schema::connect(path, schema::FOR_READS)?;
        let mut scanner = schema::connect(path, schema::FOR_READS)?;
        Ok(Self {
            opened,
            writer: Batcher::start("view-writer", CALLS, move |jobs| writer.work(jobs)).map_err(cannot)?,
            reads: Batcher::start("view-reader", CALLS, move |calls| read::answer(&mut reader, shape, calls))
                .map_err(cannot)?,
            scans: Batcher::start("view-scanner", 1, move |scans: &mut Vec<Scan>| {
                scans.drain(..).for_each(|scan| scan(&mut scanner));
            })
            .map_err(cannot)?,
            shape,
            waiters,
        })
    }

    pub(crate) async fn project(
        &self,
        batch: Vec<Incoming<V::Event>>,
    ) -> Result<ProjectionCounts, ReadStoreError> {
        ask(|answer| self.writer.send(Job::project(batch, answer))).await?
    }

    pub(crate) async fn see(&self, id: &StreamId) -> Result<Lookup<V::Row>, ReadStoreError> {
        ask(|answer| self.reads.send(LookupCall { id: id.clone(), answer })).await?
    }

    pub(crate) async fn get_many(&self, ids: Vec<StreamId>) -> Result<Vec<Entry<V::Row>>, ReadStoreError> {
        self.scan(move |connection, shape| read::many(connection, shape, &ids)).await
    }

    pub(crate) async fn versions(
        &self,
        after: Option<&StreamId>,
        limit: usize,
    ) -> Result<Vec<(StreamId, Version)>, ReadStoreError> {
        let after = after.cloned();
        self.scan(move |connection, shape| read::versions(connection, shape, after.as_ref(), limit)).await
    }

    pub(crate) async fn row(&self, key: &V::Key) -> Result<Option<V::Row>, ReadStoreError> {
        let key = key.clone();
        self.scan(move |connection, shape| read::row::<V>(connection, shape, &key)).await
    }

    pub(crate) async fn page(
        &self,
        filter: Filter<V::Key>,
    ) -> Result<RowPage<V::Key, V::Row>, ReadStoreError> {
        self.scan(move |connection, shape| read::rows::<V>(connection, shape, &filter)).await
    }

    pub(crate) async fn list(&self, filter: Filter) -> Result<Page<V::Row>, ReadStoreError> {
        self.scan(move |connection, shape| read::page(connection, shape, &filter)).await
    }

    pub(crate) async fn wait_for(
        &self,
        id: &StreamId,
        version: Version,
        patience: Duration,
    ) -> Result<Lookup<V::Row>, ReadStoreError> {
        self.waiters.wait_for(id, version, patience, LOOK_AGAIN, || self.see(id)).await
    }

    pub(crate) async fn walk(&self) -> Result<Walk, ReadStoreError> {
        self.scan(|connection, shape| walk::read(connection, shape)).await
    }

    pub(crate) async fn take_walk(&self, walker: Walker) -> Result<Option<Walk>, ReadStoreError> {
        self.write(move |writer| walk::take(writer.connection(), writer.shape, &walker)).await
    }

    pub(crate) async fn step_walk(&self, walker: Walker, step: Step) -> Result<Option<Walk>, ReadStoreError> {
        self.write(move |writer| walk::step(writer.connection(), writer.shape, &walker, &step)).await
    }

    pub(crate) async fn leave_walk(&self, name: &str) -> Result<(), ReadStoreError> {
        let name = name.to_owned();
        self.write(move |writer| walk::leave(writer.connection(), writer.shape, &name)).await
    }

    pub(crate) async fn doubt(&self, why: &str) -> Result<(), ReadStoreError> {
        let why = why.to_owned();
        self.write(move |writer| walk::doubt(writer.connection(), writer.shape, &why, Timestamp::now())).await
    }

    pub(crate) async fn held_summary(&self) -> Result<Vec<HeldSummary>, ReadStoreError> {
        self.scan(|connection, shape| held::summary(connection, shape)).await
    }

    pub(crate) async fn held(
        &self,
        stream: Option<&StreamId>,
        after: Option<HeldId>,
        limit: usize,
    ) -> Result<Vec<HeldEvent>, ReadStoreError> {
        let stream = stream.cloned();
        self.scan(move |connection, shape| held::list(connection, shape, stream.as_ref(), after, limit)).await
    }

    pub(crate) async fn held_event(&self, id: HeldId) -> Result<Option<HeldEvent>, ReadStoreError> {
        self.scan(move |connection, shape| held::one(connection, shape, id)).await
    }

    pub(crate) async fn redrive(&self, stream: Option<&StreamId>) -> Result<RedriveCounts, ReadStoreError> {
        let (mut redriven, mut after) = (RedriveCounts::default(), Some(HeldId(0)));
        // A page is a transaction, so that neither memory nor the projector's wait grows with the number of held events.
        while let Some(from) = after {
            let scope = stream.cloned();
            let page = self.write(move |writer| writer.redrive(scope.as_ref(), from)).await?;
            redriven.applied += page.applied;
            redriven.removed += page.removed;
            after = page.last;
        }
        let scope = stream.cloned();
        redriven.held =
            self.scan(move |connection, shape| held::count(connection, shape, scope.as_ref())).await?;
        Ok(redriven)
    }

    pub(crate) async fn drop_held(&self, id: HeldId) -> Result<(), DropRefused> {
        self.write(move |writer| writer.drop_held(id)).await
    }

    pub(crate) async fn begin_rebuild(&self) -> Result<ViewId, ReadStoreError> {
        self.write(Writer::begin_rebuild).await
    }

    pub(crate) async fn backfill(
        &self,
        view: ViewId,
        events: Vec<Recorded<V::Event>>,
    ) -> Result<ProjectionCounts, ReadStoreError> {
        self.write(move |writer| writer.backfill(view, events)).await
    }

    pub(crate) async fn take_over(
        &self,
        view: ViewId,
        entries: Vec<Entry<V::Row>>,
    ) -> Result<(), SwapRefused> {
        self.write(move |writer| writer.take_over(view, &entries)).await
    }

    pub(crate) async fn set_aside(
        &self,
        view: ViewId,
        unreadable: Vec<(StreamId, String)>,
    ) -> Result<(), SwapRefused> {
        self.write(move |writer| writer.set_aside(view, unreadable)).await
    }

    pub(crate) async fn swap(&self, view: ViewId) -> Result<(), SwapRefused> {
        self.write(move |writer| writer.swap(view)).await
    }

    pub(crate) async fn compare(&self, view: ViewId, limit: usize) -> Result<Difference, ReadStoreError> {
        self.scan(move |connection, shape| rebuild::compare(connection, shape, view, limit)).await
    }

    pub(crate) async fn abandon(&self, view: ViewId) -> Result<(), ReadStoreError> {
        self.write(move |writer| writer.abandon(view)).await
    }

    pub(crate) async fn repair(&self, entries: Vec<Entry<V::Row>>) -> Result<u64, ReadStoreError> {
        self.write(move |writer| writer.repair(&entries)).await
    }

    pub(crate) async fn remove(&self, ids: Vec<StreamId>) -> Result<u64, ReadStoreError> {
        self.write(move |writer| writer.remove(&ids)).await
    }

    pub(crate) async fn register(&self, program: Program) -> Result<Registration, ReadStoreError> {
        self.write(move |writer| writer.register(&program)).await
    }

    pub(crate) async fn leave(&self, program: &str) -> Result<(), ReadStoreError> {
        let program = program.to_owned();
        self.write(move |writer| writer.leave(&program)).await
    }

    pub(crate) async fn note_filled(&self) -> Result<(), ReadStoreError> {
        self.write(Writer::note_filled).await
    }

    pub(crate) async fn ping(&self) -> Result<(), ReadStoreError> {
        self.opened.check()?;
        self.scan(read::ping).await
    }

    /// Does work on the writer's thread, in a transaction of its own.
    async fn write<T, E>(
        &self,
        work: impl FnOnce(&mut Writer<V>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<ReadStoreError> + Send + 'static,
    {
        let job = |answer: Answer<T, E>| {
            Job::alone(move |writer| {
                // A caller that stopped waiting gets no answer; the work is done all the same.
                let _ = answer.send(work(writer));
            })
        };
        ask(|answer| self.writer.send(job(answer))).await.map_err(ReadStoreError::from)?
    }

    /// Does a read on the scanner's thread.
    async fn scan<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection, Shape) -> Result<T, ReadStoreError> + Send + 'static,
    ) -> Result<T, ReadStoreError> {
        let shape = self.shape;
        let scan = |answer: Answer<T>| -> Scan {
            Box::new(move |connection| {
                let _ = answer.send(work(connection, shape));
            })
        };
        ask(|answer| self.scans.send(scan(answer))).await?
    }
}
