//! The reads of queries. Each read finds the active view in its own transaction, so that none misses a swap.

use event_sourcing::{Entry, Row, StreamId, Value, Version, View};
use rusqlite::{Connection, OptionalExtension, ToSql, Transaction, params};

use super::rows::{self, Column};
use super::{keyed, project, schema};
use crate::calls::LookupCall;
use crate::shape::{self, Shape, Table, version};
use crate::{Filter, Lookup, Page, ReadStoreError, RowPage};

/// Answers all these calls from one state of the view.
pub(super) fn answer<R: Row>(connection: &mut Connection, shape: Shape, calls: &mut Vec<LookupCall<R>>) {
    match read_all(connection, shape, calls) {
        Ok(seen) => {
            for (call, seen) in calls.drain(..).zip(seen) {
                let _ = call.answer.send(seen);
            }
        }
        Err(error) => {
            for call in calls.drain(..) {
                let _ = call.answer.send(Err(error.clone()));
            }
        }
    }
}

/// Reads the streams of all these calls. A row that can't be read fails its own caller, and not the reads of others.
fn read_all<R: Row>(
    connection: &mut Connection,
    shape: Shape,
    calls: &[LookupCall<R>],
) -> Result<Vec<Result<Lookup<R>, ReadStoreError>>, ReadStoreError> {
    let (transaction, view) = begin(connection, shape)?;
    let held = project::held_for(&transaction, view, calls.iter().map(|call| &call.id))?;
    let mut statement = transaction.prepare_cached(&project::entry_sql(view.streams()))?;
    let mut see = |id: &StreamId| {
        let entry =
            statement.query_row([id.as_str()], |row| rows::entry(row, view.streams().shape)).optional()?;
        Ok(Lookup { entry, held: held.contains(id) })
    };
    Ok(calls.iter().map(|call| see(&call.id)).collect())
}

fn begin(connection: &mut Connection, shape: Shape) -> Result<(Transaction<'_>, Table), ReadStoreError> {
    let transaction = connection.transaction()?;
    let view = schema::active_view(&transaction, shape)?;
    Ok((transaction, view))
}

/// Returns the entries that exist. A garbled one is left out, so that the comparison finds it missing and repairs it.
pub(super) fn many<R: Row>(
    connection: &mut Connection,
    shape: Shape,
    ids: &[StreamId],
) -> Result<Vec<Entry<R>>, ReadStoreError> {
    let (transaction, view) = begin(connection, shape)?;
    let mut statement = transaction.prepare_cached(&project::entry_sql(view.streams()))?;
    let mut found = Vec::with_capacity(ids.len());
    for id in ids {
        let row = statement.query_row([id.as_str()], |row| rows::entry(row, view.streams().shape)).optional();
        match row.map_err(ReadStoreError::from) {
            Ok(row) => found.extend(row),
            Err(ReadStoreError::Corrupt(problem)) => {
                tracing::warn!(stream = %id, problem, "a row can't be read")
            }
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// Checks that the view's own tables exist.
pub(super) fn ping(connection: &mut Connection, shape: Shape) -> Result<(), ReadStoreError> {
    let (transaction, view) = begin(connection, shape)?;
    for table in [view, view.streams()] {
        transaction.prepare(&format!("SELECT 1 FROM {table} LIMIT 1"))?.exists([])?;
    }
    Ok(())
}

pub(super) fn versions(
    connection: &mut Connection,
    shape: Shape,
    after: Option<&StreamId>,
    limit: usize,
) -> Result<Vec<(StreamId, Version)>, ReadStoreError> {
    let (transaction, view) = begin(connection, shape)?;
    let mut statement = transaction.prepare_cached(&format!(
        "SELECT id, version FROM {} WHERE id > ?1 ORDER BY id LIMIT ?2",
        view.streams()
    ))?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let row = |row: &rusqlite::Row<'_>| Ok((rows::stream_id(row, 0)?, version(row.get(1)?)));
    let found = statement.query_map(params![after.map_or("", StreamId::as_str), limit], row)?;
    Ok(found.collect::<Result<_, _>>()?)
}

/// The statement for a page by this filter, and its parameters after the page's start and length. It always walks along one
/// index, the most selective one, from the end of the last page (the plus keeps SQLite from the others).
pub(super) fn page_sql<'f, K>(
    view: Table,
    columns: &str,
    start: Start,
    filter: &'f Filter<K>,
) -> (String, Vec<&'f Value<'static>>) {
    let conditions = view.shape.sorted(&filter.equal);
    let equal = conditions.iter().enumerate().map(|(place, (column, _))| {
        let plus = if place == 0 { "" } else { "+" };
        format!("{plus}{} = ?{}", column.name, place + 3)
    });
    let mut equal: Vec<String> = equal.collect();
    if equal.is_empty() {
        equal.push(format!("{} IS NOT NULL", view.shape.presence()));
    }
    let (key, by) = (view.shape.key_column().name, equal.join(" AND "));
    let start = match start {
        Start::First => "?1 IS NULL".to_owned(),
        Start::After => format!("{key} > ?1"),
    };
    let sql = format!("SELECT {columns} FROM {view} WHERE {by} AND {start} ORDER BY {key} LIMIT ?2");
    (sql, conditions.into_iter().map(|(_, value)| value).collect())
}

/// The start of a page.
#[derive(Clone, Copy)]
pub(super) enum Start {
    /// The first row of all.
    First,
    /// The first row after a key.
    After,
}

/// Reads a page, and one row more, which shows that more rows follow.
fn page_of<K, T>(
    transaction: &Transaction<'_>,
    (sql, equal): (String, Vec<&Value<'static>>),
    after: Value<'_>,
    filter: &Filter<K>,
    read: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
) -> Result<(Vec<T>, bool), ReadStoreError> {
    let limit = filter.limit.max(1);
    let mut statement = transaction.prepare_cached(&sql)?;
    let fetch = i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1);
    let after = Column(after);
    let equal: Vec<Column<'_>> = equal.into_iter().cloned().map(Column).collect();
    let mut values: Vec<&dyn ToSql> = vec![&after, &fetch];
    values.extend(equal.iter().map(|value| value as &dyn ToSql));
    let found = statement.query_map(&values[..], read)?;
    let mut found = found.collect::<Result<Vec<_>, _>>()?;
    let more = found.len() > limit;
    found.truncate(limit);
    Ok((found, more))
}

pub(super) fn page<R: Row>(
    connection: &mut Connection,
    shape: Shape,
    filter: &Filter,
) -> Result<Page<R>, ReadStoreError> {
    let (transaction, view) = begin(connection, shape)?;
    let page = page_sql(view, &shape.column_list(), Start::After, filter);
    let after = Value::Text(filter.after.as_ref().map_or("", StreamId::as_str).into());
    let (entries, more) = page_of(&transaction, page, after, filter, |row| rows::entry(row, shape))?;
    let ids = entries.iter().map(|entry: &Entry<R>| &entry.id);
    let held = !project::held_for(&transaction, view, ids)?.is_empty();
    Ok(Page { entries, more, held })
}

/// Reads a row by its key.
pub(super) fn row<V: View>(
    connection: &mut Connection,
    shape: Shape,
    key: &V::Key,
) -> Result<Option<V::Row>, ReadStoreError> {
    let (transaction, view) = begin(connection, shape)?;
    keyed::row::<V>(&transaction, view, key)
}

/// Asks if an event is held at all.
pub(super) const HELD_AT_ALL: &str = "SELECT EXISTS (SELECT 1 FROM read_store_held WHERE view = ?1)";

/// Reads a page of rows with their keys.
pub(super) fn rows<V: View>(
    connection: &mut Connection,
    shape: Shape,
    filter: &Filter<V::Key>,
) -> Result<RowPage<V::Key, V::Row>, ReadStoreError> {
    let (transaction, view) = begin(connection, shape)?;
    let (start, after) = match &filter.after {
        None => (Start::First, Value::Null),
        Some(key) => (Start::After, shape::key_value::<V>(key)),
    };
    let page = page_sql(view, &shape.row_list(), start, filter);
    let (rows, more) = page_of(&transaction, page, after, filter, |row| rows::keyed::<V>(row, shape))?;
    let held = transaction.prepare_cached(HELD_AT_ALL)?.query_row([view.id.0], |row| row.get(0))?;
    Ok(RowPage { rows, more, held })
}
