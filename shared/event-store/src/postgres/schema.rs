//! The tables.
//!
//! ```text
//! event_store_schema     one row: how many of the migrations were run
//! event_store_commits    the commits, and the small records of commands without events
//! event_store_outbox     the commits that are not marked as published
//! event_store_reminders  the commits that wait for their streams to move on
//! ```
//!
//! They are in the first schema of the connection's search path, beside any other tables there.

use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row, query, raw_sql};

use super::failure::{Failed, READ_ONLY};

/// The migrations, in order; the first makes schema 1. A delivered migration is never changed: new ones are added. Each leaves
/// existing tables alone, so that all of them together create the missing ones.
const MIGRATIONS: &[&str] = &[include_str!("migrations/1.sql")];

/// Says whether the server takes writes, whether there is a schema, and whether all its tables are there. It reads the catalogue:
/// `to_regclass` would not see the tables that another process has made while this one waited for the lock.
const LOOK: &str = "
SELECT current_setting('transaction_read_only')::boolean,
       count(*) FILTER (WHERE relname = 'event_store_schema') = 1,
       count(*) FILTER (WHERE relname <> 'event_store_schema') = 3
FROM pg_class WHERE relnamespace = current_schema()::regnamespace
    AND relname IN ('event_store_schema', 'event_store_commits', 'event_store_outbox', 'event_store_reminders')";

/// Begins a migration; one process at a time migrates. The lock's first number is any that stands for these tables, the second
/// tells schemas apart. The lock ends with the transaction.
const BEGIN: &str = "
BEGIN ISOLATION LEVEL READ COMMITTED;
SELECT pg_advisory_xact_lock(1869768054, hashtext(current_schema()));
";

/// The state of the tables.
enum Tables {
    AllThere,
    /// Some are missing, or are to be migrated. The number of migrations that were run.
    Behind(usize),
}

/// Sets the session up by these statements, and makes sure that the server takes writes and has all tables. It runs the
/// migrations if one was not run yet or a table is missing: all of them or none. If several processes do so at once, one does
/// the work and the others wait for it.
pub(super) async fn prepare(connection: &mut PgConnection, session: &'static str) -> Result<(), Failed> {
    raw_sql(session).execute(&mut *connection).await?;
    match look(connection).await? {
        Tables::AllThere => Ok(()),
        Tables::Behind(_) => migrate(connection).await,
    }
}

async fn look(connection: &mut PgConnection) -> Result<Tables, Failed> {
    let found: PgRow = query(LOOK).persistent(false).fetch_one(&mut *connection).await?;
    if found.try_get(0)? {
        return Err(Failed::unavailable(READ_ONLY));
    }
    let done = if found.try_get(1)? { version(connection).await? } else { 0 };
    refuse_newer(done)?;
    let is_complete = done == MIGRATIONS.len() && found.try_get(2)?;
    Ok(if is_complete { Tables::AllThere } else { Tables::Behind(done) })
}

async fn migrate(connection: &mut PgConnection) -> Result<(), Failed> {
    raw_sql(BEGIN).execute(&mut *connection).await?;
    // Another process may have migrated meanwhile.
    if let Tables::Behind(done) = look(connection).await? {
        if done == MIGRATIONS.len() {
            tracing::warn!("the event store had lost tables; they were made again");
        }
        for migration in MIGRATIONS {
            raw_sql(*migration).execute(&mut *connection).await?;
        }
        note(connection, done).await?;
    }
    raw_sql("COMMIT").execute(connection).await?;
    Ok(())
}

async fn note(connection: &mut PgConnection, done: usize) -> Result<(), Failed> {
    if done == 0 {
        let create = "CREATE TABLE IF NOT EXISTS event_store_schema (version integer NOT NULL);
             DELETE FROM event_store_schema; INSERT INTO event_store_schema VALUES (0)";
        raw_sql(create).execute(&mut *connection).await?;
    }
    let now = i32::try_from(MIGRATIONS.len()).unwrap_or(i32::MAX);
    let update = query("UPDATE event_store_schema SET version = $1").bind(now).persistent(false);
    update.execute(connection).await?;
    Ok(())
}

async fn version(connection: &mut PgConnection) -> Result<usize, Failed> {
    let sql = "SELECT coalesce(max(version), 0) FROM event_store_schema";
    let version: i32 = query(sql).persistent(false).fetch_one(connection).await?.try_get(0)?;
    Ok(usize::try_from(version).unwrap_or(0))
}

fn refuse_newer(done: usize) -> Result<(), Failed> {
    let known = MIGRATIONS.len();
    if done <= known {
        return Ok(());
    }
    Err(Failed::unavailable(&format!(
        "its tables were written by a newer program: their schema is {done}, and this program knows up to {known}"
    )))
}
