//! The writer's thread: it takes all waiting calls, in as few transactions as possible.

use std::ops::Range;
use std::path::Path;

use event_sourcing::View;
use runtime::files::OpenedFile;
use runtime::{KillPoint, kill_point};
use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::{parts, project, schema};
use crate::calls::{Answer, Call, CallBatch};
use crate::plan::Plan;
use crate::shape::{Shape, Table};
use crate::waiters::Waiters;
use crate::{Incoming, OpenError, ProjectionCounts, ReadStoreError};

/// The writer of this process.
pub(super) struct Writer<V: View> {
    connection: Connection,
    opened: OpenedFile,
    pub(super) shape: Shape,
    pub(super) waiters: Waiters<V::Row>,
}

/// A job for the writer.
pub(super) enum Job<V: View> {
    /// Take in a batch, together with others that wait.
    Project(Call<V::Event>),
    /// Anything else, in a transaction of its own.
    Alone(Work<V>),
}

type Work<V> = Box<dyn FnOnce(&mut Writer<V>) + Send>;

impl<V: View> Job<V> {
    pub(super) fn project(batch: Vec<Incoming<V::Event>>, answer: Answer<ProjectionCounts>) -> Self {
        Self::Project(Call::new(batch, answer))
    }

    pub(super) fn alone(work: impl FnOnce(&mut Writer<V>) + Send + 'static) -> Self {
        Self::Alone(Box::new(work))
    }
}

impl<V: View> Writer<V> {
    pub(super) fn open(
        path: &Path,
        opened: OpenedFile,
        waiters: Waiters<V::Row>,
        shape: Shape,
    ) -> Result<Self, OpenError> {
        Ok(Self { connection: schema::connect(path, schema::FOR_BATCHES)?, opened, shape, waiters })
    }

    pub(super) fn work(&mut self, jobs: &mut Vec<Job<V>>) {
        let mut calls = Vec::new();
        for job in jobs.drain(..) {
            match job {
                Job::Project(call) => calls.push(call),
                Job::Alone(work) => {
                    self.project(std::mem::take(&mut calls));
                    work(self);
                }
            }
        }
        self.project(calls);
    }

    /// Begins a transaction that may write. It is immediate: it waits for the lock here, and not after a read whose result would
    /// then be out of date.
    pub(super) fn begin(&mut self) -> Result<Transaction<'_>, ReadStoreError> {
        Ok(self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?)
    }

    /// The connection, for a statement that is a transaction of its own.
    pub(super) const fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Changes the settings of the connection from now on.
    pub(super) fn tune(&self, pragmas: &str) -> Result<(), ReadStoreError> {
        Ok(self.connection.execute_batch(pragmas)?)
    }

    /// Takes in the batches of all these calls as one, and answers each with its own counts.
    fn project(&mut self, calls: Vec<Call<V::Event>>) {
        if calls.is_empty() {
            return;
        }
        let merged = CallBatch::of(calls);
        let done = self.take_in(&merged.incoming, &merged.ranges);
        if !merged.is_to_be_split(&done) {
            return merged.answer(done);
        }
        for call in merged.split() {
            let done = self.take_in(&call.incoming, &call.ranges);
            call.answer(done);
        }
    }

    /// Takes the records into every view, in one transaction. Returns the counts of each range of them in the active one. If the
    /// database refuses a row, the same is done in parts.
    fn take_in(
        &mut self,
        incoming: &[Incoming<V::Event>],
        ranges: &[Range<usize>],
    ) -> Result<Vec<ProjectionCounts>, ReadStoreError> {
        let plan = match self.take_in_by(incoming, project::take_in) {
            Err(ReadStoreError::Refused(_)) => self.take_in_by(incoming, parts::in_parts),
            done => done,
        }?;
        // A batch is done only if the file at the path has it. Otherwise it comes again.
        self.opened.check()?;
        self.waiters.tell(&plan.upserts);
        Ok(ranges.iter().map(|range| plan.counts(range.clone())).collect())
    }

    fn take_in_by<'i>(
        &self,
        incoming: &'i [Incoming<V::Event>],
        take_in: Intake<'i, V>,
    ) -> Result<Plan<'i, V>, ReadStoreError> {
        let connection = &self.connection;
        // As `begin`, but with prepared statements from the cache: this is most of the writer's work.
        connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        let done = take_into_every_view(connection, self.shape, incoming, take_in).and_then(|plan| {
            kill_point(KillPoint::BeforeProjectorCommit);
            connection.prepare_cached("COMMIT")?.execute([])?;
            kill_point(KillPoint::AfterProjectorCommit);
            Ok(plan)
        });
        // After some errors SQLite itself has rolled back.
        if done.is_err() && !connection.is_autocommit() {
            connection.execute_batch("ROLLBACK")?;
        }
        done
    }
}

/// Takes records into a view: at once, or in parts.
pub(super) type Intake<'i, V> =
    fn(&Connection, Table, &'i [Incoming<<V as View>::Event>]) -> Result<Plan<'i, V>, ReadStoreError>;

/// Takes the records into every view, and returns the plan for the active one.
fn take_into_every_view<'a, V: View>(
    connection: &Connection,
    shape: Shape,
    incoming: &'a [Incoming<V::Event>],
    take_in: Intake<'a, V>,
) -> Result<Plan<'a, V>, ReadStoreError> {
    let plan = take_in(connection, schema::active_view(connection, shape)?, incoming)?;
    if let Some(building) = schema::building_view(connection, shape)? {
        take_in(connection, building, incoming)?;
    }
    Ok(plan)
}
