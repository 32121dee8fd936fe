//! The rows of a view whose key is not the stream.
//!
//! Two transactions may touch the same row. The second waits for the first, and then folds on what it finds. If there is no such
//! row yet, there is nothing that it could wait for, so [`lock`] inserts a row without values. [`write`] fills it or deletes it
//! before the transaction ends, so no query sees it.

use std::collections::BTreeSet;

use event_sourcing::{ColumnKind, Row, Rows, Value, View, is_by_stream};
use sqlx::{AssertSqlSafe, PgConnection, query};

use super::failure::Failure;
use super::rows;
use super::schema::sql_type;
use super::upsert::{ROWS, Statement, bind_columns, bind_values};
use crate::plan::Plan;
use crate::shape::{self, Shape, Table};

/// Locks the rows of these keys, by key, also those that do not exist, and returns those that do.
pub(super) async fn lock<V: View>(
    connection: &mut PgConnection,
    view: Table,
    keys: &BTreeSet<V::Key>,
) -> Result<Rows<V>, Failure> {
    let mut found = Rows::default();
    let (lock, read) = (lock_sql(view), format!("{} ORDER BY key", rows_sql(view)));
    let keys: Vec<Value<'static>> = sorted(keys.iter().map(shape::key_value::<V>));
    for keys in keys.chunks(ROWS) {
        bind_keys(query(AssertSqlSafe(lock.as_str())), view.shape, keys).execute(&mut *connection).await?;
        // A statement of its own, so that it sees what the transactions have written for which the other one waited.
        let rows = bind_keys(query(AssertSqlSafe(read.as_str())), view.shape, keys);
        for row in &rows.fetch_all(&mut *connection).await? {
            let (key, row) = rows::keyed::<V>(row, view.shape)?;
            found.insert(key, row);
        }
    }
    Ok(found)
}

/// The statement that locks the rows of keys, the first parameter. One statement locks existing rows and inserts the others, so that
/// all are locked by key. The update locks a row and, by its condition, changes nothing.
pub(super) fn lock_sql(view: Table) -> String {
    let kind = key_type(view.shape);
    format!(
        "INSERT INTO {view} (key) SELECT asked.key FROM UNNEST($1::{kind}[]) AS asked (key) ORDER BY asked.key {}
         ON CONFLICT (key) DO UPDATE SET key = excluded.key WHERE false",
        collation(view.shape)
    )
}

/// The statement that reads the rows of keys, the first parameter. It leaves out rows without values.
pub(super) fn rows_sql(view: Table) -> String {
    let (list, present, kind) = (view.shape.row_list(), view.shape.presence(), key_type(view.shape));
    let key = view.shape.key_column().name;
    format!("SELECT {list} FROM {view} WHERE {key} = ANY($1::{kind}[]) AND {present} IS NOT NULL")
}

fn key_type(shape: Shape) -> &'static str {
    sql_type(shape.key_column().kind)
}

/// Texts are compared by their bytes, as everywhere.
const fn collation(shape: Shape) -> &'static str {
    match shape.key_column().kind {
        ColumnKind::Text | ColumnKind::Choice(_) => "COLLATE \"C\"",
        _ => "",
    }
}

fn sorted(keys: impl Iterator<Item = Value<'static>>) -> Vec<Value<'static>> {
    let mut keys: Vec<_> = keys.collect();
    keys.sort_unstable();
    keys
}

pub(super) fn bind_keys<'q>(
    statement: Statement<'q>,
    shape: Shape,
    keys: &[Value<'static>],
) -> Statement<'q> {
    bind_values(statement, shape.key_column().kind, keys.iter())
}

/// Writes the rows that the plan changes. Deletes those of the locked rows that are none after it.
pub(super) async fn write<V: View>(
    connection: &mut PgConnection,
    view: Table,
    locked: &BTreeSet<V::Key>,
    before: &Rows<V>,
    plan: &Plan<'_, V>,
) -> Result<(), Failure> {
    if is_by_stream::<V>() {
        return Ok(());
    }
    let changed: Vec<(Value<'static>, Vec<Value<'_>>)> = plan
        .rows
        .iter()
        .filter_map(|(key, row)| Some((shape::key_value::<V>(key), row.as_ref()?.values())))
        .collect();
    let sql = update_sql(view);
    for chunk in changed.chunks(ROWS) {
        let (keys, rows): (Vec<_>, Vec<_>) = chunk.iter().cloned().unzip();
        let statement = bind_keys(query(AssertSqlSafe(sql.as_str())), view.shape, &keys);
        let updated = bind_columns(statement, view.shape, &rows).execute(&mut *connection).await?;
        if updated.rows_affected() != chunk.len() as u64 {
            return Err(Failure::Overtaken);
        }
    }
    let is_none = |key: &&V::Key| plan.rows.get(*key).map_or(before.get(key).is_none(), Option::is_none);
    let none: Vec<Value<'static>> = locked.iter().filter(is_none).map(shape::key_value::<V>).collect();
    let sql = format!("DELETE FROM {view} WHERE key = ANY($1::{}[])", key_type(view.shape));
    for keys in none.chunks(ROWS) {
        bind_keys(query(AssertSqlSafe(sql.as_str())), view.shape, keys).execute(&mut *connection).await?;
    }
    Ok(())
}

fn update_sql(view: Table) -> String {
    let shape = view.shape;
    let set = shape.columns.iter().map(|column| format!("{name} = new.{name}", name = column.name));
    let set = set.collect::<Vec<_>>().join(", ");
    let types =
        std::iter::once(shape.key_column().kind).chain(shape.columns.iter().map(|column| column.kind));
    let parameters = types.map(sql_type).zip(1..).map(|(kind, number)| format!("${number}::{kind}[]"));
    format!(
        "UPDATE {view} AS has SET {set} FROM UNNEST({}) AS new ({}) WHERE has.key = new.key",
        parameters.collect::<Vec<_>>().join(", "),
        shape.row_list(),
    )
}
