//! The file: opening it, its tables, and the check that it is one of ours.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use runtime::files;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, MAIN_DB, OpenFlags, TransactionBehavior};

use super::{reminders, snapshots};
use crate::{Namespace, OpenError};

/// The mark that tells our files from those of other programs, and from our read stores (`PRAGMA application_id`).
const APPLICATION: i32 = i32::from_be_bytes(*b"ORev");

/// The version of the tables below (`PRAGMA user_version`), for all namespaces. Any change of the tables raises it by one.
const SCHEMA: i32 = 5;

/// The tables of a namespace. Commits and command ids are in one tree, and both unique keys begin with the stream. So all rows of a
/// command are close together, mostly in one page. Keys in random order would need a page of their own, and that page is the
/// greater part of a row's cost. For the same reason the tables have no rowids. Whole numbers sort before text, so a stream's
/// commits come first, by version. Times are microseconds since 1970.
const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS {namespace}_commits (
        stream       TEXT    NOT NULL,
        -- INTEGER: a commit, by the version of its first event. TEXT: a command, by its id, which says whether it is a client's.
        key          ANY     NOT NULL,
        -- The version of the commit's last event; the version that the command was answered with.
        version      INTEGER NOT NULL,
        command_hash BLOB    NOT NULL,
        -- NULL for the command of a commit, which is as old as the commit.
        recorded_at  INTEGER,
        -- Of commits only.
        events       TEXT,
        command_id   TEXT,
        metadata     TEXT,
        -- 1: the last event asks for another, which somebody else brings about.
        awaits       INTEGER,
        -- The reason for which a command was rejected. Of small records only.
        rejection    TEXT,
        -- Optimistic concurrency: a version of a stream is taken once. And idempotency: a command id is, by a commit or by
        -- the small record of a command without events.
        PRIMARY KEY (stream, key)
    ) STRICT, WITHOUT ROWID;

    -- The small records of clients' commands, by age. The system's never expire.
    CREATE INDEX IF NOT EXISTS {namespace}_small_records ON {namespace}_commits (recorded_at)
    WHERE events IS NULL AND recorded_at IS NOT NULL AND key < 'system ';

    -- The outbox: the commits that are not marked. To mark one is to delete from this small table, which is far less to
    -- write than the commit's row again.
    CREATE TABLE IF NOT EXISTS {namespace}_outbox (
        stream      TEXT    NOT NULL,
        version     INTEGER NOT NULL,
        recorded_at INTEGER NOT NULL,
        PRIMARY KEY (stream, version)
    ) STRICT, WITHOUT ROWID;
";

/// The purpose of a connection. It decides how much memory the connection may keep.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Write,
    Load,
    Maintain,
}

impl Purpose {
    /// Returns the size of the page cache, in KiB. The operating system caches the file too, and memory is limited. So the size
    /// is enough for the upper levels of the trees and the pages of a few batches.
    const fn cache(self) -> i64 {
        match self {
            Self::Write => 8 * 1024,
            Self::Load => 4 * 1024,
            Self::Maintain => 1024,
        }
    }
}

/// Opens the file for writing, and creates a missing one, and the missing tables of the namespace. Returns the path by which
/// further connections find it.
pub(super) fn open(path: &Path, namespace: &Namespace) -> Result<(PathBuf, Connection), OpenError> {
    if [Path::new(""), Path::new(":memory:")].contains(&path) {
        return Err(OpenError::Refused(
            "sqlite: needs the path of a file, such as sqlite:data/events.db".into(),
        ));
    }
    // SQLite takes some relative names for something other than a file.
    let path = std::path::absolute(path).map_err(|error| refused(path, error))?;
    if let Some(folder) = path.parent() {
        files::create_folder(folder)
            .map_err(|error| refused(&path, format_args!("its folder can't be made: {error}")))?;
    }
    // If this fails, SQLite says why when it opens the file.
    let _ = files::create_file(&path);
    let connection = open_ours(&path, namespace).map_err(|problem| refused(&path, problem))?;
    Ok((path, connection))
}

/// Opens one more connection to a file that was opened before. For [`Purpose::Write`] SQLite may create the file.
pub(super) fn connect(path: &Path, purpose: Purpose) -> rusqlite::Result<Connection> {
    let access = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let making = if purpose == Purpose::Write { OpenFlags::SQLITE_OPEN_CREATE } else { OpenFlags::empty() };
    let mut connection = Connection::open_with_flags(path, access | making)?;
    connection.busy_handler(Some(wait_for_lock))?;
    // Without this setting, SQLite compiles a statement again whenever a value is bound on which its plan could depend. It
    // compiled the append for every commit, which was two fifths of all instructions of a create.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.pragma_update(None, "cache_size", -purpose.cache())?;
    // No table refers to another.
    connection.pragma_update(None, "foreign_keys", false)?;
    connection.pragma_update(None, "query_only", purpose != Purpose::Write)?;
    // Durability: a commit has been synced when it returns. In WAL mode, "normal" would leave the sync to the next checkpoint.
    connection.pragma_update(None, "synchronous", "full")?;
    Ok(connection)
}

/// Waits a moment for another writer: another process, or another namespace in this one. Their turns take milliseconds. SQLite's own
/// handler waits longer and longer, up to 100 ms, and so mostly misses the moments between the turns of a busy writer. Returns
/// true to try again, for four seconds or more.
fn wait_for_lock(tries: i32) -> bool {
    thread::sleep(Duration::from_micros(200));
    tries < 16_000
}

pub(super) fn refused(path: &Path, problem: impl Display) -> OpenError {
    OpenError::Refused(format!("{}: {problem}", path.display()))
}

#[derive(Debug, thiserror::Error)]
enum FileProblem {
    #[error("it can't be opened or made; is it a file, in a folder that this program may write to?")]
    NoAccess,
    #[error("it can't be written to")]
    ReadOnly,
    #[error("it is not a database")]
    NoDatabase,
    #[error("it is the database of another program, or not of events")]
    Foreign,
    #[error("it was written by a newer program: its schema is {0}, and this program knows up to {SCHEMA}")]
    Newer(i32),
    #[error(
        "it was written before the first release: its schema is {0}, and this program needs {SCHEMA}; use another file"
    )]
    Older(i32),
    #[error("a write-ahead log can't be used there; the journal mode is {0}")]
    NoLog(String),
    #[error(transparent)]
    Sqlite(rusqlite::Error),
}

impl From<rusqlite::Error> for FileProblem {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => Self::NoAccess,
            Some(ErrorCode::ReadOnly) => Self::ReadOnly,
            Some(ErrorCode::NotADatabase) => Self::NoDatabase,
            _ => Self::Sqlite(error),
        }
    }
}

/// Opens the file for writing, checks that it is one of ours, and prepares it.
fn open_ours(path: &Path, namespace: &Namespace) -> Result<Connection, FileProblem> {
    let mut connection = connect(path, Purpose::Write)?;
    prepare(&mut connection, namespace)?;
    Ok(connection)
}

fn prepare(connection: &mut Connection, namespace: &Namespace) -> Result<(), FileProblem> {
    // This check comes before any change, so that another program's file stays as it is.
    is_ours(connection)?;
    if connection.is_readonly(MAIN_DB)? {
        return Err(FileProblem::ReadOnly);
    }
    let mode: String = connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))?;
    if mode != "wal" {
        return Err(FileProblem::NoLog(mode));
    }
    // A checkpoint has its own syncs, so it comes every 16 MB of log instead of every 4. SQLite also truncates a log that has
    // grown.
    connection.pragma_update(None, "wal_autocheckpoint", 4096)?;
    connection.pragma_update(None, "journal_size_limit", 64 * 1024 * 1024)?;
    create(connection, namespace)
}

/// Returns true if the tables exist, and false if the file is empty. Anything else is an error.
fn is_ours(connection: &Connection) -> Result<bool, FileProblem> {
    let number = |pragma| connection.pragma_query_value(None, pragma, |row| row.get::<_, i32>(0));
    let (application, schema) = (number("application_id")?, number("user_version")?);
    let empty = !connection.prepare("SELECT 1 FROM sqlite_schema")?.exists([])?;
    match (application, schema) {
        (0, 0) if empty => Ok(false),
        (APPLICATION, newer) if newer > SCHEMA => Err(FileProblem::Newer(newer)),
        (APPLICATION, SCHEMA) => Ok(true),
        (APPLICATION, older @ 1..SCHEMA) => Err(FileProblem::Older(older)),
        _ => Err(FileProblem::Foreign),
    }
}

/// Creates the missing tables of the namespace, and marks a new file as ours.
fn create(connection: &mut Connection, namespace: &Namespace) -> Result<(), FileProblem> {
    if is_ours(connection)? && has_tables(connection, namespace)? {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Another process may have marked the file meanwhile.
    let is_marked = is_ours(&transaction)?;
    transaction.execute_batch(&namespace.sql(TABLES))?;
    transaction.execute_batch(&namespace.sql(reminders::TABLE))?;
    transaction.execute_batch(&namespace.sql(snapshots::TABLE))?;
    if !is_marked {
        transaction.pragma_update(None, "application_id", APPLICATION)?;
        transaction.pragma_update(None, "user_version", SCHEMA)?;
    }
    transaction.commit()?;
    Ok(())
}

fn has_tables(connection: &Connection, namespace: &Namespace) -> rusqlite::Result<bool> {
    let tables = namespace.sql(
        "SELECT count(*) FROM sqlite_schema
         WHERE name IN ('{namespace}_commits', '{namespace}_outbox', '{namespace}_reminders', '{namespace}_snapshots')",
    );
    connection.query_row(&tables, [], |row| Ok(row.get::<_, i64>(0)? == 4))
}
