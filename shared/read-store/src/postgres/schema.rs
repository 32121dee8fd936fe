//! The tables.
//!
//! ```text
//! read_store_schema    one row: how many of the migrations were run
//! read_store_views     one row a view: its shape, and whether it is active or building
//! <name>_<n>           the rows of view n
//! <name>_<n>_streams   the versions of its streams, if its key is not the stream
//! <name>               a view of SQL: the rows of the active view, as other tools read them
//! read_store_held      the held events of every view
//! read_store_walks     one row a shape: how far the comparison with the event store is
//! read_store_programs  one row a program that runs: its shape, and until when it is known to run
//! ```

use std::sync::LazyLock;

use event_sourcing::{Column, ColumnKind};
use jiff::Timestamp;
use runtime::postgres::{Error, Schema};
use sqlx::{AssertSqlSafe, PgConnection, Row, query, raw_sql};

use super::failure::{self, Failure};
use crate::registrations::sql::REGISTER;
use crate::registrations::{KEPT_NEW, MAKER, milliseconds};
use crate::shape::{STREAMS, Shape, Table};
use crate::{ReadStoreError, ViewId, walk};

static SCHEMA: LazyLock<Schema> = LazyLock::new(|| Schema {
    version_table: "read_store_schema".to_owned(),
    tables: ["views", "held", "walks", "programs"].map(|table| format!("read_store_{table}")).into(),
    migrations: [
        concat!(include_str!("migrations/1.sql"), include_str!("../walks.sql")),
        concat!(include_str!("migrations/2.sql"), include_str!("../programs.sql")),
    ]
    .map(str::to_owned)
    .into(),
    lock: 1_869_767_785,
});

/// Runs the migrations if one was not run yet or a table is missing, and makes sure that there is an active view.
pub(super) async fn migrate(connection: &mut PgConnection, shape: Shape) -> Result<(), Failure> {
    SCHEMA.begin_migration(connection).await?;
    ensure_active_view(connection, shape).await?;
    raw_sql("COMMIT").execute(connection).await?;
    Ok(())
}

/// Makes sure that there is an active view of this shape with a table. If its table was gone, the view is empty then, and has to
/// be filled from the event store.
async fn ensure_active_view(connection: &mut PgConnection, shape: Shape) -> Result<(), Failure> {
    let sql = "SELECT id, to_regclass($1 || '_' || id) IS NOT NULL AND to_regclass($1 || '_' || id || $3) IS NOT NULL
               FROM read_store_views WHERE shape = $2 AND state = 'active'";
    let beside = if shape.keyed_by.is_some() { STREAMS } else { "" };
    query(walk::sql::ADD).bind(shape.key).persistent(false).execute(&mut *connection).await?;
    let found = query(sql).bind(shape.name).bind(shape.key).bind(beside).persistent(false);
    let (table, why) = match found.fetch_optional(&mut *connection).await? {
        Some(row) => {
            let table = shape.table(ViewId(row.try_get(0)?));
            if row.try_get(1)? {
                return create_missing_indexes(connection, table).await;
            }
            create_table(connection, table).await?;
            let empty = "UPDATE read_store_views SET filled = false WHERE id = $1";
            query(empty).bind(table.id.0).persistent(false).execute(&mut *connection).await?;
            (table, "its table was missing")
        }
        None => {
            pass_former_tables(connection, shape).await?;
            (create_view(connection, shape, "active").await?, "it is new")
        }
    };
    create_missing_indexes(connection, table).await?;
    show_first_view(connection, table).await?;
    keep_new_tables(connection, shape).await?;
    tracing::info!(%table, why, "made the table of the view");
    query(walk::sql::DOUBT)
        .bind(why)
        .bind(Timestamp::now().as_millisecond())
        .bind(shape.key)
        .persistent(false)
        .execute(connection)
        .await?;
    Ok(())
}

/// Keeps the tables of this shape, which are new, until a program registers for them.
async fn keep_new_tables(connection: &mut PgConnection, shape: Shape) -> Result<(), Failure> {
    let now = now(connection).await?;
    let keep = query(REGISTER).bind(shape.key).bind(MAKER).bind(now).bind(milliseconds(KEPT_NEW));
    keep.bind(false).persistent(false).execute(connection).await?;
    Ok(())
}

/// The time by the server's clock: milliseconds since 1970.
pub(super) async fn now(connection: &mut PgConnection) -> Result<i64, Failure> {
    let sql = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint";
    Ok(query(sql).persistent(false).fetch_one(connection).await?.try_get(0)?)
}

/// Skips the numbers of tables that still exist, so that they are not used again after the list of views was lost.
async fn pass_former_tables(connection: &mut PgConnection, shape: Shape) -> Result<(), Failure> {
    let (name, number) = (shape.name, shape.name.len() + 2);
    let sql = format!(
        "SELECT setval(pg_get_serial_sequence('read_store_views', 'id'),
             greatest((SELECT last_value FROM read_store_views_id_seq), max(substr(relname, {number})::bigint)))
         FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r' AND relname ~ '^{name}_[0-9]{{1,18}}$'
         HAVING count(*) > 0"
    );
    raw_sql(AssertSqlSafe(sql)).execute(connection).await?;
    Ok(())
}

/// Refuses a database whose tables this program can't work on. Creates the tables if there are none, just as a file and a topic
/// are created. If nobody has run `migrate`, a function may be the first to meet an empty database.
pub(super) async fn check(connection: &mut PgConnection, shape: Shape) -> Result<(), Failure> {
    let found = match SCHEMA.version(connection).await {
        Err(Error::Sql(error)) if failure::is_missing_table(&error) => {
            return create(connection, shape).await;
        }
        found => found?,
    };
    let known = SCHEMA.migrations.len();
    if found < known {
        let problem =
            format!("its tables are of an older program (schema {found} of {known}); run `migrate`");
        return Err(Failure::unavailable(&problem));
    }
    // A database without an active view of this shape: the program's view has another shape than all before it.
    let sql = "SELECT 1 FROM read_store_views WHERE shape = $1 AND state = 'active'";
    let active = query(sql).bind(shape.key).persistent(false).fetch_optional(&mut *connection).await?;
    if active.is_none() { create(connection, shape).await } else { Ok(()) }
}

async fn create(connection: &mut PgConnection, shape: Shape) -> Result<(), Failure> {
    migrate(connection, shape).await.map_err(|failed| {
        let why = ReadStoreError::from(failed);
        Failure::unavailable(&format!("its tables are not there and can't be created; run `migrate`: {why}"))
    })
}

/// Registers a view and creates its table, without the indexes that only queries need.
pub(super) async fn create_view(
    connection: &mut PgConnection,
    shape: Shape,
    state: &str,
) -> Result<Table, Failure> {
    let row = query("INSERT INTO read_store_views (shape, state) VALUES ($1, $2) RETURNING id")
        .bind(shape.key)
        .bind(state)
        .persistent(false)
        .fetch_one(&mut *connection)
        .await?;
    let table = shape.table(ViewId(row.try_get(0)?));
    create_table(connection, table).await?;
    Ok(table)
}

/// The type of a column of this kind.
pub(super) const fn sql_type(kind: ColumnKind) -> &'static str {
    match kind {
        ColumnKind::Text | ColumnKind::Choice(_) => "text",
        ColumnKind::Integer => "bigint",
        ColumnKind::Boolean => "boolean",
        ColumnKind::Time => "timestamptz",
    }
}

async fn create_table(connection: &mut PgConnection, table: Table) -> Result<(), Failure> {
    // - Ids are compared by bytes, whatever the database's own order of texts is.
    // - A stream whose events so far make no row has no values, so no column requires one.
    // - Version 0: no event was applied. The entry exists to be locked, because an event is held for the stream.
    // - Values of a fixed length stand first, where they need no padding.
    let is_text = |kind: ColumnKind| matches!(kind, ColumnKind::Text | ColumnKind::Choice(_));
    let (texts, others): (Vec<&Column>, Vec<&Column>) =
        table.shape.columns.iter().partition(|column| is_text(column.kind));
    let key = table.shape.key_column();
    let collation = if is_text(key.kind) { " COLLATE \"C\"" } else { "" };
    let mut columns = Vec::new();
    let mut before = String::new();
    if table.shape.keyed_by.is_none() {
        columns.push("version bigint NOT NULL".to_owned());
    } else {
        // Rows without versions, or versions without rows, are of no use: what is left of the two tables goes.
        before = format!(
            "DROP TABLE IF EXISTS {table}, {streams} CASCADE;
             CREATE TABLE {streams} (version bigint NOT NULL, id text COLLATE \"C\" PRIMARY KEY);",
            streams = table.streams()
        );
    }
    columns.extend(others.iter().map(|column| format!("{} {}", column.name, sql_type(column.kind))));
    columns.push(format!("{} {}{collation} PRIMARY KEY", key.name, sql_type(key.kind)));
    columns.extend(texts.iter().map(|column| format!("{} {}", column.name, sql_type(column.kind))));
    columns.extend(fitting_indexes(table.shape));
    let sql = format!("{before} CREATE TABLE {table} ({})", columns.join(", "));
    raw_sql(AssertSqlSafe(sql)).execute(connection).await?;
    Ok(())
}

/// The maximum length of the texts in an entry of an index, in bytes. The server takes 2704 bytes, with what it adds.
const INDEXED: usize = 2_600;

/// Constraints that refuse a text which is too long for its index. The problem: the server itself refuses it too, but only where
/// the index is, and only if the text does not shrink enough when it is compressed. A rebuild makes the indexes last, so its view
/// would take the text, and no swap would be possible. With the constraint the text is refused in every view alike.
fn fitting_indexes(shape: Shape) -> impl Iterator<Item = String> {
    let is_text = |kind: ColumnKind| matches!(kind, ColumnKind::Text);
    let key = shape.key_column();
    shape.indexes.iter().filter_map(move |index| {
        let column =
            shape.columns.iter().find(|column| column.name == index.column && is_text(column.kind))?;
        let name = column.name;
        let key = if is_text(key.kind) { format!(" + octet_length({})", key.name) } else { String::new() };
        Some(format!("CONSTRAINT {name}_fits_its_index CHECK (octet_length({name}){key} <= {INDEXED})"))
    })
}

/// Lets the SQL view that has the name of ours show the rows of this table. Leaves it alone if something else has that name.
///
/// Views that others have made from it stay if its columns stay, or if others follow them. Otherwise they go with it: the table that
/// it shows is about to be dropped.
pub(super) async fn show_to_sql_tools(connection: &mut PgConnection, table: Table) -> Result<(), Failure> {
    let (name, select) = (table.shape.name, table.rows_sql());
    if !matches!(kind_of(connection, name).await?.as_deref(), None | Some("v")) {
        tracing::warn!(
            name,
            "the schema has something else of the view's name: SQL tools are not shown the view"
        );
        return Ok(());
    }
    let show = format!(
        "DO $$ BEGIN
             CREATE OR REPLACE VIEW {name} AS {select};
         EXCEPTION WHEN invalid_table_definition THEN
             DROP VIEW {name} CASCADE;
             CREATE VIEW {name} AS {select};
         END $$"
    );
    raw_sql(AssertSqlSafe(show)).execute(connection).await?;
    Ok(())
}

/// Shows a new view at once if there is no other; otherwise it is shown when it has been filled.
async fn show_first_view(connection: &mut PgConnection, table: Table) -> Result<(), Failure> {
    let is_shown = kind_of(connection, table.shape.name).await?.is_some();
    let views = query("SELECT count(*) FROM read_store_views").persistent(false);
    let views: i64 = views.fetch_one(&mut *connection).await?.try_get(0)?;
    if is_shown && views > 1 { Ok(()) } else { show_to_sql_tools(connection, table).await }
}

/// Returns the kind of the relation of this name, as pg_class has it, if there is one.
async fn kind_of(connection: &mut PgConnection, name: &str) -> Result<Option<String>, Failure> {
    let sql = "SELECT relkind::text FROM pg_class WHERE relname = $1 AND relnamespace = current_schema()::regnamespace";
    let found = query(sql).bind(name).persistent(false).fetch_optional(connection).await?;
    Ok(found.map(|row| row.try_get(0)).transpose()?)
}

/// Only those: also one that exists already would wait for every writer of the table, and hold up those behind it.
async fn create_missing_indexes(connection: &mut PgConnection, table: Table) -> Result<(), Failure> {
    for (name, columns) in table.page_indexes() {
        let missing = query("SELECT to_regclass($1) IS NULL").bind(&name).persistent(false);
        if missing.fetch_one(&mut *connection).await?.try_get(0)? {
            let create = format!("CREATE INDEX {name} ON {table} ({columns})");
            raw_sql(AssertSqlSafe(create)).execute(&mut *connection).await?;
        }
    }
    Ok(())
}

/// Deletes a view, its table and the events held for it.
pub(super) async fn drop_view(connection: &mut PgConnection, table: Table) -> Result<(), Failure> {
    let (ViewId(id), drop) = (table.id, table.drop_sql());
    raw_sql(AssertSqlSafe(format!(
        "DELETE FROM read_store_held WHERE view = {id}; DELETE FROM read_store_views WHERE id = {id}; {drop}"
    )))
    .execute(connection)
    .await?;
    Ok(())
}
