//! Rebuild, blue/green, and the repair of single orders.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use domain::{OrderId, RecordedEvent, Snapshot};
use jiff::Timestamp;
use runtime::{KillPoint, kill_point};
use sqlx::{AssertSqlSafe, PgConnection, Row, query, raw_sql};
use tokio::task::JoinSet;

use super::connections::{ANSWER, Lease, MAINTENANCE, within};
use super::failure::{self, Failed};
use super::transaction::{Lock, Transaction};
use super::{Shared, project, rows, schema, upsert, write};
use crate::plan::Plan;
use crate::{BehindOrder, Incoming, Projected, ReadStoreError, SwapRefused, ViewId};

/// How many events are worth a transaction of their own, beside others.
const LANE: usize = 1_000;

pub(super) async fn begin(shared: &Shared) -> Result<ViewId, ReadStoreError> {
    let beginning = async {
        // Alone: every transaction that begins after this one sees the new view.
        let mut transaction = Transaction::begin(&shared.connections, Lock::Alone).await?;
        let unfinished = transaction.views.building;
        let done = register(transaction.connection(), unfinished).await;
        transaction.end(done).await
    };
    let view = within(ANSWER, beginning).await?;
    kill_point(KillPoint::RebuildAfterBegin);
    Ok(view)
}

async fn register(connection: &mut PgConnection, unfinished: Option<ViewId>) -> Result<ViewId, Failed> {
    if let Some(unfinished) = unfinished {
        schema::drop_view(connection, unfinished).await?;
    }
    schema::create_view(connection, "building").await
}

/// Takes a page in, its orders dealt out to a few transactions side by side.
pub(super) async fn backfill(
    shared: &Arc<Shared>,
    view: ViewId,
    events: Vec<RecordedEvent>,
) -> Result<Projected, ReadStoreError> {
    let mut filling = JoinSet::new();
    for lane in lanes(events, shared.size) {
        let shared = Arc::clone(shared);
        filling.spawn(async move { write::until_not_overtaken(|| fill(&shared, view, &lane)).await });
    }
    let mut counts = Projected::default();
    while let Some(filled) = filling.join_next().await {
        counts += filled.map_err(|error| ReadStoreError::Unavailable(error.to_string()))??;
    }
    Ok(counts)
}

/// The events by order, those of an order together and as they come.
fn lanes(events: Vec<RecordedEvent>, connections: usize) -> Vec<Vec<Incoming>> {
    let now = Timestamp::now();
    let count = (events.len() / LANE).clamp(1, connections.clamp(1, 4));
    let mut lanes: Vec<Vec<Incoming>> = (0..count).map(|_| Vec::new()).collect();
    for event in events {
        let mut hasher = DefaultHasher::new();
        event.stream.hash(&mut hasher);
        let lane = hasher.finish() as usize % count;
        lanes[lane].push(Incoming::from_event_store(event, now));
    }
    lanes
}

async fn fill(shared: &Shared, view: ViewId, incoming: &[Incoming]) -> Result<Projected, Failed> {
    let mut transaction = Transaction::begin(&shared.connections, Lock::SharedUnsynced).await?;
    transaction.check_building(view)?;
    let done = project::take_in(transaction.connection(), view, incoming).await;
    kill_point(KillPoint::RebuildBeforePageCommit);
    let plan = transaction.end(done).await?;
    kill_point(KillPoint::RebuildAfterPageCommit);
    Ok(plan.counts(0..incoming.len()))
}

pub(super) async fn swap(shared: &Shared, view: ViewId) -> Result<(), SwapRefused> {
    within(MAINTENANCE, swap_in_steps(shared, view)).await?
}

async fn swap_in_steps(shared: &Shared, view: ViewId) -> Result<Result<(), SwapRefused>, Failed> {
    let lease = shared.connections.take_for_maintenance().await?;
    let transaction = Transaction::begin_on(lease, Lock::Shared).await?;
    if transaction.views.building != Some(view) {
        return Ok(Err(SwapRefused::NotBuilding(view)));
    }
    let active = transaction.views.active;
    let mut lease = transaction.commit_on().await?;
    // Before the lock for the swap itself, so that it is held the shorter.
    match prepare(&mut lease, active, view).await {
        Ok(None) => {}
        Ok(Some(behind)) => return Ok(Err(behind)),
        Err(Failed::Sql(error)) if failure::is_missing_table(&error) => {
            return Ok(Err(SwapRefused::NotBuilding(view)));
        }
        Err(failed) => return Err(failed),
    }
    kill_point(KillPoint::RebuildBeforeSwap);
    // Alone: no batch is running, and none begins before the new view is the active one.
    let mut transaction = Transaction::begin_on(lease, Lock::Alone).await?;
    if transaction.views.building != Some(view) {
        return Ok(Err(SwapRefused::NotBuilding(view)));
    }
    let active = transaction.views.active;
    let connection = transaction.connection();
    if let Some(behind) = find_behind(connection, active, view).await? {
        return Ok(Err(behind));
    }
    carry_over(connection, active, view).await?;
    schema::drop_view(connection, active).await?;
    query("UPDATE orders_views SET state = 'active' WHERE id = $1").bind(view.0).execute(connection).await?;
    kill_point(KillPoint::RebuildBeforeSwapCommit);
    transaction.commit_on().await?;
    kill_point(KillPoint::RebuildAfterSwapCommit);
    Ok(Ok(()))
}

/// Makes the indexes for the pages, and looks whether the swap would be refused as things are.
async fn prepare(lease: &mut Lease, active: ViewId, view: ViewId) -> Result<Option<SwapRefused>, Failed> {
    let connection = &mut lease.connection;
    drop_broken_indexes(connection, view).await?;
    for statement in create_indexes(view) {
        raw_sql(AssertSqlSafe(statement)).execute(&mut *connection).await?;
    }
    // So that the first pages are planned with what is in it.
    raw_sql(AssertSqlSafe(format!("ANALYZE orders_{}", view.0))).execute(&mut *connection).await?;
    find_behind(connection, active, view).await
}

/// Concurrently: the projector writes on meanwhile.
fn create_indexes(ViewId(view): ViewId) -> [String; 2] {
    schema::PAGE_INDEXES.map(|(name, columns)| {
        format!("CREATE INDEX CONCURRENTLY IF NOT EXISTS orders_{view}_{name} ON orders_{view} ({columns})")
    })
}

/// An index whose creation was broken off is there, but of no use.
async fn drop_broken_indexes(connection: &mut PgConnection, ViewId(view): ViewId) -> Result<(), Failed> {
    let broken = query(
        "SELECT indexrelid::regclass::text FROM pg_index WHERE indrelid = to_regclass($1) AND NOT indisvalid",
    )
    .bind(format!("orders_{view}"))
    .fetch_all(&mut *connection)
    .await?;
    for index in &broken {
        let name: &str = index.try_get(0)?;
        raw_sql(AssertSqlSafe(format!("DROP INDEX IF EXISTS {name}"))).execute(&mut *connection).await?;
    }
    Ok(())
}

/// Refuses while a reader could see an order go back, or an order would stop that goes on today: one that is behind in the
/// new view, or that waits there for a missing event and does not do so in the active one too.
async fn find_behind(
    connection: &mut PgConnection,
    ViewId(old): ViewId,
    ViewId(new): ViewId,
) -> Result<Option<SwapRefused>, Failed> {
    let behind = format!(
        "SELECT has.id AS id, has.version AS active, coalesce(gets.version, 0) AS building
         FROM orders_{old} AS has LEFT JOIN orders_{new} AS gets ON gets.id = has.id
         WHERE coalesce(gets.version, 0) < has.version"
    );
    let stopped = format!(
        "SELECT DISTINCT gap.order_id, coalesce((SELECT version FROM orders_{old} WHERE id = gap.order_id), 0),
             coalesce((SELECT version FROM orders_{new} WHERE id = gap.order_id), 0)
         FROM orders_held AS gap
         WHERE gap.view = {new} AND gap.reason = 'gap' AND NOT EXISTS (
             SELECT 1 FROM orders_held AS same WHERE same.view = {old} AND same.order_id = gap.order_id
                 AND same.version > coalesce((SELECT version FROM orders_{old} WHERE id = gap.order_id), 0))"
    );
    // UNION, so that an order which is both counts once.
    let sql = format!(
        "SELECT id, active, building, count(*) OVER () FROM ({behind} UNION {stopped}) AS found ORDER BY id LIMIT 1"
    );
    let Some(row) = query(AssertSqlSafe(sql)).persistent(false).fetch_optional(connection).await? else {
        return Ok(None);
    };
    let (active, building) = (rows::version(row.try_get(1)?), rows::version(row.try_get(2)?));
    let first = BehindOrder { order: rows::order_id(&row, 0)?, active, building };
    Ok(Some(SwapRefused::Behind { orders: rows::count(&row, 3)?, first }))
}

/// Moves what the active view holds and the new one does not, so that nothing is lost: an event that the new view's row
/// has not passed, and every record without an order or a version. They keep their numbers.
async fn carry_over(connection: &mut PgConnection, active: ViewId, view: ViewId) -> Result<(), Failed> {
    let (old, new) = (active.0, view.0);
    let sql = format!(
        "UPDATE orders_held AS held SET view = {new}
         WHERE view = {old}
           AND (order_id IS NULL OR version IS NULL
               OR version > coalesce((SELECT version FROM orders_{new} WHERE id = held.order_id), 0))
           AND NOT EXISTS (
               SELECT 1 FROM orders_held AS same
               WHERE same.view = {new} AND same.order_id IS NOT DISTINCT FROM held.order_id
                 AND same.version IS NOT DISTINCT FROM held.version AND same.reason = held.reason
                 AND ((same.order_id IS NOT NULL AND same.version IS NOT NULL)
                     OR (same.topic = held.topic AND same.partition = held.partition
                         AND same.record_offset = held.record_offset
                         AND same.key IS NOT DISTINCT FROM held.key
                         AND same.value IS NOT DISTINCT FROM held.value)))
         RETURNING order_id"
    );
    let carried = query(AssertSqlSafe(sql)).persistent(false).fetch_all(&mut *connection).await?;
    let mut orders: Vec<OrderId> = Vec::with_capacity(carried.len());
    for row in &carried {
        if row.try_get::<Option<&str>, _>(0)?.is_some() {
            orders.push(rows::order_id(row, 0)?);
        }
    }
    orders.sort_unstable();
    orders.dedup();
    project::settle(connection, view, &orders).await?;
    Ok(())
}

/// By id, as locks are taken, and of two for the same order the later.
fn in_turn(mut orders: Vec<Snapshot>) -> Vec<Snapshot> {
    orders.sort_unstable_by(|a, b| a.id.cmp(&b.id).then(b.version.cmp(&a.version)));
    orders.dedup_by(|later, first| later.id == first.id);
    orders
}

pub(super) async fn take_over(
    shared: &Shared,
    view: ViewId,
    orders: Vec<Snapshot>,
) -> Result<(), SwapRefused> {
    let orders = in_turn(orders);
    Ok(write::until_not_overtaken(|| try_to_take_over(shared, view, &orders)).await?)
}

async fn try_to_take_over(shared: &Shared, view: ViewId, orders: &[Snapshot]) -> Result<(), Failed> {
    let mut transaction = Transaction::begin(&shared.connections, Lock::SharedUnsynced).await?;
    transaction.check_building(view)?;
    let done = overwrite(transaction.connection(), view, orders).await;
    transaction.end(done).await.map(drop)
}

pub(super) async fn repair(shared: &Shared, orders: Vec<Snapshot>) -> Result<u64, ReadStoreError> {
    let orders = in_turn(orders);
    write::until_not_overtaken(|| try_repair(shared, &orders)).await
}

async fn try_repair(shared: &Shared, orders: &[Snapshot]) -> Result<u64, Failed> {
    let mut transaction = Transaction::begin(&shared.connections, Lock::Shared).await?;
    let view = transaction.views.active;
    let done = overwrite(transaction.connection(), view, orders).await;
    kill_point(KillPoint::BeforeRepairCommit);
    let (written, plan) = transaction.end(done).await?;
    kill_point(KillPoint::AfterRepairCommit);
    // Only what is surely in the view: a given row that was left alone may be older than what was there.
    shared.waiters.tell(&plan.upserts);
    Ok(written)
}

async fn overwrite(
    connection: &mut PgConnection,
    view: ViewId,
    orders: &[Snapshot],
) -> Result<(u64, Plan<'static>), Failed> {
    let ids: Vec<OrderId> = orders.iter().map(|order| order.id.clone()).collect();
    project::lock_orders(connection, view, &ids).await?;
    let written = upsert::repair(connection, view, orders).await?;
    Ok((written, project::settle(connection, view, &ids).await?))
}

pub(super) async fn remove(shared: &Shared, mut ids: Vec<OrderId>) -> Result<u64, ReadStoreError> {
    ids.sort_unstable();
    Ok(within(ANSWER, try_remove(shared, &ids)).await?)
}

async fn try_remove(shared: &Shared, ids: &[OrderId]) -> Result<u64, Failed> {
    let mut transaction = Transaction::begin(&shared.connections, Lock::Shared).await?;
    let view = transaction.views.active;
    let done = delete(transaction.connection(), view, ids).await;
    kill_point(KillPoint::BeforeRepairCommit);
    let removed = transaction.end(done).await?;
    kill_point(KillPoint::AfterRepairCommit);
    Ok(removed)
}

async fn delete(connection: &mut PgConnection, view: ViewId, ids: &[OrderId]) -> Result<u64, Failed> {
    project::lock_ids(connection, view, ids).await?;
    let ViewId(view) = view;
    // A row that only stood for held events was no order.
    let delete = format!(
        "WITH gone AS (DELETE FROM orders_{view} WHERE id = ANY($1) RETURNING version)
         SELECT count(*) FILTER (WHERE version > 0) FROM gone"
    );
    let gone = query(AssertSqlSafe(delete)).bind(rows::texts(ids)).fetch_one(&mut *connection).await?;
    query("DELETE FROM orders_held WHERE view = $1 AND order_id = ANY($2)")
        .bind(view)
        .bind(rows::texts(ids))
        .execute(connection)
        .await?;
    rows::count(&gone, 0)
}
