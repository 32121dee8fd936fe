//! Held events: shown, tried again, dropped.

use std::collections::HashMap;

use domain::{OrderId, Version};
use runtime::{KillPoint, kill_point};
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgConnection, Row, query};

use super::connections::{ANSWER, within};
use super::failure::Failed;
use super::rows::{self, HELD_COLUMNS, number};
use super::transaction::{Lock, Transaction, Views};
use super::{Shared, project, write};
use crate::plan::{Plan, Verdict};
use crate::{DropRefused, HeldEvent, HeldId, HeldSummary, ReadStoreError, Redriven, ViewId};

/// How many held events are tried again in one transaction.
const REDRIVE_PAGE: usize = 500;

/// The condition that keeps to the active view.
const ACTIVE: &str = "view = (SELECT id FROM orders_views WHERE state = 'active')";

pub(super) async fn summary(shared: &Shared) -> Result<Vec<HeldSummary>, Failed> {
    let sql = format!(
        "SELECT reason, count(*), count(DISTINCT order_id) FROM orders_held
         WHERE {ACTIVE} GROUP BY reason ORDER BY reason"
    );
    let found = shared.connections.rows(|| query(AssertSqlSafe(sql.as_str()))).await?;
    let summary = found.iter().map(|row| {
        let (events, orders) = (rows::count(row, 1)?, rows::count(row, 2)?);
        Ok(HeldSummary { reason: rows::reason(row, 0)?, events, orders })
    });
    summary.collect()
}

/// The condition that narrows a read of held events to one order, its id being the third parameter.
fn of_order(order: Option<&OrderId>) -> &'static str {
    if order.is_some() { "AND order_id = $3" } else { "AND $3::text IS NULL" }
}

pub(super) async fn list(
    shared: &Shared,
    order: Option<&OrderId>,
    after: Option<HeldId>,
    limit: usize,
) -> Result<Vec<HeldEvent>, Failed> {
    let sql = format!(
        "SELECT {HELD_COLUMNS} FROM orders_held WHERE {ACTIVE} AND id > $1 {} ORDER BY id LIMIT $2",
        of_order(order)
    );
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let after = after.map_or(0, |HeldId(id)| id);
    let page = || query(AssertSqlSafe(sql.as_str())).bind(after).bind(limit).bind(order.map(OrderId::as_str));
    shared.connections.rows(page).await?.iter().map(rows::held_event).collect()
}

pub(super) async fn one(shared: &Shared, HeldId(id): HeldId) -> Result<Option<HeldEvent>, Failed> {
    let found = shared.connections.rows(|| query(AssertSqlSafe(one_sql())).bind(id)).await?;
    found.first().map(rows::held_event).transpose()
}

fn one_sql() -> String {
    format!("SELECT {HELD_COLUMNS} FROM orders_held WHERE id = $1 AND {ACTIVE}")
}

/// How many events the active view holds, of all orders or of one.
async fn count(shared: &Shared, order: Option<&OrderId>) -> Result<u64, Failed> {
    let sql =
        format!("SELECT count(*) FROM orders_held WHERE {ACTIVE} AND ($1::text IS NULL OR order_id = $1)");
    let order = order.map(OrderId::as_str);
    let found = shared.connections.rows(|| query(AssertSqlSafe(sql.as_str())).bind(order)).await?;
    found.first().map_or(Ok(0), |row| rows::count(row, 0))
}

pub(super) async fn redrive(shared: &Shared, order: Option<&OrderId>) -> Result<Redriven, ReadStoreError> {
    let (mut redriven, mut after) = (Redriven::default(), Some(HeldId(0)));
    // A page is a transaction, so that neither memory nor the projector's wait grow with what is held.
    while let Some(from) = after {
        let page = write::until_not_overtaken(|| redrive_page(shared, order, from)).await?;
        redriven.applied += page.applied;
        redriven.removed += page.removed;
        after = page.last;
    }
    redriven.held = count(shared, order).await?;
    Ok(redriven)
}

/// What became of a page of held events.
struct RedrivenPage {
    applied: u64,
    removed: u64,
    /// The last of the page; none when there is no further page.
    last: Option<HeldId>,
}

/// Judges the held events after `after` anew, of every view, and lets those go on that can. That the page is by id and not
/// by version makes no difference: whatever becomes next is applied, also of pages before.
async fn redrive_page(
    shared: &Shared,
    order: Option<&OrderId>,
    after: HeldId,
) -> Result<RedrivenPage, Failed> {
    let mut transaction = Transaction::begin(&shared.connections, Lock::Shared).await?;
    let views = transaction.views;
    let done = redrive_in(transaction.connection(), views, order, after).await;
    kill_point(KillPoint::BeforeRedriveCommit);
    let (page, plan) = transaction.end(done).await?;
    kill_point(KillPoint::AfterRedriveCommit);
    shared.waiters.tell(&plan.upserts);
    Ok(page)
}

async fn redrive_in(
    connection: &mut PgConnection,
    views: Views,
    order: Option<&OrderId>,
    after: HeldId,
) -> Result<(RedrivenPage, Plan<'static>), Failed> {
    let page = page_of_all_views(connection, order, after).await?;
    let ids: Vec<i64> = page.iter().map(|(_, event)| event.id.0).collect();
    let mut orders = orders_by_view(&page);
    for view in views.all() {
        project::lock_orders(connection, view, orders.entry(view).or_default()).await?;
    }
    // Some may have gone before their orders were locked.
    for event in held_by_id(connection, &ids).await? {
        judge_again(connection, &event).await?;
    }
    let plan = project::settle(connection, views.active, orders.entry(views.active).or_default()).await?;
    if let Some(building) = views.building {
        project::settle(connection, building, orders.entry(building).or_default()).await?;
    }
    let last = page.last().filter(|_| page.len() == REDRIVE_PAGE).map(|(_, event)| event.id);
    let (applied, removed) = (plan.releases.len() as u64, plan.passed.len() as u64);
    Ok((RedrivenPage { applied, removed, last }, plan))
}

async fn page_of_all_views(
    connection: &mut PgConnection,
    order: Option<&OrderId>,
    HeldId(after): HeldId,
) -> Result<Vec<(ViewId, HeldEvent)>, Failed> {
    let sql = format!(
        "SELECT {HELD_COLUMNS}, view FROM orders_held WHERE id > $1 {} ORDER BY id LIMIT $2",
        of_order(order)
    );
    let page =
        query(AssertSqlSafe(sql)).bind(after).bind(REDRIVE_PAGE as i64).bind(order.map(OrderId::as_str));
    let found = page.fetch_all(connection).await?;
    found.iter().map(|row| Ok((ViewId(row.try_get(11)?), rows::held_event(row)?))).collect()
}

/// The orders that a new judgement of these events may free, by id, each once.
fn orders_by_view(page: &[(ViewId, HeldEvent)]) -> HashMap<ViewId, Vec<OrderId>> {
    let mut orders: HashMap<ViewId, Vec<OrderId>> = HashMap::new();
    for (view, event) in page {
        orders.entry(*view).or_default().extend(today(event).order);
    }
    for orders in orders.values_mut() {
        orders.sort_unstable();
        orders.dedup();
    }
    orders
}

fn today(event: &HeldEvent) -> Verdict {
    Verdict::again(event.key.as_deref(), event.value.as_deref())
}

async fn held_by_id(connection: &mut PgConnection, ids: &[i64]) -> Result<Vec<HeldEvent>, Failed> {
    let sql = format!("SELECT {HELD_COLUMNS} FROM orders_held WHERE id = ANY($1) ORDER BY id");
    let found = query(AssertSqlSafe(sql)).bind(ids).fetch_all(connection).await?;
    found.iter().map(rows::held_event).collect()
}

/// Writes down what a held event is by the judgement of today.
async fn judge_again(connection: &mut PgConnection, event: &HeldEvent) -> Result<(), Failed> {
    let today = today(event);
    let HeldEvent { order, version, reason, problem, .. } = event;
    let said = rows::text(&today.problem);
    if (order, version, reason, problem) == (&today.order, &today.version, &today.reason, &said) {
        return Ok(());
    }
    query("UPDATE orders_held SET order_id = $2, version = $3, reason = $4, problem = $5 WHERE id = $1")
        .bind(event.id.0)
        .bind(today.order.as_ref().map(OrderId::as_str))
        .bind(today.version.map(number))
        .bind(today.reason.as_str())
        .bind(said)
        .execute(connection)
        .await?;
    Ok(())
}

pub(super) async fn drop_held(shared: &Shared, id: HeldId) -> Result<(), DropRefused> {
    within(ANSWER, drop_unless_needed(shared, id)).await?
}

async fn drop_unless_needed(shared: &Shared, id: HeldId) -> Result<Result<(), DropRefused>, Failed> {
    let mut transaction = Transaction::begin(&shared.connections, Lock::Shared).await?;
    let active = transaction.views.active;
    let done = drop_in(transaction.connection(), active, id).await;
    transaction.end(done).await
}

async fn drop_in(
    connection: &mut PgConnection,
    active: ViewId,
    id: HeldId,
) -> Result<Result<(), DropRefused>, Failed> {
    let one = async |connection: &mut PgConnection| {
        query(AssertSqlSafe(one_sql())).bind(id.0).fetch_optional(connection).await
    };
    let as_event = |row: Option<PgRow>| row.as_ref().map(rows::held_event).transpose();
    let Some(HeldEvent { order, version, .. }) = as_event(one(connection).await?)? else {
        return Ok(Err(DropRefused::NotHeld(id)));
    };
    if let (Some(order), Some(version)) = (order, version) {
        let have = lock_version(connection, active, &order).await?;
        if version > have {
            return Ok(Err(DropRefused::Needed { id, order, version, have }));
        }
    }
    // Again, now that the order's row is locked.
    let Some(event) = as_event(one(connection).await?)? else {
        return Ok(Err(DropRefused::NotHeld(id)));
    };
    delete_everywhere(connection, &event).await?;
    Ok(Ok(()))
}

/// The version of an order in a view, locked there; 0 where it has none.
async fn lock_version(
    connection: &mut PgConnection,
    ViewId(view): ViewId,
    order: &OrderId,
) -> Result<Version, Failed> {
    let sql = format!("SELECT version FROM orders_{view} WHERE id = $1 FOR UPDATE");
    let row = query(AssertSqlSafe(sql)).bind(order.as_str()).fetch_optional(connection).await?;
    row.map_or(Ok(Version::NONE), |row| Ok(rows::version(row.try_get(0)?)))
}

/// Deletes a held event, and a record without a version also from a view that is being built, which holds a copy. One with
/// a version may be next there; else it goes when the row has passed it.
async fn delete_everywhere(connection: &mut PgConnection, event: &HeldEvent) -> Result<(), Failed> {
    query("DELETE FROM orders_held WHERE id = $1").bind(event.id.0).execute(&mut *connection).await?;
    if event.version.is_some() && event.order.is_some() {
        return Ok(());
    }
    query(
        "DELETE FROM orders_held
         WHERE view IN (SELECT id FROM orders_views) AND topic = $1 AND partition = $2 AND record_offset = $3
           AND key IS NOT DISTINCT FROM $4 AND value IS NOT DISTINCT FROM $5
           AND (version IS NULL OR order_id IS NULL)",
    )
    .bind(&event.origin.topic)
    .bind(event.origin.partition)
    .bind(event.origin.offset)
    .bind(&event.key)
    .bind(&event.value)
    .execute(connection)
    .await?;
    Ok(())
}
