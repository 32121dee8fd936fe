//! Reads what a plan needs of a view and writes what it says, within the caller's transaction.

use std::collections::{BTreeSet, HashMap, HashSet};

use domain::{OrderId, Snapshot};
use rusqlite::{Connection, OptionalExtension, params};

use super::rows::{self, Time, number};
use crate::plan::{self, HeldRow, Hold, Known, Plan, Stray, Upsert};
use crate::{HeldId, Incoming, ReadStoreError, ViewId};

/// Takes records into a view.
pub(super) fn take_in<'a>(
    connection: &Connection,
    view: ViewId,
    incoming: &'a [Incoming],
) -> Result<Plan<'a>, ReadStoreError> {
    let mut known = known(connection, view, &plan::touched_orders(incoming))?;
    known.strays = strays(connection, view, incoming)?;
    let plan = plan::plan(known, incoming);
    write(connection, view, &plan)?;
    Ok(plan)
}

/// Lets the held events of these orders go on, after something else has changed a row or a held event.
pub(super) fn settle(
    connection: &Connection,
    view: ViewId,
    orders: &[OrderId],
) -> Result<Plan<'static>, ReadStoreError> {
    let plan = plan::plan(known(connection, view, orders)?, &[]);
    write(connection, view, &plan)?;
    Ok(plan)
}

fn known(connection: &Connection, view: ViewId, orders: &[OrderId]) -> Result<Known, ReadStoreError> {
    let rows = rows_of(connection, view, orders)?;
    let held = held_of(connection, view, orders)?;
    Ok(Known { rows, held, strays: BTreeSet::new() })
}

/// The statement that reads a row: a lookup each, in one transaction, which costs SQLite no more than one with all ids.
pub(super) fn row_sql(ViewId(view): ViewId) -> String {
    format!("SELECT {} FROM orders_{view} WHERE id = ?1", rows::ORDER_COLUMNS)
}

fn rows_of(
    connection: &Connection,
    view: ViewId,
    orders: &[OrderId],
) -> Result<HashMap<OrderId, Snapshot>, ReadStoreError> {
    let mut statement = connection.prepare_cached(&row_sql(view))?;
    let mut found = HashMap::with_capacity(orders.len());
    for order in orders {
        if let Some(row) = statement.query_row([order.as_str()], rows::snapshot).optional()? {
            found.insert(order.clone(), row);
        }
    }
    Ok(found)
}

/// The value only where it can become an event: what is not one may be large, and is of no use here.
pub(super) const HELD_ROWS: &str = "SELECT id, version, reason, CASE WHEN version IS NOT NULL THEN value END
     FROM held_events WHERE view = ?1 AND order_id = ?2";

/// Whether anything is held for any order: mostly nothing is, and nobody need ask order by order.
pub(super) const ANY_HELD: &str =
    "SELECT EXISTS (SELECT 1 FROM held_events WHERE view = ?1 AND order_id >= '')";

/// Whether anything is held for an order.
pub(super) const HELD_FOR: &str =
    "SELECT EXISTS (SELECT 1 FROM held_events WHERE view = ?1 AND order_id = ?2)";

/// Of these orders, each that something is held for.
pub(super) fn held_for<'o>(
    connection: &Connection,
    ViewId(view): ViewId,
    orders: impl IntoIterator<Item = &'o OrderId>,
) -> Result<HashSet<&'o OrderId>, ReadStoreError> {
    let mut held = HashSet::new();
    if !connection.prepare_cached(ANY_HELD)?.query_row([view], |row| row.get(0))? {
        return Ok(held);
    }
    let mut statement = connection.prepare_cached(HELD_FOR)?;
    for order in orders {
        if statement.query_row(params![view, order.as_str()], |row| row.get(0))? {
            held.insert(order);
        }
    }
    Ok(held)
}

fn held_of(
    connection: &Connection,
    view: ViewId,
    orders: &[OrderId],
) -> Result<HashMap<OrderId, Vec<HeldRow>>, ReadStoreError> {
    let mut found = HashMap::new();
    if !connection.prepare_cached(ANY_HELD)?.query_row([view.0], |row| row.get(0))? {
        return Ok(found);
    }
    let mut statement = connection.prepare_cached(HELD_ROWS)?;
    for order in orders {
        let held = statement.query_map(params![view.0, order.as_str()], |row| {
            let version = row.get::<_, Option<i64>>(1)?.map(rows::version);
            Ok(HeldRow { id: HeldId(row.get(0)?), version, reason: row.get(2)?, value: row.get(3)? })
        })?;
        let held = held.collect::<Result<Vec<_>, _>>()?;
        if !held.is_empty() {
            found.insert(order.clone(), held);
        }
    }
    Ok(found)
}

pub(super) const STRAYS: &str = "SELECT key, value FROM held_events
     WHERE view = ?1 AND topic = ?2 AND partition = ?3 AND offset = ?4
       AND (version IS NULL OR order_id IS NULL)";

/// The held records at the places of those that tell no order or no version.
fn strays(
    connection: &Connection,
    view: ViewId,
    incoming: &[Incoming],
) -> Result<BTreeSet<Stray>, ReadStoreError> {
    let mut found = BTreeSet::new();
    for Stray { origin, .. } in incoming.iter().filter_map(Stray::of) {
        let mut statement = connection.prepare_cached(STRAYS)?;
        let place = params![view.0, origin.topic, origin.partition, origin.offset];
        let records = statement.query_map(place, |row| {
            Ok(Stray { origin: origin.clone(), key: row.get(0)?, value: row.get(1)? })
        })?;
        for record in records {
            found.insert(record?);
        }
    }
    Ok(found)
}

fn write(connection: &Connection, view: ViewId, plan: &Plan<'_>) -> Result<(), ReadStoreError> {
    upsert(connection, view, &plan.upserts)?;
    hold(connection, view, &plan.holds)?;
    let gone = plan.releases.iter().map(|release| release.id).chain(plan.passed.iter().copied());
    for HeldId(id) in gone {
        connection.prepare_cached("DELETE FROM held_events WHERE id = ?1")?.execute([id])?;
    }
    Ok(())
}

/// What a write of a row sets, whatever guards it.
pub(super) fn upsert_sql(ViewId(view): ViewId, guard: &str) -> String {
    format!(
        "INSERT INTO orders_{view} AS has (id, version, status, name, reason, created_at, updated_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
         ON CONFLICT (id) DO UPDATE SET version = excluded.version, status = excluded.status,
             name = excluded.name, reason = excluded.reason,
             created_at = excluded.created_at, updated_at = excluded.updated_at
         WHERE {guard}"
    )
}

fn upsert(connection: &Connection, view: ViewId, upserts: &[Upsert]) -> Result<(), ReadStoreError> {
    // Exactly once: a row is only ever written over the version from which it was folded.
    let mut statement = connection.prepare_cached(&upsert_sql(view, "has.version = ?8"))?;
    for Upsert { from, row, .. } in upserts {
        let (status, name, reason) = rows::details(&row.state);
        let written = statement.execute(params![
            row.id.as_str(),
            number(row.version),
            status,
            name,
            reason,
            Time(row.created_at),
            Time(row.updated_at),
            number(*from),
        ])?;
        if written != 1 {
            return Err(ReadStoreError::Unavailable(format!(
                "order {} changed while it was written",
                row.id
            )));
        }
    }
    Ok(())
}

fn hold(connection: &Connection, view: ViewId, holds: &[Hold<'_>]) -> Result<(), ReadStoreError> {
    for hold in holds {
        let mut statement = connection.prepare_cached(
            "INSERT INTO held_events
                 (view, order_id, version, reason, problem, topic, partition, offset, key, value, held_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
        )?;
        let (verdict, origin) = (&hold.verdict, &hold.record.origin);
        statement.execute(params![
            view.0,
            verdict.order.as_ref().map(OrderId::as_str),
            verdict.version.map(number),
            verdict.reason.as_str(),
            verdict.problem,
            origin.topic,
            origin.partition,
            origin.offset,
            hold.record.key,
            hold.value(),
            Time(hold.record.received_at),
        ])?;
    }
    Ok(())
}
