//! Reads what a plan needs of a view and writes what it says, within the caller's transaction.
//!
//! Of two transactions that touch the same order,
//! - when it has a row, the second waits for the row's lock, and then reads what is held for the order;
//! - when it has none, the second waits for the first one's insert, and then goes by the row that it finds. Who holds an
//!   event for such an order therefore inserts a row too, at version 0.

use std::collections::{BTreeSet, HashMap, HashSet};

use domain::{OrderId, Snapshot};
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
    let rows = lock_rows(connection, view, &orders).await?;
    // After the locks, and in a statement of its own: whoever had them may have held something.
    let held = held_of(connection, view, &orders).await?;
    let strays = strays(connection, view, incoming).await?;
    plan_and_write(connection, view, Known { rows, held, strays }, incoming).await
}

/// Lets the held events of these orders go on, after something else has changed a row or a held event. The rows are
/// locked already.
pub(super) async fn settle(
    connection: &mut PgConnection,
    view: ViewId,
    orders: &[OrderId],
) -> Result<Plan<'static>, Failed> {
    let rows = lock_rows(connection, view, orders).await?;
    let held = held_of(connection, view, orders).await?;
    plan_and_write(connection, view, Known { rows, held, strays: BTreeSet::new() }, &[]).await
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
    let overtaken = upsert::insert(connection, view, &absent.iter().collect::<Vec<_>>()).await?;
    if overtaken == 0 { Ok(()) } else { Err(Failed::Overtaken) }
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

/// The rows of these orders, be they at version 0, locked by id.
async fn lock_rows(connection: &mut PgConnection, view: ViewId, orders: &[OrderId]) -> Result<Rows, Failed> {
    let sql = format!("{} ORDER BY id FOR UPDATE", rows_sql(view));
    rows_by(connection, &sql, &rows::texts(orders)).await
}

/// What the statement finds of these ids.
async fn rows_by(connection: &mut PgConnection, sql: &str, ids: &[&str]) -> Result<Rows, Failed> {
    let mut found = Rows::with_capacity(ids.len());
    for ids in ids.chunks(upsert::ROWS) {
        for row in &query(AssertSqlSafe(sql)).bind(ids).fetch_all(&mut *connection).await? {
            let row = rows::snapshot(row)?;
            found.insert(row.id.clone(), row);
        }
    }
    Ok(found)
}

/// The statement that reads rows by their ids, the first parameter.
pub(super) fn rows_sql(ViewId(view): ViewId) -> String {
    format!("SELECT {} FROM orders_{view} WHERE id = ANY($1)", rows::ORDER_COLUMNS)
}

/// Mostly nothing is held at all, which the first question finds. Then they are looked up one by one, and ordered by what only
/// their own index is: while little was held, the server would choose to read all that the view holds, and keep to it. The value
/// only where it can become an event: what is not one may be large, and is of no use here.
pub(super) const HELD_ROWS: &str = "SELECT held.* FROM UNNEST($2::text[]) AS asked (id)
     CROSS JOIN LATERAL (
         SELECT order_id, id, version, reason, CASE WHEN version IS NOT NULL THEN value END FROM orders_held
         WHERE view = $1 AND order_id = asked.id ORDER BY version OFFSET 0
     ) AS held
     WHERE (SELECT true FROM orders_held WHERE view = $1 AND order_id IS NOT NULL ORDER BY order_id LIMIT 1)";

async fn held_of(
    connection: &mut PgConnection,
    view: ViewId,
    orders: &[OrderId],
) -> Result<HashMap<OrderId, Vec<HeldRow>>, Failed> {
    let mut held: HashMap<OrderId, Vec<HeldRow>> = HashMap::new();
    let found = query(HELD_ROWS).bind(view.0).bind(rows::texts(orders)).fetch_all(connection).await?;
    for row in &found {
        held.entry(rows::order_id(row, 0)?).or_default().push(HeldRow {
            id: HeldId(row.try_get(1)?),
            version: row.try_get::<Option<i64>, _>(2)?.map(rows::version),
            reason: rows::reason(row, 3)?,
            value: row.try_get(4)?,
        });
    }
    Ok(held)
}

/// They have no row that could be locked. So that each is held once, those of a partition are written one batch at a time;
/// and not those of all partitions, which would let no two batches with poison be written side by side.
const LOCK_STRAYS: &str = "SELECT pg_advisory_xact_lock(key) FROM (
         SELECT DISTINCT hashtextextended(concat_ws(' ', $1::bigint, partition, topic), 'orders_held'::regclass::oid::bigint)
         FROM UNNEST($2::text[], $3::int[]) AS place (topic, partition) ORDER BY 1
     ) AS locks (key)";

/// Looked up one by one, and ordered by what only their own index is: while there were few, the server would choose to read
/// all that the view holds, and keep to it.
pub(super) const STRAYS: &str =
    "SELECT kept.* FROM UNNEST($2::text[], $3::int[], $4::bigint[]) AS place (topic, partition, at)
     CROSS JOIN LATERAL (
         SELECT topic, partition, record_offset, key, value FROM orders_held AS held
         WHERE view = $1 AND (version IS NULL OR order_id IS NULL) AND held.topic = place.topic
             AND held.partition = place.partition AND record_offset BETWEEN place.at AND place.at
         ORDER BY record_offset OFFSET 0
     ) AS kept";

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
    let topics: Vec<&str> = places.iter().map(|place| place.topic.as_str()).collect();
    let partitions: Vec<i32> = places.iter().map(|place| place.partition).collect();
    let offsets: Vec<i64> = places.iter().map(|place| place.offset).collect();
    query(LOCK_STRAYS).bind(view.0).bind(&topics).bind(&partitions).execute(&mut *connection).await?;
    let statement = query(STRAYS).bind(view.0).bind(topics).bind(partitions).bind(offsets);
    let records = statement.fetch_all(connection).await?;
    for row in &records {
        let origin = Origin { topic: row.try_get(0)?, partition: row.try_get(1)?, offset: row.try_get(2)? };
        found.insert(Stray { origin, key: row.try_get(3)?, value: row.try_get(4)? });
    }
    Ok(found)
}

/// Writes what is planned by what is known.
async fn plan_and_write<'a>(
    connection: &mut PgConnection,
    view: ViewId,
    mut known: Known,
    incoming: &'a [Incoming],
) -> Result<Plan<'a>, Failed> {
    let mut plan = plan::plan(known.clone(), incoming);
    let placeholders = placeholders(&plan, &known.rows);
    let planned = plan.upserts.iter().map(|upsert| &upsert.row);
    let mut new: Vec<&Snapshot> =
        planned.filter(|row| !known.rows.contains_key(&row.id)).chain(&placeholders).collect();
    // New rows are locks too, and are taken by id.
    new.sort_unstable_by(|a, b| a.id.cmp(&b.id));
    let overtaken = upsert::insert(connection, view, &new).await?;
    if overtaken > 0 {
        // What became of all other orders is planned as before.
        let rows = lock_rows_of_others(connection, view, &new, overtaken).await?;
        let orders: Vec<OrderId> = rows.keys().cloned().collect();
        known.held.extend(held_of(connection, view, &orders).await?);
        known.rows.extend(rows);
        plan = plan::plan(known.clone(), incoming);
    }
    write_known(connection, view, &plan, &known.rows).await?;
    Ok(plan)
}

/// Locks the rows that others have made instead of these: so many.
///
/// # Errors
/// [`Failed::Overtaken`] when one of them is locked or gone already. To wait for it might be to wait in a circle.
async fn lock_rows_of_others(
    connection: &mut PgConnection,
    view: ViewId,
    new: &[&Snapshot],
    count: usize,
) -> Result<Rows, Failed> {
    let ids: Vec<&str> = new.iter().map(|row| row.id.as_str()).collect();
    let found = rows_by(connection, &rows_of_others_sql(view), &ids).await?;
    if found.len() == count { Ok(found) } else { Err(Failed::Overtaken) }
}

/// The statement that locks, of the rows with these ids, those that this transaction has not made.
pub(super) fn rows_of_others_sql(view: ViewId) -> String {
    format!("{} AND xmin <> pg_current_xact_id()::xid ORDER BY id FOR UPDATE SKIP LOCKED", rows_sql(view))
}

/// Writes the plan, but for the rows that it makes.
async fn write_known(
    connection: &mut PgConnection,
    view: ViewId,
    plan: &Plan<'_>,
    there: &Rows,
) -> Result<(), Failed> {
    let known: Vec<&Upsert> =
        plan.upserts.iter().filter(|upsert| there.contains_key(&upsert.row.id)).collect();
    upsert::update(connection, view, &known).await?;
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
fn placeholders(plan: &Plan<'_>, there: &Rows) -> Vec<Snapshot> {
    let held = plan.holds.iter().filter(|hold| hold.verdict.version.is_some());
    let mut absent: HashSet<&OrderId> = held
        .filter_map(|hold| hold.verdict.order.as_ref())
        .filter(|order| !there.contains_key(*order))
        .collect();
    for upsert in &plan.upserts {
        absent.remove(&upsert.row.id);
    }
    absent.into_iter().cloned().map(Snapshot::absent).collect()
}
