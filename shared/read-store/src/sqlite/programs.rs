//! The programs that run: see [`crate::programs`].

use event_sourcing::View;
use rusqlite::{Connection, Transaction, params};

use super::schema;
use super::write::Writer;
use crate::programs::{Filled, KEPT_NEW, MAKER, Program, Registered, Registration, milliseconds, sql};
use crate::shape::Shape;
use crate::walk::sql::numbered;
use crate::{ReadStoreError, ViewId};

impl<V: View> Writer<V> {
    /// Registers a program, and drops the tables of shapes for which none is registered.
    pub(super) fn register(&mut self, program: &Program) -> Result<Registration, ReadStoreError> {
        let shape = self.shape;
        let transaction = self.begin()?;
        // After the tables of this shape were dropped, while this program was away for too long.
        schema::ensure_active_view(&transaction, shape)?;
        let now = now(&transaction)?;
        let values = params![shape.key, program.name, now, milliseconds(program.lease), program.serves];
        transaction.prepare_cached(&numbered(sql::REGISTER))?.execute(values)?;
        transaction.prepare_cached(&numbered(sql::EXPIRE))?.execute([now])?;
        let filled = "SELECT filled FROM read_store_views WHERE shape = ?1 AND state = 'active'";
        let filled = transaction.query_row(filled, [shape.key], |row| row.get(0))?;
        let all = read(&transaction)?;
        let registration = Registration::of(shape, program, &all, filled, now);
        let filling = program.filling.as_ref().filter(|_| registration.filled == Filled::Mine);
        transaction.prepare_cached(&numbered(sql::FILL))?.execute(params![
            shape.key,
            program.name,
            filling
        ])?;
        drop_unused(&transaction, shape, &all)?;
        transaction.commit()?;
        Ok(registration)
    }

    pub(super) fn leave(&mut self, program: &str) -> Result<(), ReadStoreError> {
        self.connection().prepare_cached(&numbered(sql::LEAVE))?.execute([self.shape.key, program])?;
        Ok(())
    }

    /// Notes that the active view has all that the event store had.
    pub(super) fn note_filled(&mut self) -> Result<(), ReadStoreError> {
        let note = "UPDATE read_store_views SET filled = 1 WHERE shape = ?1 AND state = 'active'";
        self.connection().execute(note, [self.shape.key])?;
        Ok(())
    }
}

fn read(connection: &Connection) -> Result<Vec<Registered>, ReadStoreError> {
    let mut statement = connection.prepare_cached(sql::READ)?;
    let found = statement.query_map([], |row| {
        let (shape, program, since) = (row.get(0)?, row.get(1)?, row.get(2)?);
        Ok(Registered {
            shape,
            program,
            since,
            renewed: row.get(3)?,
            serves: row.get(4)?,
            filling: row.get(5)?,
        })
    })?;
    Ok(found.collect::<Result<_, _>>()?)
}

/// The time by SQLite's clock: milliseconds since 1970.
fn now(connection: &Connection) -> Result<i64, ReadStoreError> {
    let mut statement = connection.prepare_cached("SELECT CAST(unixepoch('subsec') * 1000 AS INTEGER)")?;
    Ok(statement.query_row([], |row| row.get(0))?)
}

/// Keeps the tables of this shape, which are new, until a program registers for them.
pub(super) fn keep_new_tables(transaction: &Transaction<'_>, shape: Shape) -> Result<(), ReadStoreError> {
    let values = params![shape.key, MAKER, now(transaction)?, milliseconds(KEPT_NEW), false];
    transaction.execute(&numbered(sql::REGISTER), values)?;
    Ok(())
}

/// Drops the tables of this view's other shapes for which no program is registered.
fn drop_unused(
    transaction: &Transaction<'_>,
    shape: Shape,
    registered: &[Registered],
) -> Result<(), ReadStoreError> {
    let mut statement = transaction.prepare_cached("SELECT id, shape FROM read_store_views")?;
    let views = statement.query_map([], |row| Ok((ViewId(row.get(0)?), row.get::<_, String>(1)?)))?;
    let views = views.collect::<Result<Vec<_>, _>>()?;
    let unused: Vec<_> = views.iter().filter(|(_, other)| shape.leaves_unused(other, registered)).collect();
    if unused.is_empty() {
        return Ok(());
    }
    schema::show_to_sql_tools(transaction, schema::active_view(transaction, shape)?)?;
    for (id, other) in unused {
        schema::drop_view(transaction, shape.table(*id))?;
        transaction.execute("DELETE FROM read_store_walks WHERE shape = ?1", [other])?;
        tracing::info!(table = %shape.table(*id), "dropped a table of the view that no program uses any more");
    }
    Ok(())
}
