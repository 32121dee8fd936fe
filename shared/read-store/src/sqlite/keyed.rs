//! The rows of a view whose key is not the stream.

use std::collections::BTreeSet;

use event_sourcing::{Row, Rows, View, is_by_stream};
use rusqlite::types::ToSql;
use rusqlite::{Connection, OptionalExtension};

use super::rows::{self, Column};
use crate::ReadStoreError;
use crate::plan::Plan;
use crate::shape::{self, Table};

/// The statement that reads a row by its key.
pub(super) fn row_sql(view: Table) -> String {
    let (list, key, present) = (view.shape.row_list(), view.shape.key_column().name, view.shape.presence());
    format!("SELECT {list} FROM {view} WHERE {key} = ?1 AND {present} IS NOT NULL")
}

/// Returns the row of a key.
pub(super) fn row<V: View>(
    connection: &Connection,
    view: Table,
    key: &V::Key,
) -> Result<Option<V::Row>, ReadStoreError> {
    let mut statement = connection.prepare_cached(&row_sql(view))?;
    let key = Column(shape::key_value::<V>(key));
    Ok(statement.query_row([key], |row| Ok(rows::keyed::<V>(row, view.shape)?.1)).optional()?)
}

/// Returns the rows of these keys.
pub(super) fn rows<V: View>(
    connection: &Connection,
    view: Table,
    keys: &BTreeSet<V::Key>,
) -> Result<Rows<V>, ReadStoreError> {
    let mut found = Rows::default();
    for key in keys {
        if let Some(row) = row::<V>(connection, view, key)? {
            found.insert(key.clone(), row);
        }
    }
    Ok(found)
}

/// Writes and deletes the rows that the plan changes.
pub(super) fn write<V: View>(
    connection: &Connection,
    view: Table,
    plan: &Plan<'_, V>,
) -> Result<(), ReadStoreError> {
    if is_by_stream::<V>() {
        return Ok(());
    }
    let columns = || view.shape.columns.iter().map(|column| column.name);
    let set = columns().map(|name| format!("{name} = excluded.{name}")).collect::<Vec<_>>().join(", ");
    let values = (1..=view.shape.columns.len() + 1).map(|number| format!("?{number}")).collect::<Vec<_>>();
    let list = view.shape.row_list();
    let mut upsert = connection.prepare_cached(&format!(
        "INSERT INTO {view} ({list}) VALUES ({}) ON CONFLICT (key) DO UPDATE SET {set}",
        values.join(", ")
    ))?;
    let mut delete = connection.prepare_cached(&format!("DELETE FROM {view} WHERE key = ?1"))?;
    for (key, row) in &plan.rows {
        let key = Column(shape::key_value::<V>(key));
        let Some(row) = row else {
            delete.execute([key])?;
            continue;
        };
        let values: Vec<Column<'_>> = row.values().into_iter().map(Column).collect();
        let mut parameters: Vec<&dyn ToSql> = vec![&key];
        parameters.extend(values.iter().map(|value| value as &dyn ToSql));
        upsert.execute(&parameters[..])?;
    }
    Ok(())
}
