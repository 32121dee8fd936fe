//! The read store in a PostgreSQL database.
//!
//! Any number of processes may work on it. Each transaction that writes reads the list of views anew. Waiting batches are taken
//! together, and so are waiting single reads; a few of these groups run side by side. A connection prepares each statement once.
//! Values are binary, and each statement goes through the tables by an index.

mod connections;
mod failure;
mod held;
mod keyed;
mod parts;
mod programs;
mod project;
mod read;
mod rebuild;
mod rows;
mod schema;
mod shared;
mod transaction;
mod upsert;
mod walk;
mod write;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use event_sourcing::{Entry, Recorded, StreamId, Version, View};
use jiff::Timestamp;
use runtime::batcher::{TaskBatcher, ask};
use runtime::{Backoff, SecretUrl};
use tokio::sync::Semaphore;

use self::connections::Connections;
use self::shared::{ActiveView, Shared};
use crate::calls::{Call, LookupCall};
use crate::programs::{Program, Registration};
use crate::shape::Shape;
use crate::waiters::Waiters;
use crate::walk::{Step, Walk, Walker};
use crate::{
    Difference, DropRefused, Filter, HeldEvent, HeldId, HeldSummary, Incoming, Lookup, OpenError, Page,
    ProjectionCounts, ReadStoreError, RedriveCounts, RowPage, SwapRefused, ViewId,
};

/// The pauses after which a caller that waits for a version looks again, because another process may write it. All callers that
/// look at the same time share one read.
///
/// LISTEN and NOTIFY would tell sooner, but are not used, for two reasons. A commit that notifies waits for all other commits
/// that do, also for their write to the disk. That cost two thirds of the small transactions. And no proxy that shares
/// connections passes notifications on.
const LOOK_AGAIN: Backoff = Backoff { first: Duration::from_millis(2), longest: Duration::from_millis(50) };

/// The maximum number of calls in one batch.
const CALLS: usize = 256;
/// The number of projector transactions that run side by side, if there are connections for them.
const WRITERS: usize = 4;
/// The number of reads of single streams that run side by side.
const READERS: usize = 2;
/// The number of connections that lists and other long reads leave to reads of single streams and to readiness checks.
const LEFT_BY_LISTS: usize = READERS;

/// A database. Cheap to clone. Connections are opened when they are needed, and closed with the last clone.
#[derive(Clone)]
pub struct PostgresReadStore<V: View> {
    calls: TaskBatcher<Call<V::Event>>,
    reads: TaskBatcher<LookupCall<V::Row>>,
    shared: Arc<Shared<V>>,
}

impl<V: View> PostgresReadStore<V> {
    pub(crate) fn open(url: &SecretUrl, connections: usize) -> Result<Self, OpenError> {
        let (size, shape) = (connections.max(1), Shape::of::<V>());
        let shared = Arc::new(Shared {
            connections: Connections::new(url, size, shape)?,
            projectors: Connections::new(url, size.min(WRITERS), shape)?,
            lists: Semaphore::new(size.saturating_sub(LEFT_BY_LISTS).max(1)),
            active: ActiveView::default(),
            waiters: Waiters::default(),
            size,
        });
        let (writing, reading) = (Arc::clone(&shared), Arc::clone(&shared));
        Ok(Self {
            calls: TaskBatcher::start(CALLS, size.min(WRITERS), move |calls| {
                write::project(Arc::clone(&writing), calls)
            }),
            reads: TaskBatcher::start(CALLS, size.min(READERS), move |calls| {
                read::answer(Arc::clone(&reading), calls)
            }),
            shared,
        })
    }

    pub(crate) async fn migrate(&self) -> Result<(), ReadStoreError> {
        self.shared.connections.migrate().await
    }

    /// Takes in a batch. Records that lie in another stream's partition come last, in a transaction of their own. That
    /// transaction waits for others that have locked the rows of those streams, so it must not hold the rows of all other streams
    /// meanwhile.
    ///
    /// Without this, poison that names other partitions' streams made batches wait for each other, and a quarter of the rows was
    /// written twice.
    pub(crate) async fn project(
        &self,
        batch: Vec<Incoming<V::Event>>,
    ) -> Result<ProjectionCounts, ReadStoreError> {
        let (astray, at_home): (Vec<_>, Vec<_>) = batch.into_iter().partition(Incoming::is_astray);
        let mut projected = ProjectionCounts::default();
        for records in [at_home, astray] {
            if !records.is_empty() {
                projected += self.project_together(records).await?;
            }
        }
        Ok(projected)
    }

    async fn project_together(
        &self,
        batch: Vec<Incoming<V::Event>>,
    ) -> Result<ProjectionCounts, ReadStoreError> {
        ask(|answer| self.calls.send(Call::new(batch, answer))).await?
    }

    pub(crate) async fn see(&self, id: &StreamId) -> Result<Lookup<V::Row>, ReadStoreError> {
        ask(|answer| self.reads.send(LookupCall { id: id.clone(), answer })).await?
    }

    pub(crate) async fn get_many(&self, ids: Vec<StreamId>) -> Result<Vec<Entry<V::Row>>, ReadStoreError> {
        read::many(&self.shared, &ids).await
    }

    pub(crate) async fn versions(
        &self,
        after: Option<&StreamId>,
        limit: usize,
    ) -> Result<Vec<(StreamId, Version)>, ReadStoreError> {
        Ok(read::versions(&self.shared, after, limit).await?)
    }

    pub(crate) async fn row(&self, key: &V::Key) -> Result<Option<V::Row>, ReadStoreError> {
        Ok(read::row(&self.shared, key).await?)
    }

    pub(crate) async fn page(
        &self,
        filter: Filter<V::Key>,
    ) -> Result<RowPage<V::Key, V::Row>, ReadStoreError> {
        read::rows(&self.shared, &filter).await
    }

    pub(crate) async fn list(&self, filter: Filter) -> Result<Page<V::Row>, ReadStoreError> {
        read::page(&self.shared, &filter).await
    }

    pub(crate) async fn wait_for(
        &self,
        id: &StreamId,
        version: Version,
        patience: Duration,
    ) -> Result<Lookup<V::Row>, ReadStoreError> {
        self.shared.waiters.wait_for(id, version, patience, LOOK_AGAIN, || self.see(id)).await
    }

    pub(crate) async fn walk(&self) -> Result<Walk, ReadStoreError> {
        Ok(walk::read(&self.shared).await?)
    }

    pub(crate) async fn take_walk(&self, walker: Walker) -> Result<Option<Walk>, ReadStoreError> {
        Ok(walk::take(&self.shared, &walker).await?)
    }

    pub(crate) async fn step_walk(&self, walker: Walker, step: Step) -> Result<Option<Walk>, ReadStoreError> {
        Ok(walk::step(&self.shared, &walker, &step).await?)
    }

    pub(crate) async fn leave_walk(&self, name: &str) -> Result<(), ReadStoreError> {
        Ok(walk::leave(&self.shared, name).await?)
    }

    pub(crate) async fn doubt(&self, why: &str) -> Result<(), ReadStoreError> {
        Ok(walk::doubt(&self.shared, why, Timestamp::now()).await?)
    }

    pub(crate) async fn held_summary(&self) -> Result<Vec<HeldSummary>, ReadStoreError> {
        Ok(held::summary(&self.shared).await?)
    }

    pub(crate) async fn held(
        &self,
        stream: Option<&StreamId>,
        after: Option<HeldId>,
        limit: usize,
    ) -> Result<Vec<HeldEvent>, ReadStoreError> {
        Ok(held::list(&self.shared, stream, after, limit).await?)
    }

    pub(crate) async fn held_event(&self, id: HeldId) -> Result<Option<HeldEvent>, ReadStoreError> {
        Ok(held::one(&self.shared, id).await?)
    }

    pub(crate) async fn redrive(&self, stream: Option<&StreamId>) -> Result<RedriveCounts, ReadStoreError> {
        held::redrive(&self.shared, stream).await
    }

    pub(crate) async fn drop_held(&self, id: HeldId) -> Result<(), DropRefused> {
        held::drop_held(&self.shared, id).await
    }

    pub(crate) async fn begin_rebuild(&self) -> Result<ViewId, ReadStoreError> {
        rebuild::begin(&self.shared).await
    }

    pub(crate) async fn backfill(
        &self,
        view: ViewId,
        events: Vec<Recorded<V::Event>>,
    ) -> Result<ProjectionCounts, ReadStoreError> {
        rebuild::backfill(&self.shared, view, events).await
    }

    pub(crate) async fn take_over(
        &self,
        view: ViewId,
        entries: Vec<Entry<V::Row>>,
    ) -> Result<(), SwapRefused> {
        rebuild::take_over(&self.shared, view, entries).await
    }

    pub(crate) async fn set_aside(
        &self,
        view: ViewId,
        unreadable: Vec<(StreamId, String)>,
    ) -> Result<(), SwapRefused> {
        rebuild::set_aside(&self.shared, view, unreadable).await
    }

    pub(crate) async fn swap(&self, view: ViewId) -> Result<(), SwapRefused> {
        rebuild::swap(&self.shared, view).await
    }

    pub(crate) async fn compare(&self, view: ViewId, limit: usize) -> Result<Difference, ReadStoreError> {
        rebuild::compare(&self.shared, view, limit).await
    }

    pub(crate) async fn abandon(&self, view: ViewId) -> Result<(), ReadStoreError> {
        rebuild::abandon(&self.shared, view).await
    }

    pub(crate) async fn repair(&self, entries: Vec<Entry<V::Row>>) -> Result<u64, ReadStoreError> {
        rebuild::repair(&self.shared, entries).await
    }

    pub(crate) async fn remove(&self, ids: Vec<StreamId>) -> Result<u64, ReadStoreError> {
        rebuild::remove(&self.shared, ids).await
    }

    pub(crate) async fn register(&self, program: Program) -> Result<Registration, ReadStoreError> {
        programs::register(&self.shared, &program).await
    }

    pub(crate) async fn leave(&self, program: &str) -> Result<(), ReadStoreError> {
        Ok(programs::leave(&self.shared, program).await?)
    }

    pub(crate) async fn note_filled(&self) -> Result<(), ReadStoreError> {
        Ok(programs::note_filled(&self.shared).await?)
    }

    pub(crate) async fn ping(&self) -> Result<(), ReadStoreError> {
        Ok(read::ping(&self.shared).await?)
    }
}
