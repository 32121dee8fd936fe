//! Held events: the list, the redrive and the drop.

use event_sourcing::{EventType, StreamId, Version, View};
use runtime::postgres::within;
use runtime::{KillPoint, kill_point};
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgConnection, Row, query};

use super::connections::ANSWER;
use super::failure::Failure;
use super::rows::{self, HELD_COLUMNS};
use super::shared::Shared;
use super::transaction::{Lock, Transaction, Views};
use super::{parts, project, upsert, write};
use crate::plan::{Plan, Verdict};
use crate::shape::{self, Shape, Table};
use crate::{DropRefused, HeldEvent, HeldId, HeldSummary, ReadStoreError, RedriveCounts, ViewId};

/// The number of held events that one transaction redrives.
const REDRIVE_PAGE: usize = 500;

/// The condition that selects the active view of a shape.
fn of_active(shape: Shape) -> String {
    format!("view = (SELECT id FROM read_store_views WHERE shape = '{}' AND state = 'active')", shape.key)
}

pub(super) async fn summary<V: View>(shared: &Shared<V>) -> Result<Vec<HeldSummary>, Failure> {
    let of_active = of_active(shared.connections.shape);
    let sql = format!(
        "SELECT reason, count(*), count(DISTINCT stream) FROM read_store_held
         WHERE {of_active} GROUP BY reason ORDER BY reason"
    );
    let found = shared.connections.rows(|| query(AssertSqlSafe(sql.as_str()))).await?;
    let summary = found.iter().map(|row| {
        let (events, streams) = (rows::count(row, 1)?, rows::count(row, 2)?);
        Ok(HeldSummary { reason: rows::reason(row, 0)?, events, streams })
    });
    summary.collect()
}

/// The condition that narrows a read of held events to one stream, its id being the third parameter.
fn of_stream(stream: Option<&StreamId>) -> &'static str {
    if stream.is_some() { "AND stream = $3" } else { "AND $3::text IS NULL" }
}

pub(super) async fn list<V: View>(
    shared: &Shared<V>,
    stream: Option<&StreamId>,
    after: Option<HeldId>,
    limit: usize,
) -> Result<Vec<HeldEvent>, Failure> {
    let sql = format!(
        "SELECT {HELD_COLUMNS} FROM read_store_held WHERE {} AND id > $1 {} ORDER BY id LIMIT $2",
        of_active(shared.connections.shape),
        of_stream(stream)
    );
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let after = after.map_or(0, |HeldId(id)| id);
    let page =
        || query(AssertSqlSafe(sql.as_str())).bind(after).bind(limit).bind(stream.map(StreamId::as_str));
    shared.connections.rows(page).await?.iter().map(rows::held_event).collect()
}

pub(super) async fn one<V: View>(
    shared: &Shared<V>,
    HeldId(id): HeldId,
) -> Result<Option<HeldEvent>, Failure> {
    let sql = one_sql(shared.connections.shape);
    let found = shared.connections.rows(|| query(AssertSqlSafe(sql.as_str())).bind(id)).await?;
    found.first().map(rows::held_event).transpose()
}

fn one_sql(shape: Shape) -> String {
    format!("SELECT {HELD_COLUMNS} FROM read_store_held WHERE id = $1 AND {}", of_active(shape))
}

/// Counts the held events of the active view, of all streams or of one.
async fn count<V: View>(shared: &Shared<V>, stream: Option<&StreamId>) -> Result<u64, Failure> {
    let of_active = of_active(shared.connections.shape);
    let sql = format!(
        "SELECT count(*) FROM read_store_held WHERE {of_active} AND ($1::text IS NULL OR stream = $1)"
    );
    let stream = stream.map(StreamId::as_str);
    let found = shared.connections.rows(|| query(AssertSqlSafe(sql.as_str())).bind(stream)).await?;
    found.first().map_or(Ok(0), |row| rows::count(row, 0))
}

pub(super) async fn redrive<V: View>(
    shared: &Shared<V>,
    stream: Option<&StreamId>,
) -> Result<RedriveCounts, ReadStoreError> {
    let (mut redriven, mut after) = (RedriveCounts::default(), Some(HeldId(0)));
    // A page is a transaction, so that neither memory nor the projector's wait grows with the number of held events.
    while let Some(from) = after {
        let page = write::until_not_overtaken(|| redrive_page(shared, stream, from)).await?;
        redriven.applied += page.applied;
        redriven.removed += page.removed;
        after = page.last;
    }
    redriven.held = count(shared, stream).await?;
    Ok(redriven)
}

/// The result of a redrive of one page.
struct RedrivenPage {
    applied: u64,
    removed: u64,
    /// The last event of the page; none if no page follows.
    last: Option<HeldId>,
}

/// Judges the held events after `after` anew, of the active view and of one that is being built, and applies those that have
/// become next. Pages are by id and not by version. That makes no difference: an event that becomes next is applied, also if it
/// is of an earlier page.
async fn redrive_page<V: View>(
    shared: &Shared<V>,
    stream: Option<&StreamId>,
    after: HeldId,
) -> Result<RedrivenPage, Failure> {
    let mut transaction = Transaction::begin(&shared.connections, Lock::Shared).await?;
    let views = transaction.views;
    let done = redrive_in::<V>(transaction.connection(), views, stream, after).await;
    kill_point(KillPoint::BeforeRedriveCommit);
    let (page, plan) = transaction.end(done).await?;
    kill_point(KillPoint::AfterRedriveCommit);
    shared.waiters.tell(&plan.upserts);
    Ok(page)
}

async fn redrive_in<V: View>(
    connection: &mut PgConnection,
    views: Views,
    stream: Option<&StreamId>,
    after: HeldId,
) -> Result<(RedrivenPage, Plan<'static, V>), Failure> {
    let page = page_of_views(connection, views, stream, after).await?;
    let plan = redrive_of::<V>(connection, views.active, &page).await?;
    if let Some(building) = views.building {
        redrive_of::<V>(connection, building, &page).await?;
    }
    let last = page.last().filter(|_| page.len() == REDRIVE_PAGE).map(|(_, event)| event.id);
    let (applied, removed) = (plan.releases.len() as u64, plan.passed.len() as u64);
    Ok((RedrivenPage { applied, removed, last }, plan))
}

/// Redrives the events of one view.
async fn redrive_of<V: View>(
    connection: &mut PgConnection,
    view: Table,
    page: &[(ViewId, HeldEvent)],
) -> Result<Plan<'static, V>, Failure> {
    let of_view = || page.iter().filter(|(of, _)| *of == view.id).map(|(_, event)| event);
    let mut streams: Vec<StreamId> = of_view().filter_map(|event| today::<V::Event>(event).stream).collect();
    streams.sort_unstable();
    streams.dedup();
    project::lock_streams::<V::Row>(connection, view, &streams).await?;
    let ids: Vec<i64> = of_view().map(|event| event.id.0).collect();
    // Some of these events may have been removed before their streams were locked.
    for event in held_by_id(connection, &ids).await? {
        judge_again::<V::Event>(connection, &event).await?;
    }
    parts::settle(connection, view, &streams).await
}

async fn page_of_views(
    connection: &mut PgConnection,
    views: Views,
    stream: Option<&StreamId>,
    HeldId(after): HeldId,
) -> Result<Vec<(ViewId, HeldEvent)>, Failure> {
    let sql = format!(
        "SELECT {HELD_COLUMNS}, view FROM read_store_held WHERE id > $1 {} AND view = ANY($4) ORDER BY id LIMIT $2",
        of_stream(stream)
    );
    let page = query(AssertSqlSafe(sql))
        .bind(after)
        .bind(REDRIVE_PAGE as i64)
        .bind(stream.map(StreamId::as_str))
        .bind(views.all().map(|view| view.id.0).collect::<Vec<_>>());
    let found = page.fetch_all(connection).await?;
    found.iter().map(|row| Ok((ViewId(row.try_get(11)?), rows::held_event(row)?))).collect()
}

fn today<E: EventType>(event: &HeldEvent) -> Verdict {
    Verdict::again::<E>(event.key.as_deref(), event.value.as_deref())
}

async fn held_by_id(connection: &mut PgConnection, ids: &[i64]) -> Result<Vec<HeldEvent>, Failure> {
    let sql = format!("SELECT {HELD_COLUMNS} FROM read_store_held WHERE id = ANY($1) ORDER BY id");
    let found = query(AssertSqlSafe(sql)).bind(ids).fetch_all(connection).await?;
    found.iter().map(rows::held_event).collect()
}

/// Judges a held event anew, and stores the verdict if it has changed.
async fn judge_again<E: EventType>(connection: &mut PgConnection, event: &HeldEvent) -> Result<(), Failure> {
    // A record without a value is none today either, and a rebuild may know more of it than its key.
    if event.value.is_none() {
        return Ok(());
    }
    let today = today::<E>(event);
    let HeldEvent { stream, version, reason, problem, .. } = event;
    let said = rows::text(&today.problem);
    if (stream, version, reason, problem) == (&today.stream, &today.version, &today.reason, &said) {
        return Ok(());
    }
    upsert::rejudge(connection, event.id, &today).await
}

pub(super) async fn drop_held<V: View>(shared: &Shared<V>, id: HeldId) -> Result<(), DropRefused> {
    within(ANSWER, drop_unless_needed(shared, id)).await?
}

async fn drop_unless_needed<V: View>(
    shared: &Shared<V>,
    id: HeldId,
) -> Result<Result<(), DropRefused>, Failure> {
    let mut transaction = Transaction::begin(&shared.connections, Lock::Shared).await?;
    let views = transaction.views;
    let done = drop_in(transaction.connection(), views, id).await;
    transaction.end(done).await
}

async fn drop_in(
    connection: &mut PgConnection,
    views: Views,
    id: HeldId,
) -> Result<Result<(), DropRefused>, Failure> {
    let one = async |connection: &mut PgConnection| {
        query(AssertSqlSafe(one_sql(views.active.shape))).bind(id.0).fetch_optional(connection).await
    };
    let as_event = |row: Option<PgRow>| row.as_ref().map(rows::held_event).transpose();
    let Some(HeldEvent { stream, version, .. }) = as_event(one(connection).await?)? else {
        return Ok(Err(DropRefused::NotHeld(id)));
    };
    if let (Some(stream), Some(version)) = (stream, version) {
        let have = lock_version(connection, views.active, &stream).await?;
        if version > have {
            return Ok(Err(DropRefused::Needed { id, stream, version, have }));
        }
    }
    // Read again, now that the stream's entry is locked.
    let Some(event) = as_event(one(connection).await?)? else {
        return Ok(Err(DropRefused::NotHeld(id)));
    };
    delete_everywhere(connection, views, &event).await?;
    Ok(Ok(()))
}

/// Locks a stream's entry in a view and returns its version; 0 if it has none.
async fn lock_version(
    connection: &mut PgConnection,
    view: Table,
    stream: &StreamId,
) -> Result<Version, Failure> {
    let sql = format!("SELECT version FROM {} WHERE id = $1 FOR UPDATE", view.streams());
    let row = query(AssertSqlSafe(sql)).bind(stream.as_str()).fetch_optional(connection).await?;
    row.map_or(Ok(Version::NONE), |row| Ok(shape::version(row.try_get(0)?)))
}

/// Deletes a held event. A record without a stream or a version is also deleted from a view that is being built, which holds a
/// copy. An event with a version may be next there; otherwise it is removed when the row has passed it.
async fn delete_everywhere(
    connection: &mut PgConnection,
    views: Views,
    event: &HeldEvent,
) -> Result<(), Failure> {
    query("DELETE FROM read_store_held WHERE id = $1").bind(event.id.0).execute(&mut *connection).await?;
    if event.version.is_some() && event.stream.is_some() {
        return Ok(());
    }
    query(
        "DELETE FROM read_store_held
         WHERE view = ANY($6) AND topic = $1 AND partition = $2 AND record_offset = $3
           AND key IS NOT DISTINCT FROM $4 AND value IS NOT DISTINCT FROM $5
           AND (version IS NULL OR stream IS NULL)",
    )
    .bind(&event.origin.topic)
    .bind(event.origin.partition)
    .bind(event.origin.offset)
    .bind(&event.key)
    .bind(&event.value)
    .bind(views.all().map(|view| view.id.0).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}
