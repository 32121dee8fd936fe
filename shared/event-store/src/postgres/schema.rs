//! The tables of a namespace.
//!
//! ```text
//! <namespace>_schema     one row: how many of the migrations were run
//! <namespace>_commits    the commits, and the small records of commands without events
//! <namespace>_outbox     the commits that are not marked as published
//! <namespace>_reminders  the commits that wait for their streams to move on
//! <namespace>_snapshots  states of aggregates with long streams
//! ```

use runtime::postgres::{Schema, Tables};
use sqlx::{PgConnection, raw_sql};

use super::failure::Failure;
use crate::Namespace;

const MIGRATIONS: &[&str] = &[include_str!("migrations/1.sql")];

/// The number of the lock under which one process at a time migrates a namespace: any that stands for an event store.
const LOCK: i32 = 1_869_768_054;

pub(super) fn of(namespace: &Namespace) -> Schema {
    Schema {
        version_table: format!("{namespace}_schema"),
        tables: ["commits", "outbox", "reminders", "snapshots"]
            .map(|table| format!("{namespace}_{table}"))
            .into(),
        migrations: MIGRATIONS.iter().map(|migration| namespace.sql(migration)).collect(),
        lock: LOCK,
    }
}

/// Sets the session up by these statements, and makes sure that the server takes writes and has all tables.
pub(super) async fn prepare(
    schema: &Schema,
    connection: &mut PgConnection,
    session: &'static str,
) -> Result<(), Failure> {
    raw_sql(session).execute(&mut *connection).await?;
    match schema.look(connection).await? {
        Tables::AllThere => Ok(()),
        Tables::Lost | Tables::Behind(_) => migrate(schema, connection).await,
    }
}

async fn migrate(schema: &Schema, connection: &mut PgConnection) -> Result<(), Failure> {
    // Another process may have migrated meanwhile.
    if schema.begin_migration(connection).await? == Tables::Lost {
        tracing::warn!("the event store had lost tables; they were made again");
    }
    raw_sql("COMMIT").execute(connection).await?;
    Ok(())
}
