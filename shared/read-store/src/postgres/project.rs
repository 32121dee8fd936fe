//! Reads what a plan needs of a view and writes what it says, within the caller's transaction.
//!
//! Of two transactions that touch the same order,
//! - when it has a row, the second waits for the row's lock, and then reads what is held for the order;
//! - when it has none, the second waits for the first one's insert, sees that it was overtaken and begins anew. Who holds
//!   an event for such an order therefore inserts a row too, at version 0.

use std::collections::{BTreeSet, HashMap, HashSet};

use domain::{OrderId, Snapshot, Version};
use sqlx::{AssertSqlSafe, PgConnection, Row, query};

use super::failure::Failed;
use super::rows;
use super::upsert;
use crate::plan::{self, HeldRow, Known, Plan, Stray, Upsert};
use crate::{HeldId, Incoming, Origin, ViewId};

/// Takes records into a view.
pub(super) async fn take_in<'a>(
    connection: &mut PgConnection,
    view: ViewId,
    incoming: &'a [Incoming],
) -> Result<Plan<'a>, Failed> {
    let orders = plan::touched_orders(incoming);
    let (rows, there) = lock_rows(connection, view, &orders).await?;
    // After the locks, and in a statement of its own: whoever had them may have held something.
    let held = held_of(connection, view, &orders).await?;
    let strays = strays(connection, view, incoming).await?;
    let plan = plan::plan(Known { rows, held, strays }, incoming);
    write(connection, view, &plan, &there).await?;
    Ok(plan)
}

/// Lets the held events of these orders go on, after something else has changed a row or a held event. The rows are
/// locked already.
pub(super) async fn settle(
    connection: &mut PgConnection,
    view: ViewId,
    orders: &[OrderId],
) -> Result<Plan<'static>, Failed> {
    let (rows, there) = lock_rows(connection, view, orders).await?;
    let held = held_of(connection, view, orders).await?;
    let plan = plan::plan(Known { rows, held, strays: BTreeSet::new() }, &[]);
    write(connection, view, &plan, &there).await?;
    Ok(plan)
}

/// Locks the rows of these orders, which are sorted, and makes one for each that has none. What a row says is not read: it
/// may be garbled, and about to be repaired.
pub(super) async fn lock_orders(
    connection: &mut PgConnection,
    view: ViewId,
    orders: &[OrderId],
) -> Result<(), Failed> {
    let there = lock_ids(connection, view, orders).await?;
    let absent: Vec<Snapshot> =
        orders.iter().filter(|order| !there.contains(*order)).cloned().map(Snapshot::absent).collect();
    upsert::insert(connection, view, &absent.iter().collect::<Vec<_>>()).await
}

/// Locks the rows of these orders, which are sorted; which there are.
pub(super) async fn lock_ids(
    connection: &mut PgConnection,
    ViewId(view): ViewId,
    orders: &[OrderId],
) -> Result<HashSet<OrderId>, Failed> {
    let sql = format!("SELECT id FROM orders_{view} WHERE id = ANY($1) ORDER BY id FOR UPDATE");
    let found = query(AssertSqlSafe(sql)).bind(rows::texts(orders)).fetch_all(connection).await?;
    found.iter().map(|row| rows::order_id(row, 0)).collect()
}

type Rows = HashMap<OrderId, Snapshot>;

/// The rows of these orders, locked by id; and which orders have one, be it at version 0.
async fn lock_rows(
    connection: &mut PgConnection,
    view: ViewId,
    orders: &[OrderId],
) -> Result<(Rows, HashSet<OrderId>), Failed> {
    let (mut found, mut there) = (Rows::with_capacity(orders.len()), HashSet::with_capacity(orders.len()));
    for ids in orders.chunks(upsert::ROWS) {
        let sql = format!("{} ORDER BY id FOR UPDATE", rows_sql(view));
        let rows = query(AssertSqlSafe(sql)).bind(rows::texts(ids)).fetch_all(&mut *connection).await?;
        for row in &rows {
            let row = rows::snapshot(row)?;
            there.insert(row.id.clone());
            found.insert(row.id.clone(), row);
        }
    }
    Ok((found, there))
}

/// The statement that reads rows by their ids, the first parameter.
pub(super) fn rows_sql(ViewId(view): ViewId) -> String {
    format!("SELECT {} FROM orders_{view} WHERE id = ANY($1)", rows::ORDER_COLUMNS)
}

/// No condition on the version: it would let the server walk through all that the view holds.
pub(super) const HELD_ROWS: &str =
    "SELECT order_id, id, version, reason, value FROM orders_held WHERE view = $1 AND order_id = ANY($2)";

async fn held_of(
    connection: &mut PgConnection,
    view: ViewId,
    orders: &[OrderId],
) -> Result<HashMap<OrderId, Vec<HeldRow>>, Failed> {
    let mut held: HashMap<OrderId, Vec<HeldRow>> = HashMap::new();
    let found = query(HELD_ROWS).bind(view.0).bind(rows::texts(orders)).fetch_all(connection).await?;
    for row in &found {
        let Some(version) = row.try_get::<Option<i64>, _>(2)? else { continue };
        held.entry(rows::order_id(row, 0)?).or_default().push(HeldRow {
            id: HeldId(row.try_get(1)?),
            version: rows::version(version),
            reason: rows::reason(row, 3)?,
            value: row.try_get(4)?,
        });
    }
    Ok(held)
}

/// The held records at the places of those that tell no order or no version.
async fn strays(
    connection: &mut PgConnection,
    view: ViewId,
    incoming: &[Incoming],
) -> Result<BTreeSet<Stray>, Failed> {
    let mut found = BTreeSet::new();
    let places: Vec<Origin> = incoming.iter().filter_map(Stray::of).map(|stray| stray.origin).collect();
    if places.is_empty() {
        return Ok(found);
    }
    // They have no row that could be locked. So that each is held once, those of a view are written one batch at a time.
    query("SELECT pg_advisory_xact_lock(('orders_held'::regclass::oid::bigint << 31) + $1)")
        .bind(view.0)
        .execute(&mut *connection)
        .await?;
    let topics: Vec<&str> = places.iter().map(|place| place.topic.as_str()).collect();
    let partitions: Vec<i32> = places.iter().map(|place| place.partition).collect();
    let offsets: Vec<i64> = places.iter().map(|place| place.offset).collect();
    let records = query(
        "SELECT topic, partition, record_offset, key, value FROM orders_held
         WHERE view = $1 AND (version IS NULL OR order_id IS NULL)
           AND (topic, partition, record_offset) IN (SELECT * FROM UNNEST($2::text[], $3::int[], $4::bigint[]))",
    )
    .bind(view.0)
    .bind(topics)
    .bind(partitions)
    .bind(offsets)
    .fetch_all(connection)
    .await?;
    for row in &records {
        let origin = Origin { topic: row.try_get(0)?, partition: row.try_get(1)?, offset: row.try_get(2)? };
        found.insert(Stray { origin, key: row.try_get(3)?, value: row.try_get(4)? });
    }
    Ok(found)
}

async fn write(
    connection: &mut PgConnection,
    view: ViewId,
    plan: &Plan<'_>,
    there: &HashSet<OrderId>,
) -> Result<(), Failed> {
    let is_new = |upsert: &&Upsert| upsert.from == Version::NONE && !there.contains(&upsert.row.id);
    let (new, known): (Vec<&Upsert>, Vec<&Upsert>) = plan.upserts.iter().partition(is_new);
    upsert::update(connection, view, &known).await?;
    let placeholders = placeholders(plan, there);
    let mut new: Vec<&Snapshot> = new.into_iter().map(|upsert| &upsert.row).chain(&placeholders).collect();
    // New rows are locks too, and are taken by id.
    new.sort_unstable_by(|a, b| a.id.cmp(&b.id));
    upsert::insert(connection, view, &new).await?;
    upsert::hold(connection, view, &plan.holds).await?;
    let gone: Vec<i64> = plan.releases.iter().map(|release| release.id.0).chain(passed(plan)).collect();
    if !gone.is_empty() {
        query("DELETE FROM orders_held WHERE id = ANY($1)").bind(gone).execute(connection).await?;
    }
    Ok(())
}

fn passed(plan: &Plan<'_>) -> impl Iterator<Item = i64> {
    plan.passed.iter().map(|HeldId(id)| *id)
}

/// Rows at version 0 for orders that have none and get none, and for which an event is held from now on.
fn placeholders(plan: &Plan<'_>, there: &HashSet<OrderId>) -> Vec<Snapshot> {
    let held = plan.holds.iter().filter(|hold| hold.verdict.version.is_some());
    let mut absent: HashSet<&OrderId> =
        held.filter_map(|hold| hold.verdict.order.as_ref()).filter(|order| !there.contains(*order)).collect();
    for upsert in &plan.upserts {
        absent.remove(&upsert.row.id);
    }
    absent.into_iter().cloned().map(Snapshot::absent).collect()
}
