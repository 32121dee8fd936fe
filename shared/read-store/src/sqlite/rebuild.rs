//! Rebuild, blue/green, and the repair of single orders.

use std::thread;
use std::time::Duration;

use domain::{OrderId, RecordedEvent, Snapshot};
use jiff::Timestamp;
use runtime::{KillPoint, kill_point};
use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::rows::{self, Time, number};
use super::write::Writer;
use super::{project, schema};
use crate::{BehindOrder, Incoming, Projected, ReadStoreError, SwapRefused, ViewId};

/// How long a rebuild leaves the lock alone after each page. Longer than another process sleeps between its tries to get
/// it, so that its projector gets in between any two pages.
const COURTESY: Duration = Duration::from_millis(2);

impl Writer {
    pub(super) fn begin_rebuild(&mut self) -> Result<ViewId, ReadStoreError> {
        let transaction = self.begin()?;
        if let Some(unfinished) = schema::building_view(&transaction)? {
            schema::drop_view(&transaction, unfinished)?;
        }
        let view = schema::create_view(&transaction, "building")?;
        transaction.commit()?;
        kill_point(KillPoint::RebuildAfterBegin);
        self.tune(schema::FOR_REBUILD)?;
        Ok(view)
    }

    pub(super) fn backfill(
        &mut self,
        view: ViewId,
        events: Vec<RecordedEvent>,
    ) -> Result<Projected, ReadStoreError> {
        let now = Timestamp::now();
        let incoming: Vec<_> =
            events.into_iter().map(|event| Incoming::from_event_store(event, now)).collect();
        // Not synced page by page: should the machine stop, so does the rebuild, and the view is deleted by the next. What
        // others commit is not touched by that, nor is the swap: they sync all that stands before them in the log.
        self.tune("PRAGMA synchronous = NORMAL")?;
        let counts = self.fill(view, &incoming);
        self.tune("PRAGMA synchronous = FULL")?;
        thread::sleep(COURTESY);
        counts
    }

    fn fill(&mut self, view: ViewId, incoming: &[Incoming]) -> Result<Projected, ReadStoreError> {
        let transaction = self.begin()?;
        if schema::building_view(&transaction)? != Some(view) {
            return Err(ReadStoreError::NotBuilding(view));
        }
        let plan = project::take_in(&transaction, view, incoming)?;
        kill_point(KillPoint::RebuildBeforePageCommit);
        transaction.commit()?;
        kill_point(KillPoint::RebuildAfterPageCommit);
        Ok(plan.counts(0..incoming.len()))
    }

    pub(super) fn take_over(&mut self, view: ViewId, orders: &[Snapshot]) -> Result<(), SwapRefused> {
        let transaction = self.begin()?;
        check_building(&transaction, view)?;
        overwrite(&transaction, view, orders)?;
        let ids: Vec<OrderId> = orders.iter().map(|order| order.id.clone()).collect();
        project::settle(&transaction, view, &ids)?;
        Ok(transaction.commit().map_err(ReadStoreError::from)?)
    }

    pub(super) fn swap(&mut self, view: ViewId) -> Result<(), SwapRefused> {
        // A transaction of its own, so that the lock for the swap itself is held the shorter.
        let transaction = self.begin()?;
        check_building(&transaction, view)?;
        schema::create_indexes(&transaction, view)?;
        transaction.commit().map_err(ReadStoreError::from)?;
        kill_point(KillPoint::RebuildBeforeSwap);

        let transaction = self.begin()?;
        check_building(&transaction, view)?;
        let active = schema::active_view(&transaction)?;
        // Under the write lock: no batch is running, and none begins before the new view is the active one.
        refuse_behind(&transaction, active, view)?;
        carry_over(&transaction, active, view)?;
        schema::drop_view(&transaction, active)?;
        activate(&transaction, view)?;
        kill_point(KillPoint::RebuildBeforeSwapCommit);
        transaction.commit().map_err(ReadStoreError::from)?;
        kill_point(KillPoint::RebuildAfterSwapCommit);
        Ok(self.tune(schema::FOR_BATCHES)?)
    }

    pub(super) fn repair(&mut self, orders: &[Snapshot]) -> Result<u64, ReadStoreError> {
        let waiters = self.waiters.clone();
        let transaction = self.begin()?;
        let view = schema::active_view(&transaction)?;
        let written = overwrite(&transaction, view, orders)?;
        let ids: Vec<OrderId> = orders.iter().map(|order| order.id.clone()).collect();
        let plan = project::settle(&transaction, view, &ids)?;
        kill_point(KillPoint::BeforeRepairCommit);
        transaction.commit()?;
        kill_point(KillPoint::AfterRepairCommit);
        // Only what is surely in the view: a given row that was left alone may be older than what was there.
        waiters.tell(&plan.upserts);
        Ok(written)
    }

    pub(super) fn remove(&mut self, ids: &[OrderId]) -> Result<u64, ReadStoreError> {
        let transaction = self.begin()?;
        let view = schema::active_view(&transaction)?;
        let mut removed = 0;
        for id in ids {
            let mut row =
                transaction.prepare_cached(&format!("DELETE FROM orders_{} WHERE id = ?1", view.0))?;
            removed += row.execute([id.as_str()])? as u64;
            let mut held =
                transaction.prepare_cached("DELETE FROM held_events WHERE view = ?1 AND order_id = ?2")?;
            held.execute(params![view.0, id.as_str()])?;
        }
        kill_point(KillPoint::BeforeRepairCommit);
        transaction.commit()?;
        kill_point(KillPoint::AfterRepairCommit);
        Ok(removed)
    }
}

fn check_building(transaction: &Transaction<'_>, view: ViewId) -> Result<(), SwapRefused> {
    if schema::building_view(transaction)? == Some(view) {
        return Ok(());
    }
    Err(SwapRefused::NotBuilding(view))
}

/// Refuses while a reader could see an order go back, or an order would stop that goes on today: one that is behind in the
/// new view, or that waits there for a missing event and does not do so in the active one too.
fn refuse_behind(connection: &Connection, active: ViewId, view: ViewId) -> Result<(), SwapRefused> {
    let (old, new) = (active.0, view.0);
    let behind = format!(
        "SELECT has.id AS id, has.version AS active, ifnull(gets.version, 0) AS building
         FROM orders_{old} AS has LEFT JOIN orders_{new} AS gets ON gets.id = has.id
         WHERE ifnull(gets.version, 0) < has.version"
    );
    let stopped = format!(
        "SELECT DISTINCT gap.order_id, ifnull((SELECT version FROM orders_{old} WHERE id = gap.order_id), 0),
             ifnull((SELECT version FROM orders_{new} WHERE id = gap.order_id), 0)
         FROM held_events AS gap
         WHERE gap.view = {new} AND gap.reason = 'gap' AND NOT EXISTS (
             SELECT 1 FROM held_events AS same WHERE same.view = {old} AND same.order_id = gap.order_id
                 AND same.version > ifnull((SELECT version FROM orders_{old} WHERE id = gap.order_id), 0))"
    );
    // UNION, so that an order which is both counts once.
    let first = first_behind(connection, &format!("{behind} UNION {stopped}"))?;
    match first {
        Some((orders, first)) => Err(SwapRefused::Behind { orders, first }),
        None => Ok(()),
    }
}

fn first_behind(connection: &Connection, sql: &str) -> Result<Option<(u64, BehindOrder)>, ReadStoreError> {
    let sql = format!("SELECT id, active, building, count(*) OVER () FROM ({sql}) ORDER BY id LIMIT 1");
    let found = connection.query_row(&sql, [], |row| {
        let order = rows::order_id(row)?;
        let (active, building) = (rows::version(row.get(1)?), rows::version(row.get(2)?));
        Ok((row.get::<_, i64>(3)?.unsigned_abs(), BehindOrder { order, active, building }))
    });
    Ok(found.optional()?)
}

/// Moves what the active view holds and the new one does not, so that nothing is lost: an event that the new view's row
/// has not passed, and every record without an order or a version. They keep their numbers.
fn carry_over(connection: &Connection, active: ViewId, view: ViewId) -> Result<(), ReadStoreError> {
    let (old, new) = (active.0, view.0);
    let carried = format!(
        "UPDATE held_events AS held SET view = {new}
         WHERE view = {old}
           AND (order_id IS NULL OR version IS NULL
               OR version > ifnull((SELECT version FROM orders_{new} WHERE id = held.order_id), 0))
           AND NOT EXISTS (
               SELECT 1 FROM held_events AS same
               WHERE same.view = {new} AND same.order_id IS held.order_id AND same.version IS held.version
                 AND same.reason = held.reason
                 AND ((same.order_id IS NOT NULL AND same.version IS NOT NULL)
                     OR (same.topic = held.topic AND same.partition = held.partition AND same.offset = held.offset
                         AND same.key IS held.key AND same.value IS held.value)))
         RETURNING order_id"
    );
    let mut statement = connection.prepare(&carried)?;
    let orders = statement.query_map([], |row| {
        Ok(match row.get_ref(0)? {
            rusqlite::types::ValueRef::Null => None,
            _ => Some(rows::order_id(row)?),
        })
    })?;
    let mut orders = orders.filter_map(Result::transpose).collect::<Result<Vec<_>, _>>()?;
    orders.sort_unstable();
    orders.dedup();
    project::settle(connection, view, &orders)?;
    Ok(())
}

fn activate(connection: &Connection, view: ViewId) -> Result<(), ReadStoreError> {
    connection.execute("UPDATE views SET state = 'active' WHERE id = ?1", [view.0])?;
    Ok(())
}

fn overwrite(connection: &Connection, view: ViewId, orders: &[Snapshot]) -> Result<u64, ReadStoreError> {
    // What the projector has brought further meanwhile is right.
    let guard = "has.version <= excluded.version";
    let mut statement = connection.prepare_cached(&project::upsert_sql(view, guard))?;
    let mut written = 0;
    for order in orders {
        let (status, name, reason) = rows::details(&order.state);
        let (created, updated) = (Time(order.created_at), Time(order.updated_at));
        let id = order.id.as_str();
        let row = params![id, number(order.version), status, name, reason, created, updated];
        written += statement.execute(row)? as u64;
    }
    Ok(written)
}
