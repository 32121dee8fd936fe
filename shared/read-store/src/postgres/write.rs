//! The projector's batches: all waiting calls, in as few transactions as possible, a few of them side by side.

use std::ops::Range;
use std::sync::Arc;

use event_sourcing::View;
use runtime::postgres::within;
use runtime::{KillPoint, kill_point};
use sqlx::PgConnection;

use super::connections::ANSWER;
use super::failure::Failure;
use super::shared::Shared;
use super::transaction::{Lock, Transaction};
use super::{parts, project};
use crate::calls::{Call, CallBatch};
use crate::plan::Plan;
use crate::shape::Table;
use crate::{Incoming, ProjectionCounts, ReadStoreError};

/// The maximum number of records in a transaction of more than one call.
const RECORDS: usize = 1_000;

/// The maximum number of tries of a batch. A batch begins anew if another projector was first with some of its new streams and
/// still has one of them. It also does so if the server chose it to end a deadlock. With each try, there are fewer streams left
/// for which that can happen.
const TRIES: usize = 20;

/// Takes in the batches of all these calls.
pub(super) async fn project<V: View>(shared: Arc<Shared<V>>, calls: Vec<Call<V::Event>>) {
    let mut calls = calls.into_iter().peekable();
    while let Some(first) = calls.next() {
        let mut records = first.records();
        let mut together = vec![first];
        while let Some(call) = calls.next_if(|call| records + call.records() <= RECORDS) {
            records += call.records();
            together.push(call);
        }
        project_together(&shared, CallBatch::of(together)).await;
    }
}

async fn project_together<V: View>(shared: &Shared<V>, merged: CallBatch<V::Event>) {
    let done = take_in(shared, &merged.incoming, &merged.ranges).await;
    if !merged.is_to_be_split(&done) {
        return merged.answer(done);
    }
    for call in merged.split() {
        let done = take_in(shared, &call.incoming, &call.ranges).await;
        call.answer(done);
    }
}

/// How records are taken into a view.
#[derive(Clone, Copy)]
pub(super) enum IntakeMode {
    /// All at once.
    AtOnce,
    /// Part by part, so that a row which the server refuses holds its stream alone.
    InParts,
}

impl IntakeMode {
    /// Takes records into a view.
    pub(super) async fn take_in<'a, V: View>(
        self,
        connection: &mut PgConnection,
        view: Table,
        incoming: &'a [Incoming<V::Event>],
    ) -> Result<Plan<'a, V>, Failure> {
        match self {
            Self::AtOnce => project::take_in(connection, view, incoming).await,
            Self::InParts => parts::in_parts(connection, view, incoming).await,
        }
    }
}

/// The number of records that a transaction takes in part by part. Each may cost a few dozen round trips, and a transaction must end
/// within [`ANSWER`].
pub(super) const PIECE: usize = 100;

/// Takes the records into every view, in one transaction. Returns the counts of each range of them in the active one. If the server
/// refuses a row, takes them in piece by piece, and each piece in parts.
async fn take_in<V: View>(
    shared: &Shared<V>,
    incoming: &[Incoming<V::Event>],
    ranges: &[Range<usize>],
) -> Result<Vec<ProjectionCounts>, ReadStoreError> {
    match until_not_overtaken(|| try_take_in(shared, incoming, ranges, IntakeMode::AtOnce)).await {
        Err(ReadStoreError::Refused(_)) => {}
        done => return done,
    }
    let mut counts = vec![ProjectionCounts::default(); ranges.len()];
    for (piece, first) in incoming.chunks(PIECE).zip((0..).step_by(PIECE)) {
        let place = |index: usize| index.clamp(first, first + piece.len()) - first;
        let of_piece: Vec<_> = ranges.iter().map(|range| place(range.start)..place(range.end)).collect();
        let done = until_not_overtaken(|| try_take_in(shared, piece, &of_piece, IntakeMode::InParts)).await?;
        counts.iter_mut().zip(done).for_each(|(count, more)| *count += more);
    }
    Ok(counts)
}

/// Runs a transaction, and again while others are first with some of its new streams, at most `TRIES` times.
pub(super) async fn until_not_overtaken<T, F: Future<Output = Result<T, Failure>>>(
    transaction: impl Fn() -> F,
) -> Result<T, ReadStoreError> {
    for _ in 1..TRIES {
        match within(ANSWER, transaction()).await {
            Err(Failure::Overtaken) => {}
            done => return Ok(done?),
        }
    }
    Ok(within(ANSWER, transaction()).await?)
}

async fn try_take_in<V: View>(
    shared: &Shared<V>,
    incoming: &[Incoming<V::Event>],
    ranges: &[Range<usize>],
    way: IntakeMode,
) -> Result<Vec<ProjectionCounts>, Failure> {
    let mut transaction = Transaction::begin(&shared.projectors, Lock::Shared).await?;
    let done = take_into_all::<V>(&mut transaction, incoming, way).await;
    kill_point(KillPoint::BeforeProjectorCommit);
    let plan = transaction.end(done).await?;
    kill_point(KillPoint::AfterProjectorCommit);
    shared.waiters.tell(&plan.upserts);
    Ok(ranges.iter().map(|range| plan.counts(range.clone())).collect())
}

/// Takes the records into every view, and returns the plan for the active one.
async fn take_into_all<'a, V: View>(
    transaction: &mut Transaction,
    incoming: &'a [Incoming<V::Event>],
    way: IntakeMode,
) -> Result<Plan<'a, V>, Failure> {
    let views = transaction.views;
    let plan = way.take_in(transaction.connection(), views.active, incoming).await?;
    if let Some(building) = views.building {
        way.take_in::<V>(transaction.connection(), building, incoming).await?;
    }
    Ok(plan)
}
