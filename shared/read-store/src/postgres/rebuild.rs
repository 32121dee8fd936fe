//! Rebuild, blue/green, and the repair of single streams.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use event_sourcing::{Entry, Recorded, StreamId, View};
use jiff::Timestamp;
use runtime::postgres::{Lease, within};
use runtime::{KillPoint, kill_point};
use sqlx::{AssertSqlSafe, PgConnection, Row as _, query, raw_sql};
use tokio::task::JoinSet;

use super::connections::{ANSWER, MAINTENANCE};
use super::failure::{self, Failure};
use super::shared::Shared;
use super::transaction::{Lock, Transaction};
use super::write::IntakeMode;
use super::{parts, project, rows, schema, upsert, write};
use crate::plan::Plan;
use crate::shape::{self, Shape, Table};
use crate::swap;
use crate::{BehindStream, Difference, Incoming, ProjectionCounts, ReadStoreError, SwapRefused, ViewId};

/// The number of events that are worth one more transaction side by side.
const LANE: usize = 1_000;

pub(super) async fn begin<V: View>(shared: &Shared<V>) -> Result<ViewId, ReadStoreError> {
    let beginning = async {
        // Alone: every transaction that begins after this one sees the new view.
        let mut transaction = Transaction::begin(&shared.connections, Lock::Alone).await?;
        let unfinished = transaction.views.building;
        let done = register(transaction.connection(), shared.connections.shape, unfinished).await;
        transaction.end(done).await
    };
    let view = within(ANSWER, beginning).await?;
    kill_point(KillPoint::RebuildAfterBegin);
    Ok(view.id)
}

async fn register(
    connection: &mut PgConnection,
    shape: Shape,
    unfinished: Option<Table>,
) -> Result<Table, Failure> {
    if let Some(unfinished) = unfinished {
        schema::drop_view(connection, unfinished).await?;
    }
    schema::create_view(connection, shape, "building").await
}

/// Takes in a page, with its streams divided among a few transactions that run side by side.
pub(super) async fn backfill<V: View>(
    shared: &Arc<Shared<V>>,
    view: ViewId,
    events: Vec<Recorded<V::Event>>,
) -> Result<ProjectionCounts, ReadStoreError> {
    let mut filling = JoinSet::new();
    for lane in lanes(events, shared.size) {
        let shared = Arc::clone(shared);
        filling.spawn(async move { fill_lane(&shared, view, &lane).await });
    }
    let mut counts = ProjectionCounts::default();
    while let Some(filled) = filling.join_next().await {
        counts += filled.map_err(|error| ReadStoreError::Unavailable(error.to_string()))??;
    }
    Ok(counts)
}

/// Divides the events by stream. Those of a stream stay together and in order.
fn lanes<E>(events: Vec<Recorded<E>>, connections: usize) -> Vec<Vec<Incoming<E>>> {
    let now = Timestamp::now();
    let count = (events.len() / LANE).clamp(1, connections.clamp(1, 4));
    let mut lanes: Vec<Vec<Incoming<E>>> = (0..count).map(|_| Vec::new()).collect();
    for event in events {
        let mut hasher = DefaultHasher::new();
        event.stream.hash(&mut hasher);
        let lane = hasher.finish() as usize % count;
        lanes[lane].push(Incoming::from_event_store(event, now));
    }
    lanes
}

async fn fill_lane<V: View>(
    shared: &Shared<V>,
    view: ViewId,
    lane: &[Incoming<V::Event>],
) -> Result<ProjectionCounts, ReadStoreError> {
    match write::until_not_overtaken(|| fill(shared, view, lane, IntakeMode::AtOnce)).await {
        Err(ReadStoreError::Refused(_)) => {}
        done => return done,
    }
    let mut counts = ProjectionCounts::default();
    for piece in lane.chunks(write::PIECE) {
        counts += write::until_not_overtaken(|| fill(shared, view, piece, IntakeMode::InParts)).await?;
    }
    Ok(counts)
}

async fn fill<V: View>(
    shared: &Shared<V>,
    view: ViewId,
    incoming: &[Incoming<V::Event>],
    way: IntakeMode,
) -> Result<ProjectionCounts, Failure> {
    let mut transaction = Transaction::begin(&shared.connections, Lock::SharedUnsynced).await?;
    let table = transaction.building(view)?;
    let done = way.take_in::<V>(transaction.connection(), table, incoming).await;
    kill_point(KillPoint::RebuildBeforePageCommit);
    let plan = transaction.end(done).await?;
    kill_point(KillPoint::RebuildAfterPageCommit);
    Ok(plan.counts(0..incoming.len()))
}

pub(super) async fn swap<V: View>(shared: &Shared<V>, view: ViewId) -> Result<(), SwapRefused> {
    within(MAINTENANCE, swap_in_steps(shared, view)).await?
}

async fn swap_in_steps<V: View>(
    shared: &Shared<V>,
    view: ViewId,
) -> Result<Result<(), SwapRefused>, Failure> {
    let lease = shared.connections.take_for_maintenance().await?;
    let transaction = Transaction::begin_on(lease, shared.connections.shape, Lock::Shared).await?;
    let Ok(building) = transaction.building(view) else {
        return Ok(Err(SwapRefused::NotBuilding(view)));
    };
    let active = transaction.views.active;
    let mut lease = transaction.commit_on().await?;
    // Before the lock for the swap itself, so that this lock is held for a shorter time.
    match prepare(&mut lease, active, building).await {
        Ok(None) => {}
        Ok(Some(behind)) => return Ok(Err(behind)),
        Err(Failure::Sql(error)) if failure::is_missing_table(&error) => {
            return Ok(Err(SwapRefused::NotBuilding(view)));
        }
        Err(failed) => return Err(failed),
    }
    kill_point(KillPoint::RebuildBeforeSwap);
    // Alone: no batch is running, and none begins before the new view is the active one.
    let mut transaction = Transaction::begin_on(lease, shared.connections.shape, Lock::Alone).await?;
    let Ok(building) = transaction.building(view) else {
        return Ok(Err(SwapRefused::NotBuilding(view)));
    };
    let active = transaction.views.active;
    let connection = transaction.connection();
    if let Some(behind) = find_behind(connection, active, building).await? {
        return Ok(Err(behind));
    }
    carry_over::<V>(connection, active, building).await?;
    schema::show_to_sql_tools(connection, building).await?;
    schema::drop_view(connection, active).await?;
    query("UPDATE read_store_views SET state = 'active', filled = true WHERE id = $1")
        .bind(view.0)
        .execute(connection)
        .await?;
    kill_point(KillPoint::RebuildBeforeSwapCommit);
    transaction.commit_on().await?;
    kill_point(KillPoint::RebuildAfterSwapCommit);
    Ok(Ok(()))
}

/// Creates the indexes for pages, and returns the refusal if the swap would be refused now.
async fn prepare(lease: &mut Lease, active: Table, view: Table) -> Result<Option<SwapRefused>, Failure> {
    let connection = &mut lease.connection;
    drop_broken_indexes(connection, view).await?;
    for statement in create_indexes(view) {
        raw_sql(AssertSqlSafe(statement)).execute(&mut *connection).await?;
    }
    // So that the server plans the first pages with the table's real contents.
    for table in [view, view.streams()] {
        raw_sql(AssertSqlSafe(format!("ANALYZE {table}"))).execute(&mut *connection).await?;
    }
    find_behind(connection, active, view).await
}

/// The statements that create the indexes for pages: concurrently, so that the projector writes on meanwhile.
fn create_indexes(view: Table) -> impl Iterator<Item = String> {
    view.page_indexes().map(move |(name, columns)| {
        format!("CREATE INDEX CONCURRENTLY IF NOT EXISTS {name} ON {view} ({columns})")
    })
}

/// Drops indexes whose creation was broken off: they exist, but are of no use.
async fn drop_broken_indexes(connection: &mut PgConnection, view: Table) -> Result<(), Failure> {
    let broken = query(
        "SELECT indexrelid::regclass::text FROM pg_index WHERE indrelid = to_regclass($1) AND NOT indisvalid",
    )
    .bind(view.to_string())
    .fetch_all(&mut *connection)
    .await?;
    for index in &broken {
        let name: &str = index.try_get(0)?;
        raw_sql(AssertSqlSafe(format!("DROP INDEX IF EXISTS {name}"))).execute(&mut *connection).await?;
    }
    Ok(())
}

/// Returns a refusal while a stream is behind in the new view: a reader would see it go back. Returns one also while a stream
/// waits for a missing event there but not in the active view: it goes on today, and would stop.
async fn find_behind(
    connection: &mut PgConnection,
    old: Table,
    new: Table,
) -> Result<Option<SwapRefused>, Failure> {
    let sql = swap::behind(old.streams(), new.streams());
    let Some(row) = query(AssertSqlSafe(sql)).persistent(false).fetch_optional(connection).await? else {
        return Ok(None);
    };
    let (active, building) = (shape::version(row.try_get(1)?), shape::version(row.try_get(2)?));
    let first = BehindStream { stream: rows::stream_id(&row, 0)?, active, building };
    Ok(Some(SwapRefused::Behind { streams: rows::count(&row, 3)?, first }))
}

/// Moves the held events that the swap would lose, and lets those go on that have become next.
async fn carry_over<V: View>(
    connection: &mut PgConnection,
    active: Table,
    view: Table,
) -> Result<(), Failure> {
    let sql = swap::carry_over(active.streams(), view.streams());
    let carried = query(AssertSqlSafe(sql)).persistent(false).fetch_all(&mut *connection).await?;
    let mut streams: Vec<StreamId> = Vec::with_capacity(carried.len());
    for row in &carried {
        if row.try_get::<Option<&str>, _>(0)?.is_some() {
            streams.push(rows::stream_id(row, 0)?);
        }
    }
    streams.sort_unstable();
    streams.dedup();
    parts::settle::<V>(connection, view, &streams).await?;
    Ok(())
}

/// Sorts entries by id, the order of locks, and keeps the greatest version of each stream.
fn in_turn<R>(mut entries: Vec<Entry<R>>) -> Vec<Entry<R>> {
    entries.sort_unstable_by(|a, b| a.id.cmp(&b.id).then(b.version.cmp(&a.version)));
    entries.dedup_by(|later, first| later.id == first.id);
    entries
}

pub(super) async fn take_over<V: View>(
    shared: &Shared<V>,
    view: ViewId,
    entries: Vec<Entry<V::Row>>,
) -> Result<(), SwapRefused> {
    let entries = in_turn(entries);
    Ok(write::until_not_overtaken(|| try_to_take_over(shared, view, &entries)).await?)
}

async fn try_to_take_over<V: View>(
    shared: &Shared<V>,
    view: ViewId,
    entries: &[Entry<V::Row>],
) -> Result<(), Failure> {
    let mut transaction = Transaction::begin(&shared.connections, Lock::SharedUnsynced).await?;
    let table = transaction.building(view)?;
    let done = overwrite::<V>(transaction.connection(), table, entries).await;
    transaction.end(done).await.map(drop)
}

pub(super) async fn set_aside<V: View>(
    shared: &Shared<V>,
    view: ViewId,
    mut unreadable: Vec<(StreamId, String)>,
) -> Result<(), SwapRefused> {
    unreadable.sort_unstable();
    unreadable.dedup_by(|later, first| later.0 == first.0);
    Ok(write::until_not_overtaken(|| try_to_set_aside(shared, view, &unreadable)).await?)
}

async fn try_to_set_aside<V: View>(
    shared: &Shared<V>,
    view: ViewId,
    unreadable: &[(StreamId, String)],
) -> Result<(), Failure> {
    let mut transaction = Transaction::begin(&shared.connections, Lock::SharedUnsynced).await?;
    let table = transaction.building(view)?;
    let done = hold_next::<V>(transaction.connection(), table, unreadable).await;
    transaction.end(done).await
}

/// Holds the next event of each of these streams.
async fn hold_next<V: View>(
    connection: &mut PgConnection,
    view: Table,
    unreadable: &[(StreamId, String)],
) -> Result<(), Failure> {
    let streams: Vec<StreamId> = unreadable.iter().map(|(stream, _)| stream.clone()).collect();
    project::lock_streams::<V::Row>(connection, view, &streams).await?;
    let known = project::known::<V>(connection, view, &streams).await?;
    let incoming = |(stream, problem): &(StreamId, String)| {
        Incoming::unreadable(stream.clone(), known.version(stream).next(), problem.clone())
    };
    let incoming: Vec<Incoming<V::Event>> = unreadable.iter().map(incoming).collect();
    project::take_in::<V>(connection, view, &incoming).await.map(drop)
}

pub(super) async fn abandon<V: View>(shared: &Shared<V>, view: ViewId) -> Result<(), ReadStoreError> {
    let abandoning = async {
        let mut transaction = Transaction::begin(&shared.connections, Lock::Alone).await?;
        let table = transaction.building(view)?;
        let done = schema::drop_view(transaction.connection(), table).await;
        transaction.end(done).await
    };
    Ok(within(ANSWER, abandoning).await?)
}

/// Compares the active view with this one, which is being built.
pub(super) async fn compare<V: View>(
    shared: &Shared<V>,
    view: ViewId,
    limit: usize,
) -> Result<Difference, ReadStoreError> {
    let comparing = async {
        let lease = shared.connections.take_for_maintenance().await?;
        // Both statements see the same moment, and every batch is in both views.
        let mut transaction = Transaction::begin_on(lease, shared.connections.shape, Lock::Snapshot).await?;
        let (active, building) = (transaction.views.active, transaction.building(view)?);
        let difference = difference(transaction.connection(), active, building, limit).await?;
        transaction.commit_on().await?;
        Ok::<_, Failure>(difference)
    };
    Ok(within(MAINTENANCE, comparing).await?)
}

async fn difference(
    connection: &mut PgConnection,
    active: Table,
    building: Table,
    limit: usize,
) -> Result<Difference, Failure> {
    let find = |sql: String| query(AssertSqlSafe(sql)).persistent(false);
    let found = find(swap::other_versions(active, building, limit)).fetch_all(&mut *connection).await?;
    let streams = found.iter().map(|row| {
        let (active, building) = (shape::version(row.try_get(1)?), shape::version(row.try_get(2)?));
        Ok(BehindStream { stream: rows::stream_id(row, 0)?, active, building })
    });
    let streams = streams.collect::<Result<Vec<_>, Failure>>()?;
    if !streams.is_empty() {
        return Ok(Difference { streams, rows: Vec::new() });
    }
    let found = find(swap::other_rows(active, building, limit)).fetch_all(connection).await?;
    let rows = found.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
    Ok(Difference { streams, rows })
}

pub(super) async fn repair<V: View>(
    shared: &Shared<V>,
    entries: Vec<Entry<V::Row>>,
) -> Result<u64, ReadStoreError> {
    let entries = in_turn(entries);
    write::until_not_overtaken(|| try_repair(shared, &entries)).await
}

async fn try_repair<V: View>(shared: &Shared<V>, entries: &[Entry<V::Row>]) -> Result<u64, Failure> {
    let mut transaction = Transaction::begin(&shared.connections, Lock::Shared).await?;
    let view = transaction.views.active;
    let done = overwrite::<V>(transaction.connection(), view, entries).await;
    kill_point(KillPoint::BeforeRepairCommit);
    let (written, plan) = transaction.end(done).await?;
    kill_point(KillPoint::AfterRepairCommit);
    // Tells only of entries that are surely in the view: a given entry that was left alone may be older than the view's.
    shared.waiters.tell(&plan.upserts);
    Ok(written)
}

async fn overwrite<V: View>(
    connection: &mut PgConnection,
    view: Table,
    entries: &[Entry<V::Row>],
) -> Result<(u64, Plan<'static, V>), Failure> {
    let ids: Vec<StreamId> = entries.iter().map(|entry| entry.id.clone()).collect();
    project::lock_streams::<V::Row>(connection, view, &ids).await?;
    let written = upsert::repair(connection, view, &entries.iter().collect::<Vec<_>>()).await?;
    Ok((written, parts::settle(connection, view, &ids).await?))
}

pub(super) async fn remove<V: View>(
    shared: &Shared<V>,
    mut ids: Vec<StreamId>,
) -> Result<u64, ReadStoreError> {
    ids.sort_unstable();
    Ok(within(ANSWER, try_remove(shared, &ids)).await?)
}

async fn try_remove<V: View>(shared: &Shared<V>, ids: &[StreamId]) -> Result<u64, Failure> {
    let mut transaction = Transaction::begin(&shared.connections, Lock::Shared).await?;
    let view = transaction.views.active;
    let done = delete(transaction.connection(), view, ids).await;
    kill_point(KillPoint::BeforeRepairCommit);
    let removed = transaction.end(done).await?;
    kill_point(KillPoint::AfterRepairCommit);
    Ok(removed)
}

async fn delete(connection: &mut PgConnection, view: Table, ids: &[StreamId]) -> Result<u64, Failure> {
    project::lock_ids(connection, view, ids).await?;
    // An entry at version 0 only stood for held events: it does not count as a row.
    let delete = format!(
        "WITH gone AS (DELETE FROM {view} WHERE id = ANY($1) RETURNING version)
         SELECT count(*) FILTER (WHERE version > 0) FROM gone"
    );
    let gone = query(AssertSqlSafe(delete)).bind(rows::texts(ids)).fetch_one(&mut *connection).await?;
    query("DELETE FROM read_store_held WHERE view = $1 AND stream = ANY($2)")
        .bind(view.id.0)
        .bind(rows::texts(ids))
        .execute(connection)
        .await?;
    rows::count(&gone, 0)
}
