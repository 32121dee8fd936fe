//! The reads of queries.

use std::collections::HashMap;
use std::sync::Arc;

use event_sourcing::{ColumnKind, Entry, Row, StreamId, Value, Version, View};
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, Postgres, Row as _, ValueRef as _, query};

use super::failure::{self, Failure};
use super::rows::{self, Micros};
use super::schema::sql_type;
use super::shared::Shared;
use super::upsert::Statement;
use super::{keyed, project};
use crate::calls::LookupCall;
use crate::shape::{self, Shape, Table, version};
use crate::{Filter, Lookup, Page, ReadStoreError, RowPage, ViewId};

type LookupResult<R> = Result<Lookup<R>, ReadStoreError>;

/// The column that is true if an event is held for a stream, for a statement that has the stream's id.
///
/// The first subquery runs once a statement. It asks if an event is held for any stream; mostly none is, and the second does not
/// run. Both sort by a column whose order only the right index has. So the server takes no other index, however few events are
/// held when it makes its plan.
///
/// The answer is not stored as a column of the stream's entry. The projector would have to maintain that column, and records
/// without a version have no row that it could lock.
fn held_sql(view: Table, id: &str) -> String {
    let ViewId(view) = view.id;
    let held = format!("SELECT true FROM read_store_held WHERE view = {view} AND stream");
    format!(
        "CASE WHEN ({held} IS NOT NULL ORDER BY stream LIMIT 1) THEN ({held} = {id} ORDER BY version LIMIT 1) END"
    )
}

/// The statement that reads streams by their ids, the first parameter. It returns a row for each id, also without an entry,
/// because an event may be held for the stream.
pub(super) fn seen_sql(view: Table) -> String {
    let held = held_sql(view, "asked.id");
    let streams = view.streams();
    let columns = streams.shape.column_list();
    format!(
        "SELECT asked.{columns}, {held}
         FROM UNNEST($1::text[]) AS asked (id) LEFT JOIN {streams} AS has ON has.id = asked.id COLLATE \"C\""
    )
}

/// Reads a row of [`seen_sql`]. An entry at version 0 only stands for held events.
fn seen<R: Row>(row: &PgRow, streams: Shape) -> LookupResult<R> {
    let is_there =
        row.try_get::<Option<i64>, _>(1).map_err(Failure::from)?.is_some_and(|version| version > 0);
    let entry = if is_there { Some(rows::entry(row, streams)?) } else { None };
    Ok(Lookup { entry, held: is_held(row, streams)? })
}

/// Reads the column of [`held_sql`], which follows those of the entry.
fn is_held(row: &PgRow, shape: Shape) -> Result<bool, Failure> {
    Ok(row.try_get::<Option<bool>, _>(shape.columns.len() + 2)?.unwrap_or_default())
}

/// Answers all these calls with one read. A row that can't be read fails its own callers, and not the reads of others.
pub(super) async fn answer<V: View>(shared: Arc<Shared<V>>, calls: Vec<LookupCall<V::Row>>) {
    let mut ids: Vec<&str> = calls.iter().map(|call| call.id.as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    let ids = &ids[..];
    let found = match shared.rows_of_active(|view| query(AssertSqlSafe(seen_sql(view))).bind(ids)).await {
        Ok(found) => found,
        Err(failed) => {
            let error = ReadStoreError::from(failed);
            for call in calls {
                let _ = call.answer.send(Err(error.clone()));
            }
            return;
        }
    };
    let mut by_id: HashMap<&str, &PgRow> = HashMap::with_capacity(found.len());
    for row in &found {
        by_id.extend(row.try_get::<&str, _>(0).map(|id| (id, row)));
    }
    let streams = shared.streams();
    let answers: Vec<LookupResult<V::Row>> = calls
        .iter()
        .map(|call| {
            by_id.get(call.id.as_str()).map_or_else(|| Ok(Lookup::default()), |row| seen(row, streams))
        })
        .collect();
    for (call, seen) in calls.into_iter().zip(answers) {
        // A caller that stopped waiting needs no answer.
        let _ = call.answer.send(seen);
    }
}

/// Returns the entries that exist. A garbled one is left out, so that the comparison finds it missing and repairs it.
pub(super) async fn many<V: View>(
    shared: &Shared<V>,
    ids: &[StreamId],
) -> Result<Vec<Entry<V::Row>>, ReadStoreError> {
    let ids = rows::texts(ids);
    let rows =
        |view| query(AssertSqlSafe(format!("{} AND version > 0", project::entries_sql(view)))).bind(&ids);
    let found = shared.rows_of_active(rows).await?;
    let mut entries = Vec::with_capacity(found.len());
    for row in &found {
        match rows::entry(row, shared.streams()).map_err(ReadStoreError::from) {
            Ok(entry) => entries.push(entry),
            Err(problem) => tracing::warn!(%problem, "a row can't be read"),
        }
    }
    Ok(entries)
}

/// Checks that the view's own tables exist.
pub(super) async fn ping<V: View>(shared: &Shared<V>) -> Result<(), Failure> {
    let view = shared.look_up_active_view().await?;
    let any = || query(AssertSqlSafe(ping_sql(view)));
    match shared.connections.rows(any).await {
        Err(Failure::Sql(error)) if failure::is_missing_table(&error) => {
            Err(Failure::unavailable("the table of its view is not there; run `migrate`"))
        }
        found => found.map(drop),
    }
}

/// One table, or two.
fn ping_sql(view: Table) -> String {
    match view.shape.keyed_by {
        None => format!("SELECT 1 FROM {view} LIMIT 1"),
        Some(_) => format!("SELECT 1 FROM {view}, {} LIMIT 1", view.streams()),
    }
}

pub(super) async fn versions<V: View>(
    shared: &Shared<V>,
    after: Option<&StreamId>,
    limit: usize,
) -> Result<Vec<(StreamId, Version)>, Failure> {
    let after = after.map_or("", StreamId::as_str);
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let page = |view: Table| {
        let (streams, presence) = (view.streams(), view.streams().shape.presence());
        // The versions beside the rows have no other columns.
        let or_row =
            if presence == "version" { String::new() } else { format!(" OR {presence} IS NOT NULL") };
        let sql = format!(
            "SELECT id, version FROM {streams} WHERE (version > 0{or_row}) AND id > $1 ORDER BY id LIMIT $2"
        );
        query(AssertSqlSafe(sql)).bind(after).bind(limit)
    };
    let _place = shared.take_place_for_list().await?;
    let found = shared.rows_of_active(page).await?;
    found.iter().map(|row| Ok((rows::stream_id(row, 0)?, version(row.try_get(1)?)))).collect()
}

/// The statement for a page by this filter, and its parameters after the page's start and length. It walks along one index, the
/// most selective one, from the end of the last page. It compares other columns as computed values, for which the server knows no
/// index.
///
/// A choice stands in the text, so that the server plans with the number of rows that have it. Where most rows are of one kind,
/// the few of another must not be looked for among all.
pub(super) fn page_sql(view: Table, filter: &Filter) -> (String, Vec<&Value<'static>>) {
    let (by, values) = conditions(view, filter);
    let (columns, held) = (view.shape.column_list(), held_sql(view, "has.id"));
    let sql =
        format!("SELECT {columns}, {held} FROM {view} AS has WHERE {by} AND id > $1 ORDER BY id LIMIT $2");
    (sql, values)
}

/// The conditions of a page, and their parameters from the third on.
fn conditions<K>(view: Table, filter: &Filter<K>) -> (String, Vec<&Value<'static>>) {
    let (mut conditions, mut values) = (Vec::new(), Vec::new());
    for (place, (column, value)) in view.shape.sorted(&filter.equal).into_iter().enumerate() {
        let name = column.name;
        let computed = || match column.kind {
            ColumnKind::Text | ColumnKind::Choice(_) => format!("{name} || ''"),
            ColumnKind::Integer => format!("{name} + 0"),
            ColumnKind::Boolean => format!("({name} IS TRUE)"),
            ColumnKind::Time => format!("{name} + interval '0'"),
        };
        let left = if place == 0 { name.to_owned() } else { computed() };
        match (column.kind, value) {
            (ColumnKind::Choice(choices), Value::Text(text)) if choices.contains(&&**text) => {
                conditions.push(format!("{left} = '{text}'"));
            }
            _ => {
                values.push(value);
                conditions.push(format!("{left} = ${}", values.len() + 2));
            }
        }
    }
    if conditions.is_empty() {
        conditions.push(format!("{} IS NOT NULL", view.shape.presence()));
    }
    (conditions.join(" AND "), values)
}

fn page_query(view: Table, filter: &Filter) -> Query<'static, Postgres, PgArguments> {
    let after = filter.after.as_ref().map_or("", StreamId::as_str).to_owned();
    // One row more than asked for shows that more rows follow.
    let fetch = i64::try_from(filter.limit.max(1)).unwrap_or(i64::MAX).saturating_add(1);
    let (sql, values) = page_sql(view, filter);
    values.into_iter().fold(query(AssertSqlSafe(sql)).bind(after).bind(fetch), bind_value)
}

fn bind_value(page: Statement<'static>, value: &Value<'static>) -> Statement<'static> {
    match value {
        Value::Null => page.bind(None::<String>),
        Value::Text(text) => page.bind(text.to_string()),
        Value::Integer(number) => page.bind(*number),
        Value::Boolean(value) => page.bind(*value),
        Value::Time(time) => page.bind(Micros::since_1970(*time)),
    }
}

/// The statement for a page of rows with their keys, as [`page_sql`] makes it. A first column says if an event is held at all, so
/// there is a row, without a key, for a page that is empty.
pub(super) fn rows_sql<K>(view: Table, filter: &Filter<K>) -> (String, Vec<&Value<'static>>) {
    let (by, values) = conditions(view, filter);
    let (columns, key) = (view.shape.row_list(), view.shape.key_column());
    let start = if filter.after.is_some() {
        format!("{} > $1", key.name)
    } else {
        format!("$1::{} IS NULL", sql_type(key.kind))
    };
    let sql = format!(
        "SELECT page.*, any_held FROM (SELECT EXISTS (SELECT 1 FROM read_store_held WHERE view = {}) AS any_held) AS held
         LEFT JOIN LATERAL (
             SELECT {columns} FROM {view} WHERE {by} AND {start} ORDER BY {key} LIMIT $2
         ) AS page ON true ORDER BY page.{key}",
        view.id.0,
        key = key.name,
    );
    (sql, values)
}

/// Returns a page of rows with their keys.
pub(super) async fn rows<V: View>(
    shared: &Shared<V>,
    filter: &Filter<V::Key>,
) -> Result<RowPage<V::Key, V::Row>, ReadStoreError> {
    let shape = shared.connections.shape;
    let limit = filter.limit.max(1);
    let fetch = i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1);
    let after = filter.after.as_ref().map(shape::key_value::<V>);
    let page = |view| {
        let (sql, values) = rows_sql(view, filter);
        let page = bind_after(query(AssertSqlSafe(sql)), after.as_ref(), shape.key_column().kind).bind(fetch);
        values.into_iter().fold(page, bind_value)
    };
    let _place = shared.take_place_for_list().await?;
    let mut found = shared.rows_of_active(page).await?;
    let held = match found.first() {
        Some(first) => first.try_get(shape.columns.len() + 1).map_err(Failure::from)?,
        None => false,
    };
    // The row of an empty page has no key, and every row has one.
    found.retain(|row| row.try_get_raw(0).is_ok_and(|key| !key.is_null()));
    let more = found.len() > limit;
    found.truncate(limit);
    let rows = found.iter().map(|row| rows::keyed::<V>(row, shape)).collect::<Result<_, _>>()?;
    Ok(RowPage { rows, more, held })
}

fn bind_after(
    page: Statement<'static>,
    value: Option<&Value<'static>>,
    kind: ColumnKind,
) -> Statement<'static> {
    match (value, kind) {
        (Some(value), _) => bind_value(page, value),
        (None, ColumnKind::Text | ColumnKind::Choice(_)) => page.bind(None::<String>),
        (None, ColumnKind::Integer) => page.bind(None::<i64>),
        (None, ColumnKind::Boolean) => page.bind(None::<bool>),
        (None, ColumnKind::Time) => page.bind(None::<Micros>),
    }
}

/// Returns the row of a key.
pub(super) async fn row<V: View>(shared: &Shared<V>, key: &V::Key) -> Result<Option<V::Row>, Failure> {
    let (shape, key) = (shared.connections.shape, [shape::key_value::<V>(key)]);
    let found = shared
        .rows_of_active(|view| keyed::bind_keys(query(AssertSqlSafe(keyed::rows_sql(view))), shape, &key))
        .await?;
    found.first().map(|row| Ok(rows::keyed::<V>(row, shape)?.1)).transpose()
}

pub(super) async fn page<V: View>(
    shared: &Shared<V>,
    filter: &Filter,
) -> Result<Page<V::Row>, ReadStoreError> {
    let _place = shared.take_place_for_list().await?;
    let found = shared.rows_of_active(|view| page_query(view, filter)).await?;
    let limit = filter.limit.max(1);
    let shown = &found[..found.len().min(limit)];
    let shape = shared.connections.shape;
    let entries = shown.iter().map(|row| rows::entry(row, shape)).collect::<Result<Vec<_>, _>>()?;
    let mut held = false;
    for row in shown {
        held |= is_held(row, shape)?;
    }
    Ok(Page { entries, more: found.len() > limit, held })
}
