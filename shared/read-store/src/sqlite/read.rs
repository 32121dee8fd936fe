//! What queries read. Each read finds the active view in its own transaction, so that none misses a swap.

use domain::{OrderId, OrderName, Snapshot, Version};
use rusqlite::{Connection, OptionalExtension, Row, ToSql, Transaction, params};

use super::{Answer, project, rows, schema};
use crate::{Filter, Lookup, Page, ReadStoreError, ViewId};

/// A call of `see`.
pub(super) struct See {
    pub(super) id: OrderId,
    pub(super) answer: Answer<Lookup>,
}

/// Answers all these calls from one state of the view.
pub(super) fn answer(connection: &mut Connection, calls: &mut Vec<See>) {
    match read_all(connection, calls) {
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

/// A row that can't be read is an answer to its own caller, and no failure of the others' reads.
fn read_all(
    connection: &mut Connection,
    calls: &[See],
) -> Result<Vec<Result<Lookup, ReadStoreError>>, ReadStoreError> {
    let (transaction, view) = begin(connection)?;
    let held = project::held_for(&transaction, view, calls.iter().map(|call| &call.id))?;
    let mut statement = transaction.prepare_cached(&project::row_sql(view))?;
    let mut see = |id: &OrderId| {
        let order = statement.query_row([id.as_str()], rows::snapshot).optional()?;
        Ok(Lookup { order, held: held.contains(id) })
    };
    Ok(calls.iter().map(|call| see(&call.id)).collect())
}

fn begin(connection: &mut Connection) -> Result<(Transaction<'_>, ViewId), ReadStoreError> {
    let transaction = connection.transaction()?;
    let view = schema::active_view(&transaction)?;
    Ok((transaction, view))
}

/// The orders that are there. A garbled one is not, for whoever compares: so it is found missing, and can be repaired.
pub(super) fn many(connection: &mut Connection, ids: &[OrderId]) -> Result<Vec<Snapshot>, ReadStoreError> {
    let (transaction, view) = begin(connection)?;
    let mut statement = transaction.prepare_cached(&project::row_sql(view))?;
    let mut found = Vec::with_capacity(ids.len());
    for id in ids {
        let row = statement.query_row([id.as_str()], rows::snapshot).optional();
        match row.map_err(ReadStoreError::from) {
            Ok(row) => found.extend(row),
            Err(ReadStoreError::Corrupt(problem)) => {
                tracing::warn!(order = %id, problem, "a row can't be read")
            }
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// Whether the view's own table is there.
pub(super) fn ping(connection: &mut Connection) -> Result<(), ReadStoreError> {
    let (transaction, ViewId(view)) = begin(connection)?;
    transaction.prepare(&format!("SELECT 1 FROM orders_{view} LIMIT 1"))?.exists([])?;
    Ok(())
}

pub(super) fn versions(
    connection: &mut Connection,
    after: Option<&OrderId>,
    limit: usize,
) -> Result<Vec<(OrderId, Version)>, ReadStoreError> {
    let (transaction, ViewId(view)) = begin(connection)?;
    let mut statement = transaction.prepare_cached(&format!(
        "SELECT id, version FROM orders_{view} WHERE id > ?1 ORDER BY id LIMIT ?2"
    ))?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let row = |row: &Row<'_>| Ok((rows::order_id(row)?, rows::version(row.get(1)?)));
    let found = statement.query_map(params![after.map_or("", OrderId::as_str), limit], row)?;
    Ok(found.collect::<Result<_, _>>()?)
}

/// The statement for a page by this filter: always a walk along one index from where the last page ended. A name tells
/// more than a status, so with both the name's index is taken (the plus keeps SQLite from the other).
pub(super) fn page_sql(ViewId(view): ViewId, filter: &Filter) -> String {
    let by = match (&filter.name, filter.status) {
        (None, None) => "status IS NOT NULL",
        (None, Some(_)) => "status = ?3",
        (Some(_), None) => "name = ?3",
        (Some(_), Some(_)) => "name = ?3 AND +status = ?4",
    };
    let columns = rows::ORDER_COLUMNS;
    format!("SELECT {columns} FROM orders_{view} WHERE {by} AND id > ?1 ORDER BY id LIMIT ?2")
}

pub(super) fn page(connection: &mut Connection, filter: &Filter) -> Result<Page, ReadStoreError> {
    let (transaction, view) = begin(connection)?;
    let limit = filter.limit.max(1);
    let mut statement = transaction.prepare_cached(&page_sql(view, filter))?;
    let after = filter.after.as_ref().map_or("", OrderId::as_str);
    // One more than asked tells whether there are more.
    let fetch = i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1);
    let mut values: Vec<&dyn ToSql> = vec![&after, &fetch];
    let name = filter.name.as_ref().map(OrderName::as_str);
    values.extend(name.as_ref().map(|name| name as &dyn ToSql));
    let status = filter.status.map(<&str>::from);
    values.extend(status.as_ref().map(|status| status as &dyn ToSql));
    let found = statement.query_map(&values[..], rows::snapshot)?;
    let mut orders = found.collect::<Result<Vec<_>, _>>()?;
    let more = orders.len() > limit;
    orders.truncate(limit);
    let held = !project::held_for(&transaction, view, orders.iter().map(|order| &order.id))?.is_empty();
    Ok(Page { orders, more, held })
}
