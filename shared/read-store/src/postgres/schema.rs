//! The tables.
//!
//! ```text
//! orders_schema  one row: how many of the migrations were run
//! orders_views   one row a view: active, or building
//! orders_<n>     the orders of view n
//! orders_held    the held events of every view
//! ```
//!
//! They stand in the first schema of the connection's search path, beside whatever else is there.

use sqlx::{AssertSqlSafe, PgConnection, Row, query, raw_sql};

use super::connections::{Connections, MAINTENANCE, within};
use super::failure::{self, Failed};
use crate::{ReadStoreError, ViewId};

/// The migrations, in order; the first makes schema 1. What was delivered once is never changed, only added to.
const MIGRATIONS: &[&str] = &[include_str!("migrations/1.sql")];

/// Runs the migrations that were not run yet, all of them or none. Of several processes that do so at once one does the
/// work and the others wait for it.
pub(super) async fn migrate(connections: &Connections) -> Result<(), ReadStoreError> {
    let migrating = async {
        let mut connection = connections.connect_bare().await?;
        migrate_with(&mut connection).await
    };
    Ok(within(MAINTENANCE, migrating).await?)
}

/// One migrates at a time: the first number is any that stands for these tables, the second tells schemas apart. The
/// lock ends with the transaction.
const BEGIN: &str = "
BEGIN ISOLATION LEVEL READ COMMITTED;
SELECT pg_advisory_xact_lock(1869767785, hashtext(current_schema()));
";

async fn migrate_with(connection: &mut PgConnection) -> Result<(), Failed> {
    raw_sql(BEGIN).execute(&mut *connection).await?;
    let found = query("SELECT to_regclass('orders_schema') IS NOT NULL").fetch_one(&mut *connection).await?;
    let done = if found.try_get(0)? { version(connection).await? } else { 0 };
    refuse_newer(done)?;
    if done == 0 {
        raw_sql(
            "CREATE TABLE orders_schema (version integer NOT NULL); INSERT INTO orders_schema VALUES (0)",
        )
        .execute(&mut *connection)
        .await?;
    }
    for migration in MIGRATIONS.iter().skip(done) {
        raw_sql(*migration).execute(&mut *connection).await?;
    }
    if done == 0 {
        let first = create_view(connection, "active").await?;
        raw_sql(AssertSqlSafe(create_indexes(first).join(";"))).execute(&mut *connection).await?;
    }
    if done < MIGRATIONS.len() {
        let now = i32::try_from(MIGRATIONS.len()).unwrap_or(i32::MAX);
        query("UPDATE orders_schema SET version = $1").bind(now).execute(&mut *connection).await?;
    }
    raw_sql("COMMIT").execute(connection).await?;
    Ok(())
}

/// Refuses a database whose tables are not those that this program works on.
pub(super) async fn check(connection: &mut PgConnection) -> Result<(), Failed> {
    let found = match version(connection).await {
        Err(Failed::Sql(error)) if failure::is_missing_table(&error) => {
            return Err(Failed::unavailable("its tables are not there; run `orders migrate`"));
        }
        found => found?,
    };
    refuse_newer(found)?;
    if found < MIGRATIONS.len() {
        let known = MIGRATIONS.len();
        let problem =
            format!("its tables are of an older program (schema {found} of {known}); run `orders migrate`");
        return Err(Failed::unavailable(&problem));
    }
    Ok(())
}

async fn version(connection: &mut PgConnection) -> Result<usize, Failed> {
    let row = query("SELECT version FROM orders_schema").persistent(false).fetch_one(connection).await?;
    Ok(usize::try_from(row.try_get::<i32, _>(0)?).unwrap_or_default())
}

fn refuse_newer(found: usize) -> Result<(), Failed> {
    let known = MIGRATIONS.len();
    if found <= known {
        return Ok(());
    }
    let problem = format!("its tables were made by a newer program (schema {found}); this one knows {known}");
    Err(Failed::unavailable(&problem))
}

/// Registers a view and creates its table, without the indexes that only queries need.
pub(super) async fn create_view(connection: &mut PgConnection, state: &str) -> Result<ViewId, Failed> {
    let row = query("INSERT INTO orders_views (state) VALUES ($1) RETURNING id")
        .bind(state)
        .persistent(false)
        .fetch_one(&mut *connection)
        .await?;
    let id: i64 = row.try_get(0)?;
    // - Ids are compared by bytes, whatever the database's own order of texts is.
    // - An order whose events so far make nothing of it has no status and no name.
    // - version 0: there is no such order; the row is there to be locked, because an event is held for it.
    // - nanos: what the two times have beyond the microseconds that the server keeps; see `rows::Nanos`.
    raw_sql(AssertSqlSafe(format!(
        "CREATE TABLE orders_{id} (
            version    bigint NOT NULL,
            created_at timestamptz NOT NULL,
            updated_at timestamptz NOT NULL,
            nanos      integer NOT NULL,
            id         text COLLATE \"C\" PRIMARY KEY,
            status     text,
            name       text,
            reason     text
        )"
    )))
    .execute(connection)
    .await?;
    Ok(ViewId(id))
}

/// The names and columns of the indexes for the pages of a view. On a view that is being built they are created last:
/// sorting once is faster than finding each row's place.
pub(super) const PAGE_INDEXES: [(&str, &str); 2] = [("by_status", "status, id"), ("by_name", "name, id")];

fn create_indexes(ViewId(view): ViewId) -> [String; 2] {
    PAGE_INDEXES
        .map(|(name, columns)| format!("CREATE INDEX orders_{view}_{name} ON orders_{view} ({columns})"))
}

/// Deletes a view, its table and the events held for it.
pub(super) async fn drop_view(connection: &mut PgConnection, ViewId(id): ViewId) -> Result<(), Failed> {
    raw_sql(AssertSqlSafe(format!(
        "DELETE FROM orders_held WHERE view = {id}; DELETE FROM orders_views WHERE id = {id};
         DROP TABLE IF EXISTS orders_{id}"
    )))
    .execute(connection)
    .await?;
    Ok(())
}
