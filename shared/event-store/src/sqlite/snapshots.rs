//! Snapshots as rows of a table beside those of the schema. Each has its own text.

use event_sourcing::{StreamId, Version};
use rusqlite::{Connection, OptionalExtension, params};

use super::columns::{number, version};
use super::failure::unavailable;
use crate::StoreError;
use crate::snapshots::SnapshotRow;

/// The table of a namespace. A program without snapshots ignores it.
pub(super) const TABLE: &str = "
    CREATE TABLE IF NOT EXISTS {namespace}_snapshots (
        stream   TEXT    NOT NULL,
        -- Of the state and its fold.
        revision INTEGER NOT NULL,
        -- Of the last event in the state.
        version  INTEGER NOT NULL,
        content  TEXT    NOT NULL,
        PRIMARY KEY (stream, revision, version)
    ) STRICT, WITHOUT ROWID;
";

pub(super) const LAST: &str = "
    SELECT version, content FROM {namespace}_snapshots WHERE stream = ?1 AND revision = ?2 AND version <= ?3
    ORDER BY version DESC LIMIT 1";

pub(super) const PUT: &str = "
    INSERT INTO {namespace}_snapshots (stream, revision, version, content) VALUES (?1, ?2, ?3, ?4)
    ON CONFLICT DO UPDATE SET content = excluded.content";

pub(super) fn last(
    connection: &Connection,
    statement: &str,
    stream: &StreamId,
    revision: u32,
    until: Version,
) -> Result<Option<SnapshotRow>, StoreError> {
    connection
        .prepare_cached(statement)
        .and_then(|mut statement| {
            let row = |row: &rusqlite::Row<'_>| {
                let (version, content) = (version(row.get(0)?), row.get(1)?);
                Ok(SnapshotRow { stream: stream.clone(), revision, version, content })
            };
            statement.query_row(params![stream.as_str(), revision, number(until)], row).optional()
        })
        .map_err(|error| unavailable(&error))
}

/// Writes snapshots by this statement. Returns their number.
pub(super) fn put(connection: &Connection, statement: &str, rows: &[SnapshotRow]) -> rusqlite::Result<u64> {
    let mut statement = connection.prepare_cached(statement)?;
    for SnapshotRow { stream, revision, version, content } in rows {
        statement.execute(params![stream.as_str(), revision, number(*version), content])?;
    }
    Ok(rows.len() as u64)
}
