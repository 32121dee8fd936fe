//! The file and its tables.
//!
//! ```text
//! views        one row a view: active, or building
//! orders_<n>   the orders of view n
//! held_events  the held events of every view
//! orders_walk  one row: how far the comparison with the event store is
//! ```

use std::path::Path;
use std::thread;
use std::time::Duration;

use jiff::Timestamp;
use runtime::files;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior};

use crate::walk::sql;
use crate::{OpenError, ReadStoreError, ViewId};

/// `PRAGMA application_id`: "ordV". It tells this file from other SQLite files.
const APPLICATION: i32 = 0x6f72_6456;
/// `PRAGMA user_version`: goes up with every change of the tables.
const SCHEMA: i32 = 1;

/// A connection that reads. Its cache is small (negative: KiB), for the operating system keeps the file too.
pub(super) const FOR_READS: &str = "PRAGMA cache_size = -2048";
/// A connection that writes batches. The log is moved into the file (wal_autocheckpoint: pages) before it gets long.
pub(super) const FOR_BATCHES: &str = "PRAGMA cache_size = -8192; PRAGMA wal_autocheckpoint = 2000";
/// A connection that fills a view, in a process that does not do much else: where orders come in no order of their ids,
/// each page of the scan touches most of the table, which is then moved into the file once for several of them.
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
    // Else a statement whose plan could depend on a value is compiled anew each time that value is bound.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map_err(refuse)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

/// Waits a moment, shorter than most pauses between two transactions of a busy writer, and says to try again; for a
/// minute or more.
fn wait_for_lock(tries: i32) -> bool {
    thread::sleep(Duration::from_micros(200));
    tries < 240_000
}

fn refused(path: &Path, problem: &str) -> OpenError {
    OpenError::Refused(format!("{}: {problem}", path.display()))
}

/// Creates the folder and the tables, where they are not there yet.
pub(super) fn create(path: &Path) -> Result<(), OpenError> {
    if path.as_os_str().is_empty() {
        return Err(OpenError::Refused("sqlite: names no file; allowed: sqlite:PATH".to_owned()));
    }
    if let Some(folder) = path.parent() {
        files::create_folder(folder).map_err(|error| refused(path, &error.to_string()))?;
    }
    // Where it can't be created, SQLite says why.
    let _ = files::create_file(path);
    let mut connection = connect(path, FOR_READS)?;
    let found = create_tables(&mut connection).map_err(|error| refused(path, &error.to_string()))?;
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

fn create_tables(connection: &mut Connection) -> Result<FileKind, ReadStoreError> {
    // Immediate, so that of two processes that start at once only one creates.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let pragma = |name: &str| transaction.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
    let (application, schema) = (pragma("application_id")?, pragma("user_version")?);
    if application == APPLICATION {
        if schema > SCHEMA {
            return Ok(FileKind::Newer(schema));
        }
        ensure_tables(&transaction)?;
        transaction.commit()?;
        return Ok(FileKind::Ours);
    }
    let tables: i64 = transaction.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if application != 0 || schema != 0 || tables > 0 {
        return Ok(FileKind::Foreign);
    }
    transaction.pragma_update(None, "application_id", APPLICATION)?;
    transaction.pragma_update(None, "user_version", SCHEMA)?;
    ensure_tables(&transaction)?;
    transaction.commit()?;
    Ok(FileKind::Ours)
}

/// Where the list of views was lost, the numbers of tables that are still there are not used again.
const PASS_FORMER_TABLES: &str = "
    INSERT INTO sqlite_sequence (name, seq)
    SELECT 'views', max(CAST(substr(name, 8) AS INTEGER)) FROM sqlite_schema
    WHERE type = 'table' AND name GLOB 'orders_[0-9]*' HAVING count(*) > 0";

/// Makes what is missing. A view whose table is gone is empty then, and the comparison with the event store fills it.
fn ensure_tables(transaction: &Transaction<'_>) -> Result<(), ReadStoreError> {
    transaction.execute_batch(TABLES)?;
    transaction.execute_batch(sql::TABLE)?;
    let active = transaction.query_row("SELECT id FROM views WHERE state = 'active'", [], |row| row.get(0));
    let view = match active.optional()? {
        Some(id) => {
            let table = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'orders_' || ?1";
            if transaction.prepare(table)?.exists([id])? {
                return Ok(());
            }
            create_table(transaction, id)?;
            ViewId(id)
        }
        None => {
            transaction.execute(PASS_FORMER_TABLES, [])?;
            create_view(transaction, "active")?
        }
    };
    create_indexes(transaction, view)?;
    super::walk::doubt(transaction, "its table is new", Timestamp::now())
}

const TABLES: &str = "
CREATE TABLE IF NOT EXISTS views (
    id    INTEGER PRIMARY KEY AUTOINCREMENT, -- never used again: a table's name says which view it was
    state TEXT NOT NULL UNIQUE CHECK (state IN ('active', 'building')) -- UNIQUE: one of each, at most
) STRICT;

CREATE TABLE IF NOT EXISTS held_events (
    id        INTEGER PRIMARY KEY AUTOINCREMENT, -- never used again: `drop 7` is never about another event
    view      INTEGER NOT NULL,
    order_id  TEXT,
    version   INTEGER,
    reason    TEXT NOT NULL,
    problem   TEXT NOT NULL,
    topic     TEXT NOT NULL,
    partition INTEGER NOT NULL,
    offset    INTEGER NOT NULL,
    key       BLOB,
    value     BLOB,
    held_at   ANY NOT NULL
) STRICT;

CREATE INDEX IF NOT EXISTS held_by_order ON held_events (view, order_id, version, reason);
CREATE INDEX IF NOT EXISTS held_strays ON held_events (view, topic, partition, offset) WHERE version IS NULL OR order_id IS NULL;
";

/// Registers a view and creates its table, without the indexes that only queries need.
pub(super) fn create_view(transaction: &Transaction<'_>, state: &str) -> Result<ViewId, ReadStoreError> {
    transaction.execute("INSERT INTO views (state) VALUES (?1)", [state])?;
    let id = transaction.last_insert_rowid();
    create_table(transaction, id)?;
    Ok(ViewId(id))
}

fn create_table(transaction: &Transaction<'_>, id: i64) -> Result<(), ReadStoreError> {
    // An order whose events so far make nothing of it has no status and no name.
    transaction.execute_batch(&format!(
        "CREATE TABLE orders_{id} (
            id         TEXT PRIMARY KEY,
            version    INTEGER NOT NULL,
            status     TEXT,
            name       TEXT,
            reason     TEXT,
            created_at ANY NOT NULL,
            updated_at ANY NOT NULL
        ) STRICT, WITHOUT ROWID"
    ))?;
    Ok(())
}

/// The indexes for the pages of a view by status and by name. On a view that is being built they are created last:
/// sorting once is faster than finding each row's place.
pub(super) fn create_indexes(
    transaction: &Transaction<'_>,
    ViewId(id): ViewId,
) -> Result<(), ReadStoreError> {
    transaction.execute_batch(&format!(
        "CREATE INDEX IF NOT EXISTS orders_{id}_by_status ON orders_{id} (status, id);
         CREATE INDEX IF NOT EXISTS orders_{id}_by_name ON orders_{id} (name, id);"
    ))?;
    Ok(())
}

/// Deletes a view, its table and the events held for it.
pub(super) fn drop_view(transaction: &Transaction<'_>, ViewId(id): ViewId) -> Result<(), ReadStoreError> {
    transaction.execute("DELETE FROM held_events WHERE view = ?1", [id])?;
    transaction.execute("DELETE FROM views WHERE id = ?1", [id])?;
    transaction.execute_batch(&format!("DROP TABLE IF EXISTS orders_{id}"))?;
    Ok(())
}

/// The view that queries read. Asked in the transaction that reads it, so that a swap is seen at once.
pub(super) fn active_view(connection: &Connection) -> Result<ViewId, ReadStoreError> {
    let mut statement = connection.prepare_cached("SELECT id FROM views WHERE state = 'active'")?;
    let id = statement.query_row([], |row| row.get(0)).optional()?;
    id.map(ViewId).ok_or_else(|| ReadStoreError::Corrupt("no active view".to_owned()))
}

/// The view that a rebuild is filling.
pub(super) fn building_view(connection: &Connection) -> Result<Option<ViewId>, ReadStoreError> {
    let mut statement = connection.prepare_cached("SELECT id FROM views WHERE state = 'building'")?;
    Ok(statement.query_row([], |row| row.get(0)).optional()?.map(ViewId))
}

#[cfg(test)]
mod tests {
    use domain::{OrderName, Status};

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
        create(&path).unwrap();
        let connection = connect(&path, FOR_READS).unwrap();
        let page = |status: Option<Status>, name: Option<&str>| {
            let name = name.map(|name| OrderName::parse(name).unwrap());
            read::page_sql(ViewId(1), &Filter { status, name, after: None, limit: 1 })
        };
        let by_name = "orders_1_by_name (name=? AND id>?)";
        let expected = [
            (page(None, None), "orders_1 USING PRIMARY KEY (id>?)"),
            (page(Some(Status::New), None), "orders_1_by_status (status=? AND id>?)"),
            (page(None, Some("a")), by_name),
            (page(Some(Status::New), Some("a")), by_name),
            (project::HELD_ROWS.to_owned(), "held_by_order (view=? AND order_id=?)"),
            (project::HELD_FOR.to_owned(), "held_by_order (view=? AND order_id=?)"),
            (project::ANY_HELD.to_owned(), "held_by_order (view=? AND order_id>?)"),
            (project::STRAYS.to_owned(), "held_strays (view=? AND topic=? AND partition=? AND offset=?)"),
        ];
        for (sql, index) in expected {
            let plan = plan_of(&connection, &sql);
            assert!(plan.contains(index) && !plan.contains("TEMP B-TREE"), "{sql}: {plan}");
        }
    }
}
