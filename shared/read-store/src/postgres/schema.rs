//! The tables.
//!
//! ```text
//! orders_schema  one row: how many of the migrations were run
//! orders_views   one row a view: active, or building
//! orders_<n>     the orders of view n
//! orders_held    the held events of every view
//! orders_walk    one row: how far the comparison with the event store is
//! ```
//!
//! They stand in the first schema of the connection's search path, beside whatever else is there.

use jiff::Timestamp;
use sqlx::{AssertSqlSafe, PgConnection, Row, query, raw_sql};

use super::connections::{Connections, MAINTENANCE, within};
use super::failure::{self, Failed};
use crate::{ReadStoreError, ViewId, walk};

/// The migrations, in order; the first makes schema 1. What was delivered once is never changed, only added to. Each leaves alone what is
/// there, so that all of them make whatever is missing.
const MIGRATIONS: &[&str] = &[include_str!("migrations/1.sql"), include_str!("migrations/2.sql")];

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
    if done < MIGRATIONS.len() || !are_all_there(connection).await? {
        for migration in MIGRATIONS {
            raw_sql(*migration).execute(&mut *connection).await?;
        }
    }
    ensure_active_view(connection).await?;
    if done < MIGRATIONS.len() {
        let now = i32::try_from(MIGRATIONS.len()).unwrap_or(i32::MAX);
        query("UPDATE orders_schema SET version = $1").bind(now).execute(&mut *connection).await?;
    }
    raw_sql("COMMIT").execute(connection).await?;
    Ok(())
}

async fn are_all_there(connection: &mut PgConnection) -> Result<bool, Failed> {
    let sql = "SELECT bool_and(to_regclass(name) IS NOT NULL)
               FROM UNNEST('{orders_views,orders_held,orders_walk}'::text[]) AS wanted (name)";
    Ok(query(sql).fetch_one(connection).await?.try_get(0)?)
}

/// Sees to it that there is an active view with a table. One whose table is gone is empty then, and the comparison with the event store
/// fills it.
async fn ensure_active_view(connection: &mut PgConnection) -> Result<(), Failed> {
    let sql = "SELECT id, to_regclass('orders_' || id) IS NOT NULL FROM orders_views WHERE state = 'active'";
    let (id, why) = match query(sql).fetch_optional(&mut *connection).await? {
        Some(row) if row.try_get(1)? => return Ok(()),
        Some(row) => {
            let id = row.try_get(0)?;
            create_table(connection, id).await?;
            (ViewId(id), "its table was missing")
        }
        None => {
            pass_former_tables(connection).await?;
            (create_view(connection, "active").await?, "it is new")
        }
    };
    raw_sql(AssertSqlSafe(create_indexes(id).join(";"))).execute(&mut *connection).await?;
    tracing::info!(view = id.0, why, "made the table of the view");
    query(walk::sql::DOUBT)
        .bind(why)
        .bind(Timestamp::now().as_millisecond())
        .persistent(false)
        .execute(connection)
        .await?;
    Ok(())
}

/// Where the list of views was lost, the numbers of tables that are still there are not used again.
async fn pass_former_tables(connection: &mut PgConnection) -> Result<(), Failed> {
    let sql = "SELECT setval(pg_get_serial_sequence('orders_views', 'id'), max(substr(relname, 8)::bigint))
               FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r' AND relname ~ '^orders_[0-9]{1,18}$'
               HAVING count(*) > 0";
    raw_sql(sql).execute(connection).await?;
    Ok(())
}

/// Refuses a database whose tables are not those that this program works on. A database that has none is given them, as a file is
/// created and a topic: a function meets an empty database first where nobody has run `orders migrate`.
pub(super) async fn check(connection: &mut PgConnection) -> Result<(), Failed> {
    let found = match version(connection).await {
        Err(Failed::Sql(error)) if failure::is_missing_table(&error) => return create(connection).await,
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

async fn create(connection: &mut PgConnection) -> Result<(), Failed> {
    migrate_with(connection).await.map_err(|failed| {
        let why = ReadStoreError::from(failed);
        Failed::unavailable(&format!(
            "its tables are not there and can't be created; run `orders migrate`: {why}"
        ))
    })
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
    let id = row.try_get(0)?;
    create_table(connection, id).await?;
    Ok(ViewId(id))
}

async fn create_table(connection: &mut PgConnection, id: i64) -> Result<(), Failed> {
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
    Ok(())
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
