//! The file and its tables.
//!
//! ```text
//! read_store_views     one row a view: its shape, and whether it is active or building
//! <name>_<n>           the rows of view n
//! <name>_<n>_streams   the versions of its streams, if its key is not the stream
//! <name>               a view of SQL: the rows of the active view, as other tools read them
//! read_store_held      the held events of every view
//! read_store_walks     one row a shape: how far the comparison with the event store is
//! read_store_programs  one row a program that runs: its shape, and until when it is known to run
//! ```

use std::path::Path;
use std::thread;
use std::time::Duration;

use event_sourcing::ColumnKind;
use jiff::Timestamp;
use runtime::files;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use crate::registrations::{self, KEPT_NEW, MAKER, milliseconds};
use crate::shape::{Shape, Table};
use crate::walk::sql;
use crate::{OpenError, ReadStoreError, ViewId};

/// `PRAGMA application_id`: "view". It tells this file from other SQLite files.
const APPLICATION: i32 = 0x7669_6577;
/// `PRAGMA user_version`: goes up with every change of the tables.
const SCHEMA: i32 = 2;

/// The settings of a connection that reads. Its cache is small (negative: KiB), because the operating system caches the file too.
pub(super) const FOR_READS: &str = "PRAGMA cache_size = -2048";
/// The settings of a connection that writes batches. The log is moved into the file (wal_autocheckpoint: pages) before it gets
/// long.
pub(super) const FOR_BATCHES: &str = "PRAGMA cache_size = -8192; PRAGMA wal_autocheckpoint = 2000";
/// The settings of a connection that fills a view, in a process that does not do much else. If streams come in no order of their
/// ids, each page of the scan touches most of the table. With a longer log, the table is moved into the file once for several
/// pages of the scan.
pub(super) const FOR_REBUILD: &str = "PRAGMA cache_size = -49152; PRAGMA wal_autocheckpoint = 20000";

/// Opens a connection, tuned for what it does.
pub(super) fn connect(path: &Path, tuning: &str) -> Result<Connection, OpenError> {
    let refuse = |error: rusqlite::Error| refused(path, &error.to_string());
    let mut connection = Connection::open(path).map_err(refuse)?;
    // Another process may hold the lock, for a page of a rebuild or for its swap. SQLite's own handler backs off to
    // 100 ms between its tries and then mostly misses the moments between two pages; this one does not.
    connection.busy_handler(Some(wait_for_lock)).map_err(refuse)?;
    // FULL, not NORMAL: a batch is acknowledged to the channel once it is committed here, and nobody sends it again.
    let settings =
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA journal_size_limit = 67108864";
    connection.execute_batch(settings).map_err(refuse)?;
    connection.execute_batch(tuning).map_err(refuse)?;
    // Otherwise SQLite compiles a statement anew each time a value is bound on which its plan could depend.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map_err(refuse)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

/// Waits a moment, shorter than most pauses between two transactions of a busy writer. Returns true to try again, for a minute or
/// more.
fn wait_for_lock(tries: i32) -> bool {
    thread::sleep(Duration::from_micros(200));
    tries < 240_000
}

fn refused(path: &Path, problem: &str) -> OpenError {
    OpenError::Refused(format!("{}: {problem}", path.display()))
}

/// Creates the folder, the file and the tables that are missing.
pub(super) fn create(path: &Path, shape: Shape) -> Result<(), OpenError> {
    if path.as_os_str().is_empty() {
        return Err(OpenError::Refused("sqlite: names no file; allowed: sqlite:PATH".to_owned()));
    }
    if let Some(folder) = path.parent() {
        files::create_folder(folder).map_err(|error| refused(path, &error.to_string()))?;
    }
    // If the file can't be created, SQLite gives the reason when it opens it.
    let _ = files::create_file(path);
    let mut connection = connect(path, FOR_READS)?;
    let found = create_tables(&mut connection, shape).map_err(|error| refused(path, &error.to_string()))?;
    match found {
        FileKind::Ours => Ok(()),
        FileKind::Newer(schema) => {
            let problem = format!("was made by a newer program (schema {schema}); this one knows {SCHEMA}");
            Err(refused(path, &problem))
        }
        FileKind::Foreign => Err(refused(path, "is a SQLite file, but not a read store")),
    }
}

enum FileKind {
    Ours,
    Newer(i32),
    Foreign,
}

fn create_tables(connection: &mut Connection, shape: Shape) -> Result<FileKind, ReadStoreError> {
    // Immediate, so that only one of two processes that start at once creates the tables.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let pragma = |name: &str| transaction.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
    let (application, schema) = (pragma("application_id")?, pragma("user_version")?);
    if application == APPLICATION {
        if schema > SCHEMA {
            return Ok(FileKind::Newer(schema));
        }
        if schema < SCHEMA {
            transaction.execute_batch(FROM_1_TO_2)?;
            transaction.pragma_update(None, "user_version", SCHEMA)?;
        }
        ensure_tables(&transaction, shape)?;
        transaction.commit()?;
        return Ok(FileKind::Ours);
    }
    let tables: i64 = transaction.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if application != 0 || schema != 0 || tables > 0 {
        return Ok(FileKind::Foreign);
    }
    transaction.pragma_update(None, "application_id", APPLICATION)?;
    transaction.pragma_update(None, "user_version", SCHEMA)?;
    ensure_tables(&transaction, shape)?;
    transaction.commit()?;
    Ok(FileKind::Ours)
}

/// Skips the numbers of tables that still exist, so that they are not used again after the list of views was lost.
fn pass_former_tables(transaction: &Transaction<'_>, shape: Shape) -> Result<(), ReadStoreError> {
    let (name, number) = (shape.name, shape.name.len() + 2);
    let last = format!(
        "SELECT max(CAST(substr(name, {number}) AS INTEGER)) FROM sqlite_schema
         WHERE type = 'table' AND name GLOB '{name}_[0-9]*'"
    );
    let known = "SELECT seq FROM sqlite_sequence WHERE name = 'read_store_views'";
    let last: Option<i64> = transaction.query_row(&last, [], |row| row.get(0))?;
    let known: Option<i64> = transaction.query_row(known, [], |row| row.get(0)).optional()?;
    match (last, known) {
        (Some(last), None) => {
            let add = "INSERT INTO sqlite_sequence (name, seq) VALUES ('read_store_views', ?1)";
            transaction.execute(add, [last])?;
        }
        (Some(last), Some(known)) if known < last => {
            transaction
                .execute("UPDATE sqlite_sequence SET seq = ?1 WHERE name = 'read_store_views'", [last])?;
        }
        _ => {}
    }
    Ok(())
}

/// Creates the missing tables.
fn ensure_tables(transaction: &Transaction<'_>, shape: Shape) -> Result<(), ReadStoreError> {
    transaction.execute_batch(TABLES)?;
    transaction.execute_batch(sql::TABLE)?;
    transaction.execute_batch(registrations::sql::TABLE)?;
    ensure_active_view(transaction, shape)
}

/// Makes sure that there is an active view of this shape with a table. If its table was gone, the view is empty then, and has to
/// be filled from the event store.
pub(super) fn ensure_active_view(transaction: &Transaction<'_>, shape: Shape) -> Result<(), ReadStoreError> {
    let view = match view_in_state(transaction, shape, "active")? {
        Some(view) => {
            let table = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?1";
            let mut table = transaction.prepare_cached(table)?;
            if table.exists([view.to_string()])? && table.exists([view.streams().to_string()])? {
                return create_indexes(transaction, view);
            }
            create_table(transaction, view)?;
            transaction.execute("UPDATE read_store_views SET filled = 0 WHERE id = ?1", [view.id.0])?;
            view
        }
        None => {
            pass_former_tables(transaction, shape)?;
            create_view(transaction, shape, "active")?
        }
    };
    create_indexes(transaction, view)?;
    show_first_view(transaction, view)?;
    transaction.execute(&sql::numbered(sql::ADD), [shape.key])?;
    keep_new_tables(transaction, shape)?;
    super::walk::doubt(transaction, shape, "its table is new", Timestamp::now())
}

/// Keeps the tables of this shape, which are new, until a program registers for them.
fn keep_new_tables(transaction: &Transaction<'_>, shape: Shape) -> Result<(), ReadStoreError> {
    let values = params![shape.key, MAKER, now(transaction)?, milliseconds(KEPT_NEW), false];
    transaction.execute(&sql::numbered(registrations::sql::REGISTER), values)?;
    Ok(())
}

/// The time by SQLite's clock: milliseconds since 1970.
pub(super) fn now(connection: &Connection) -> Result<i64, ReadStoreError> {
    let mut statement = connection.prepare_cached("SELECT CAST(unixepoch('subsec') * 1000 AS INTEGER)")?;
    Ok(statement.query_row([], |row| row.get(0))?)
}

/// Lets the SQL view that has the name of ours show the rows of this table.
pub(super) fn show_to_sql_tools(transaction: &Transaction<'_>, view: Table) -> Result<(), ReadStoreError> {
    let (name, select) = (view.shape.name, view.rows_sql());
    transaction.execute_batch(&format!("DROP VIEW IF EXISTS {name}; CREATE VIEW {name} AS {select}"))?;
    Ok(())
}

/// Shows a new view at once if there is no other; otherwise it is shown when it has been filled.
fn show_first_view(transaction: &Transaction<'_>, view: Table) -> Result<(), ReadStoreError> {
    let shown = "SELECT 1 FROM sqlite_schema WHERE name = ?1";
    let is_shown = transaction.prepare_cached(shown)?.exists([view.shape.name])?;
    let views: i64 = transaction.query_row("SELECT count(*) FROM read_store_views", [], |row| row.get(0))?;
    if is_shown && views > 1 { Ok(()) } else { show_to_sql_tools(transaction, view) }
}

/// Views that were there before the column were filled.
const FROM_1_TO_2: &str = "
ALTER TABLE read_store_views ADD COLUMN filled INTEGER NOT NULL DEFAULT 0;
UPDATE read_store_views SET filled = 1;
";

const TABLES: &str = "
CREATE TABLE IF NOT EXISTS read_store_views (
    id    INTEGER PRIMARY KEY AUTOINCREMENT, -- never used again: a table's name says which view it was
    shape TEXT NOT NULL, -- as the program writes it
    state TEXT NOT NULL CHECK (state IN ('active', 'building')),
    filled INTEGER NOT NULL DEFAULT 0, -- 1 if it has had all that the event store had
    UNIQUE (shape, state) -- one of each, at most
) STRICT;

CREATE TABLE IF NOT EXISTS read_store_held (
    id        INTEGER PRIMARY KEY AUTOINCREMENT, -- never used again: `drop 7` is never about another event
    view      INTEGER NOT NULL,
    stream    TEXT,
    version   INTEGER,
    reason    TEXT NOT NULL,
    problem   TEXT NOT NULL,
    topic     TEXT NOT NULL,
    partition INTEGER NOT NULL,
    record_offset INTEGER NOT NULL,
    key       BLOB,
    value     BLOB,
    held_at   INTEGER NOT NULL -- microseconds since 1970
) STRICT;

CREATE INDEX IF NOT EXISTS read_store_held_by_stream ON read_store_held (view, stream, version, reason);
CREATE INDEX IF NOT EXISTS read_store_held_strays ON read_store_held (view, topic, partition, record_offset) WHERE version IS NULL OR stream IS NULL;
";

/// Registers a view and creates its table, without the indexes that only queries need.
pub(super) fn create_view(
    transaction: &Transaction<'_>,
    shape: Shape,
    state: &str,
) -> Result<Table, ReadStoreError> {
    let add = "INSERT INTO read_store_views (shape, state) VALUES (?1, ?2)";
    transaction.execute(add, [shape.key, state])?;
    let view = shape.table(ViewId(transaction.last_insert_rowid()));
    create_table(transaction, view)?;
    Ok(view)
}

const fn sql_type(kind: ColumnKind) -> &'static str {
    match kind {
        ColumnKind::Text | ColumnKind::Choice(_) => "TEXT",
        // True is 1; a time is its microseconds since 1970.
        ColumnKind::Integer | ColumnKind::Boolean | ColumnKind::Time => "INTEGER",
    }
}

fn create_table(transaction: &Transaction<'_>, view: Table) -> Result<(), ReadStoreError> {
    let key = view.shape.key_column();
    let mut columns = vec![format!("{} {} PRIMARY KEY", key.name, sql_type(key.kind))];
    if view.shape.keyed_by.is_none() {
        columns.push("version INTEGER NOT NULL".to_owned());
    } else {
        // Rows without versions, or versions without rows, are of no use: what is left of the two tables goes.
        transaction.execute_batch(&format!(
            "DROP TABLE IF EXISTS {view}; DROP TABLE IF EXISTS {streams};
             CREATE TABLE {streams} (id TEXT PRIMARY KEY, version INTEGER NOT NULL) STRICT, WITHOUT ROWID",
            streams = view.streams()
        ))?;
    }
    // A stream whose events so far make no row has no values, so no column requires one.
    columns
        .extend(view.shape.columns.iter().map(|column| format!("{} {}", column.name, sql_type(column.kind))));
    let sql = format!("CREATE TABLE {view} ({}) STRICT, WITHOUT ROWID", columns.join(", "));
    Ok(transaction.execute_batch(&sql)?)
}

/// The indexes for pages.
pub(super) fn create_indexes(transaction: &Transaction<'_>, view: Table) -> Result<(), ReadStoreError> {
    for (name, columns) in view.page_indexes() {
        transaction.execute_batch(&format!("CREATE INDEX IF NOT EXISTS {name} ON {view} ({columns})"))?;
    }
    Ok(())
}

/// Deletes a view, its table and the events held for it.
pub(super) fn drop_view(transaction: &Transaction<'_>, view: Table) -> Result<(), ReadStoreError> {
    transaction.execute("DELETE FROM read_store_held WHERE view = ?1", [view.id.0])?;
    transaction.execute("DELETE FROM read_store_views WHERE id = ?1", [view.id.0])?;
    transaction.execute_batch(&view.drop_sql())?;
    Ok(())
}

/// Returns the view that queries read. Call it in the transaction that reads the view, so that a swap is seen at once.
pub(super) fn active_view(connection: &Connection, shape: Shape) -> Result<Table, ReadStoreError> {
    let active = view_in_state(connection, shape, "active")?;
    active.ok_or_else(|| ReadStoreError::Corrupt("no active view".to_owned()))
}

/// The view that a rebuild is filling.
pub(super) fn building_view(connection: &Connection, shape: Shape) -> Result<Option<Table>, ReadStoreError> {
    view_in_state(connection, shape, "building")
}

fn view_in_state(
    connection: &Connection,
    shape: Shape,
    state: &str,
) -> Result<Option<Table>, ReadStoreError> {
    let sql = "SELECT id FROM read_store_views WHERE shape = ?1 AND state = ?2";
    let mut statement = connection.prepare_cached(sql)?;
    let id = statement.query_row([shape.key, state], |row| row.get(0)).optional()?;
    Ok(id.map(|id| shape.table(ViewId(id))))
}

#[cfg(test)]
mod tests {
    use event_sourcing::testing::{BY_STAGE, BY_TITLE, Stage, TasksView};

    use super::super::{project, read};
    use super::*;
    use crate::Filter;

    fn plan_of(connection: &Connection, sql: &str) -> String {
        let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let steps = statement.raw_query().mapped(|row| row.get::<_, String>(3));
        steps.map(Result::unwrap).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn pages_and_held_events_are_found_by_index_and_never_sorted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("view.db");
        let shape = Shape::of::<TasksView>();
        create(&path, shape).unwrap();
        let connection = connect(&path, FOR_READS).unwrap();
        let page = |filter: Filter| {
            read::page_sql(shape.table(ViewId(1)), &shape.column_list(), read::Start::After, &filter).0
        };
        let (first, title) = (Filter::first(1), "a".to_owned());
        let by_title = "tasks_1_by_title (title=? AND id>?)";
        let expected = [
            (page(first.clone()), "tasks_1 USING PRIMARY KEY (id>?)"),
            (page(first.clone().equal(BY_STAGE, &Stage::Open)), "tasks_1_by_stage (stage=? AND id>?)"),
            (page(first.clone().equal(BY_TITLE, &title)), by_title),
            (page(first.equal(BY_STAGE, &Stage::Open).equal(BY_TITLE, &title)), by_title),
            (project::HELD_ROWS.to_owned(), "read_store_held_by_stream (view=? AND stream=?)"),
            (project::HELD_FOR.to_owned(), "read_store_held_by_stream (view=? AND stream=?)"),
            (project::ANY_HELD.to_owned(), "read_store_held_by_stream (view=? AND stream>?)"),
            (
                project::UNADDRESSED.to_owned(),
                "read_store_held_strays (view=? AND topic=? AND partition=? AND record_offset=?)",
            ),
        ];
        for (sql, index) in expected {
            let plan = plan_of(&connection, &sql);
            assert!(plan.contains(index) && !plan.contains("TEMP B-TREE"), "{sql}: {plan}");
        }
    }
}
