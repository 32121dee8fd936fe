//! The programs that run: see [`crate::programs`].

use event_sourcing::View;
use rusqlite::{Connection, Transaction, params};

use super::schema;
use super::write::Writer;
use crate::programs::{Filled, Program, Registration};
use crate::registrations::{ListedProgram, ListedView, milliseconds, sql, unused};
use crate::shape::Shape;
use crate::walk::sql::numbered;
use crate::{ReadStoreError, ViewId, walk};

impl<V: View> Writer<V> {
    /// Registers a program, and drops the tables of shapes for which none is registered.
    pub(super) fn register(&mut self, program: &Program) -> Result<Registration, ReadStoreError> {
        let shape = self.shape;
        let transaction = self.begin()?;
        // After the tables of this shape were dropped, while this program was away for too long.
        schema::ensure_active_view(&transaction, shape)?;
        let now = schema::now(&transaction)?;
        let values = params![shape.key, program.name, now, milliseconds(program.lease), program.serves];
        transaction.prepare_cached(&numbered(sql::REGISTER))?.execute(values)?;
        transaction.prepare_cached(&numbered(sql::EXPIRE))?.execute([now])?;
        let (programs, views) = (programs(&transaction)?, views(&transaction)?);
        let registration = Registration::of(shape, program, &programs, &views, now);
        if registration.filled == Filled::Mine {
            let values = params![shape.key, program.name, program.filling];
            transaction.prepare_cached(&numbered(sql::FILL))?.execute(values)?;
        }
        drop_unused(&transaction, shape, &programs, &views)?;
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

fn programs(connection: &Connection) -> Result<Vec<ListedProgram>, ReadStoreError> {
    let mut statement = connection.prepare_cached(sql::PROGRAMS)?;
    let found = statement.query_map([], |row| {
        Ok(ListedProgram {
            shape: row.get(0)?,
            name: row.get(1)?,
            since: row.get(2)?,
            renewed: row.get(3)?,
            serves: row.get(4)?,
            filling: row.get(5)?,
        })
    })?;
    Ok(found.collect::<Result<_, _>>()?)
}

fn views(connection: &Connection) -> Result<Vec<ListedView>, ReadStoreError> {
    let mut statement = connection.prepare_cached(sql::VIEWS)?;
    let found = statement.query_map([], |row| {
        Ok(ListedView {
            id: ViewId(row.get(0)?),
            shape: row.get(1)?,
            is_active: row.get(2)?,
            is_filled: row.get(3)?,
        })
    })?;
    Ok(found.collect::<Result<_, _>>()?)
}

/// Drops the tables of this view's other shapes for which no program is registered.
fn drop_unused(
    transaction: &Transaction<'_>,
    shape: Shape,
    programs: &[ListedProgram],
    views: &[ListedView],
) -> Result<(), ReadStoreError> {
    let unused: Vec<_> = unused(views, shape, programs).collect();
    if unused.is_empty() {
        return Ok(());
    }
    schema::show_to_sql_tools(transaction, schema::active_view(transaction, shape)?)?;
    for view in unused {
        let table = shape.table(view.id);
        schema::drop_view(transaction, table)?;
        transaction.execute(&numbered(walk::sql::DELETE), [&view.shape])?;
        tracing::info!(%table, "dropped a table of the view that no program uses any more");
    }
    Ok(())
}
