//! Rebuild, blue/green, and the repair of single streams.

use std::thread;
use std::time::Duration;

use event_sourcing::{Entry, Recorded, StreamId, View};
use jiff::Timestamp;
use runtime::{KillPoint, kill_point};
use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::rows;
use super::write::{Intake, Writer};
use super::{held, parts, project, schema};
use crate::plan::Plan;
use crate::shape::{self, Shape, Table};
use crate::swap;
use crate::{BehindStream, Difference, Incoming, ProjectionCounts, ReadStoreError, SwapRefused, ViewId};

/// The time for which a rebuild leaves the lock alone after each page. It is longer than another process sleeps between its tries
/// to get the lock, so that its projector gets in between any two pages.
const COURTESY: Duration = Duration::from_millis(2);

impl<V: View> Writer<V> {
    pub(super) fn begin_rebuild(&mut self) -> Result<ViewId, ReadStoreError> {
        let shape = self.shape;
        let transaction = self.begin()?;
        if let Some(unfinished) = schema::building_view(&transaction, shape)? {
            schema::drop_view(&transaction, unfinished)?;
        }
        let view = schema::create_view(&transaction, shape, "building")?;
        transaction.commit()?;
        kill_point(KillPoint::RebuildAfterBegin);
        self.tune(schema::FOR_REBUILD)?;
        Ok(view.id)
    }

    pub(super) fn backfill(
        &mut self,
        view: ViewId,
        events: Vec<Recorded<V::Event>>,
    ) -> Result<ProjectionCounts, ReadStoreError> {
        let now = Timestamp::now();
        let incoming: Vec<_> =
            events.into_iter().map(|event| Incoming::from_event_store(event, now)).collect();
        // Pages are not synced one by one. If the machine stops, so does the rebuild, and the next one deletes the view. That
        // touches neither the commits of others nor the swap: they sync all that stands before them in the log.
        self.tune("PRAGMA synchronous = NORMAL")?;
        let counts = match self.fill(view, &incoming, project::take_in) {
            Err(ReadStoreError::Refused(_)) => self.fill(view, &incoming, parts::in_parts),
            counts => counts,
        };
        self.tune("PRAGMA synchronous = FULL")?;
        thread::sleep(COURTESY);
        counts
    }

    fn fill<'i>(
        &mut self,
        view: ViewId,
        incoming: &'i [Incoming<V::Event>],
        take_in: Intake<'i, V>,
    ) -> Result<ProjectionCounts, ReadStoreError> {
        let shape = self.shape;
        let transaction = self.begin()?;
        let table = building(&transaction, shape, view)?;
        let plan = take_in(&transaction, table, incoming)?;
        kill_point(KillPoint::RebuildBeforePageCommit);
        transaction.commit()?;
        kill_point(KillPoint::RebuildAfterPageCommit);
        Ok(plan.counts(0..incoming.len()))
    }

    pub(super) fn take_over(&mut self, view: ViewId, entries: &[Entry<V::Row>]) -> Result<(), SwapRefused> {
        let shape = self.shape;
        let transaction = self.begin()?;
        let table = building(&transaction, shape, view)?;
        overwrite::<V>(&transaction, table, entries)?;
        Ok(transaction.commit().map_err(ReadStoreError::from)?)
    }

    pub(super) fn set_aside(
        &mut self,
        view: ViewId,
        unreadable: Vec<(StreamId, String)>,
    ) -> Result<(), SwapRefused> {
        let shape = self.shape;
        let transaction = self.begin()?;
        let table = building(&transaction, shape, view)?;
        let mut incoming = Vec::with_capacity(unreadable.len());
        for (stream, problem) in unreadable {
            let next = held::version_of(&transaction, table, &stream)?.next();
            incoming.push(Incoming::unreadable(stream, next, problem));
        }
        project::take_in::<V>(&transaction, table, &incoming)?;
        Ok(transaction.commit().map_err(ReadStoreError::from)?)
    }

    pub(super) fn swap(&mut self, view: ViewId) -> Result<(), SwapRefused> {
        // A transaction of its own, so that the lock for the swap itself is held for a shorter time.
        let shape = self.shape;
        let transaction = self.begin()?;
        schema::create_indexes(&transaction, building(&transaction, shape, view)?)?;
        transaction.commit().map_err(ReadStoreError::from)?;
        kill_point(KillPoint::RebuildBeforeSwap);

        let transaction = self.begin()?;
        let table = building(&transaction, shape, view)?;
        let active = schema::active_view(&transaction, shape)?;
        // Under the write lock: no batch is running, and none begins before the new view is the active one.
        refuse_behind(&transaction, active, table)?;
        carry_over::<V>(&transaction, active, table)?;
        schema::drop_view(&transaction, active)?;
        activate(&transaction, table)?;
        kill_point(KillPoint::RebuildBeforeSwapCommit);
        transaction.commit().map_err(ReadStoreError::from)?;
        kill_point(KillPoint::RebuildAfterSwapCommit);
        Ok(self.tune(schema::FOR_BATCHES)?)
    }

    pub(super) fn abandon(&mut self, view: ViewId) -> Result<(), ReadStoreError> {
        let shape = self.shape;
        let transaction = self.begin()?;
        schema::drop_view(&transaction, building(&transaction, shape, view)?)?;
        transaction.commit()?;
        self.tune(schema::FOR_BATCHES)
    }

    pub(super) fn repair(&mut self, entries: &[Entry<V::Row>]) -> Result<u64, ReadStoreError> {
        let (waiters, shape) = (self.waiters.clone(), self.shape);
        let transaction = self.begin()?;
        let view = schema::active_view(&transaction, shape)?;
        let (written, plan) = overwrite::<V>(&transaction, view, entries)?;
        kill_point(KillPoint::BeforeRepairCommit);
        transaction.commit()?;
        kill_point(KillPoint::AfterRepairCommit);
        // Tells only of entries that are surely in the view: a given entry that was left alone may be older than the view's.
        waiters.tell(&plan.upserts);
        Ok(written)
    }

    pub(super) fn remove(&mut self, ids: &[StreamId]) -> Result<u64, ReadStoreError> {
        let shape = self.shape;
        let transaction = self.begin()?;
        let view = schema::active_view(&transaction, shape)?;
        let mut removed = 0;
        for id in ids {
            let mut row = transaction.prepare_cached(&format!("DELETE FROM {view} WHERE id = ?1"))?;
            removed += row.execute([id.as_str()])? as u64;
            let mut held =
                transaction.prepare_cached("DELETE FROM read_store_held WHERE view = ?1 AND stream = ?2")?;
            held.execute(params![view.id.0, id.as_str()])?;
        }
        kill_point(KillPoint::BeforeRepairCommit);
        transaction.commit()?;
        kill_point(KillPoint::AfterRepairCommit);
        Ok(removed)
    }
}

/// Compares the active view with this one, which is being built.
pub(super) fn compare(
    connection: &mut Connection,
    shape: Shape,
    view: ViewId,
    limit: usize,
) -> Result<Difference, ReadStoreError> {
    let transaction = connection.transaction()?;
    let (active, building) =
        (schema::active_view(&transaction, shape)?, building(&transaction, shape, view)?);
    let mut statement = transaction.prepare(&swap::other_versions(active, building, limit))?;
    let streams = statement.query_map([], |row| {
        let (active, building) = (shape::version(row.get(1)?), shape::version(row.get(2)?));
        Ok(BehindStream { stream: rows::stream_id(row, 0)?, active, building })
    })?;
    let streams = streams.collect::<Result<Vec<_>, _>>()?;
    if !streams.is_empty() {
        return Ok(Difference { streams, rows: Vec::new() });
    }
    let mut statement = transaction.prepare(&swap::other_rows(active, building, limit))?;
    let rows = statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    Ok(Difference { streams, rows })
}

/// Returns the table of this view, if it is the one that is being built.
fn building(transaction: &Transaction<'_>, shape: Shape, view: ViewId) -> Result<Table, ReadStoreError> {
    let building = schema::building_view(transaction, shape)?;
    building.filter(|table| table.id == view).ok_or(ReadStoreError::NotBuilding(view))
}

/// Refuses while a stream is behind in the new view: a reader would see it go back. Refuses also while a stream waits for a
/// missing event there but not in the active view: it goes on today, and would stop.
fn refuse_behind(connection: &Connection, old: Table, new: Table) -> Result<(), SwapRefused> {
    let found = connection.query_row(&swap::behind(old.streams(), new.streams()), [], |row| {
        let stream = rows::stream_id(row, 0)?;
        let (active, building) = (shape::version(row.get(1)?), shape::version(row.get(2)?));
        Ok((row.get::<_, i64>(3)?.unsigned_abs(), BehindStream { stream, active, building }))
    });
    match found.optional().map_err(ReadStoreError::from)? {
        Some((streams, first)) => Err(SwapRefused::Behind { streams, first }),
        None => Ok(()),
    }
}

/// Moves the held events that the swap would lose, and lets those go on that have become next.
fn carry_over<V: View>(connection: &Connection, active: Table, view: Table) -> Result<(), ReadStoreError> {
    let mut statement = connection.prepare(&swap::carry_over(active.streams(), view.streams()))?;
    let streams = statement.query_map([], |row| {
        Ok(match row.get_ref(0)? {
            rusqlite::types::ValueRef::Null => None,
            _ => Some(rows::stream_id(row, 0)?),
        })
    })?;
    let mut streams = streams.filter_map(Result::transpose).collect::<Result<Vec<_>, _>>()?;
    streams.sort_unstable();
    streams.dedup();
    parts::settle::<V>(connection, view, &streams)?;
    Ok(())
}

fn activate(transaction: &Transaction<'_>, view: Table) -> Result<(), ReadStoreError> {
    let activate = "UPDATE read_store_views SET state = 'active', filled = 1 WHERE id = ?1";
    transaction.execute(activate, [view.id.0])?;
    schema::show_to_sql_tools(transaction, view)
}

/// Writes entries, and applies their held events that have become next. Returns the number of written entries, and the plan.
fn overwrite<V: View>(
    connection: &Connection,
    view: Table,
    entries: &[Entry<V::Row>],
) -> Result<(u64, Plan<'static, V>), ReadStoreError> {
    // A greater version comes from the projector, and is right.
    let guard = "has.version <= excluded.version";
    let mut statement = connection.prepare_cached(&project::upsert_sql(view, guard))?;
    let mut written = 0;
    for entry in entries {
        written += project::execute_upsert(&mut statement, view.shape, entry, None)? as u64;
    }
    let mut ids: Vec<StreamId> = entries.iter().map(|entry| entry.id.clone()).collect();
    ids.sort_unstable();
    ids.dedup();
    Ok((written, parts::settle(connection, view, &ids)?))
}
