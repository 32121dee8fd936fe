//! The reads of queries. Each read finds the active view in its own transaction, so that none misses a swap.

use event_sourcing::{Entry, Row, StreamId, Value, Version};
use rusqlite::{Connection, OptionalExtension, ToSql, Transaction, params};

use super::rows::{self, Column};
use super::{Answer, project, schema};
use crate::shape::{Shape, Table, version};
use crate::{Filter, Lookup, Page, ReadStoreError};

/// A call of `see`.
pub(super) struct See<R> {
    pub(super) id: StreamId,
    pub(super) answer: Answer<Lookup<R>>,
}

/// Answers all these calls from one state of the view.
pub(super) fn answer<R: Row>(connection: &mut Connection, shape: Shape, calls: &mut Vec<See<R>>) {
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
    calls: &[See<R>],
) -> Result<Vec<Result<Lookup<R>, ReadStoreError>>, ReadStoreError> {
    let (transaction, view) = begin(connection, shape)?;
    let held = project::held_for(&transaction, view, calls.iter().map(|call| &call.id))?;
    let mut statement = transaction.prepare_cached(&project::entry_sql(view))?;
    let mut see = |id: &StreamId| {
        let entry = statement.query_row([id.as_str()], rows::entry).optional()?;
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
    let mut statement = transaction.prepare_cached(&project::entry_sql(view))?;
    let mut found = Vec::with_capacity(ids.len());
    for id in ids {
        let row = statement.query_row([id.as_str()], rows::entry).optional();
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

/// Checks that the view's own table exists.
pub(super) fn ping(connection: &mut Connection, shape: Shape) -> Result<(), ReadStoreError> {
    let (transaction, view) = begin(connection, shape)?;
    transaction.prepare(&format!("SELECT 1 FROM {view} LIMIT 1"))?.exists([])?;
    Ok(())
}

pub(super) fn versions(
    connection: &mut Connection,
    shape: Shape,
    after: Option<&StreamId>,
    limit: usize,
) -> Result<Vec<(StreamId, Version)>, ReadStoreError> {
    let (transaction, view) = begin(connection, shape)?;
    let mut statement = transaction
        .prepare_cached(&format!("SELECT id, version FROM {view} WHERE id > ?1 ORDER BY id LIMIT ?2"))?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let row = |row: &rusqlite::Row<'_>| Ok((rows::stream_id(row, 0)?, version(row.get(1)?)));
    let found = statement.query_map(params![after.map_or("", StreamId::as_str), limit], row)?;
    Ok(found.collect::<Result<_, _>>()?)
}

/// The statement for a page by this filter, and its parameters after the page's start and length. It always walks along one
/// index, the most selective one, from the end of the last page (the plus keeps SQLite from the others).
pub(super) fn page_sql(view: Table, filter: &Filter) -> (String, Vec<&Value<'static>>) {
    let conditions = view.shape.sorted(&filter.equal);
    let equal = conditions.iter().enumerate().map(|(place, (column, _))| {
        let plus = if place == 0 { "" } else { "+" };
        format!("{plus}{} = ?{}", column.name, place + 3)
    });
    let mut equal: Vec<String> = equal.collect();
    if equal.is_empty() {
        equal.push(format!("{} IS NOT NULL", view.shape.presence()));
    }
    let (columns, by) = (view.shape.column_list(), equal.join(" AND "));
    let sql = format!("SELECT {columns} FROM {view} WHERE {by} AND id > ?1 ORDER BY id LIMIT ?2");
    (sql, conditions.into_iter().map(|(_, value)| value).collect())
}

pub(super) fn page<R: Row>(
    connection: &mut Connection,
    shape: Shape,
    filter: &Filter,
) -> Result<Page<R>, ReadStoreError> {
    let (transaction, view) = begin(connection, shape)?;
    let limit = filter.limit.max(1);
    let (sql, equal) = page_sql(view, filter);
    let mut statement = transaction.prepare_cached(&sql)?;
    let after = filter.after.as_ref().map_or("", StreamId::as_str);
    // One row more than asked for shows that more rows follow.
    let fetch = i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1);
    let equal: Vec<Column<'_>> = equal.into_iter().cloned().map(Column).collect();
    let mut values: Vec<&dyn ToSql> = vec![&after, &fetch];
    values.extend(equal.iter().map(|value| value as &dyn ToSql));
    let found = statement.query_map(&values[..], rows::entry)?;
    let mut entries = found.collect::<Result<Vec<_>, _>>()?;
    let more = entries.len() > limit;
    entries.truncate(limit);
    let held = !project::held_for(&transaction, view, entries.iter().map(|entry| &entry.id))?.is_empty();
    Ok(Page { entries, more, held })
}
