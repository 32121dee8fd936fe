//! The tables.
//!
//! ```text
//! event_store_schema     one row: how many of the migrations were run
//! event_store_commits    the commits, and the small records of commands without events
//! event_store_outbox     the commits that are not marked as published
//! event_store_reminders  the commits that wait for their streams to move on
//! ```

use runtime::postgres::{Schema, Tables};
use sqlx::{PgConnection, raw_sql};

use super::failure::Failure;

const SCHEMA: Schema = Schema {
    version_table: "event_store_schema",
    tables: &["event_store_commits", "event_store_outbox", "event_store_reminders"],
    migrations: &[include_str!("migrations/1.sql")],
    lock: 1_869_768_054,
};

/// Sets the session up by these statements, and makes sure that the server takes writes and has all tables.
pub(super) async fn prepare(connection: &mut PgConnection, session: &'static str) -> Result<(), Failure> {
    raw_sql(session).execute(&mut *connection).await?;
    match SCHEMA.look(connection).await? {
        Tables::AllThere => Ok(()),
        Tables::Lost | Tables::Behind(_) => migrate(connection).await,
    }
}

async fn migrate(connection: &mut PgConnection) -> Result<(), Failure> {
    // Another process may have migrated meanwhile.
    if SCHEMA.begin_migration(connection).await? == Tables::Lost {
        tracing::warn!("the event store had lost tables; they were made again");
    }
    raw_sql("COMMIT").execute(connection).await?;
    Ok(())
}
