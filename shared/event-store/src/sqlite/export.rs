//! Pages of everything that the store holds, as it is stored.

use event_sourcing::Version;
use rusqlite::{Row, params};

use super::columns::{number, text, time, version};
use super::failure::unavailable;
use super::read::{failed, read_commit};
use super::tables::Tables;
use crate::cursor::{Cursor, PageOfRows, unreadable};
use crate::export::RecordCursor;
use crate::{CommandHash, CommandRecord, Commit, Page, RecordPage, ScanPosition, StoreError};

const COMMITS: &str = "
    SELECT key, recorded_at, events, command_id, command_hash, metadata, awaits,
        EXISTS (SELECT 1 FROM {namespace}_outbox AS u WHERE u.stream = s.stream AND u.version = s.key), stream
    FROM {namespace}_commits AS s WHERE (stream, key) > (?1, ?2) AND key < '' ORDER BY stream, key LIMIT ?3";

/// The limit counts the commands of commits too, so that no page reads the whole table in vain.
const RECORDS: &str = "
    SELECT stream, key, version, command_hash, recorded_at, rejection FROM {namespace}_commits
    WHERE (stream, key) > (?1, ?2) AND key >= '' ORDER BY stream, key LIMIT ?3";

pub(super) fn commits(
    tables: &Tables,
    after: Option<&ScanPosition>,
    limit: usize,
) -> Result<Page<Commit>, StoreError> {
    let fail = |error| unavailable(&error);
    let last = after.map(Cursor::parse).transpose()?;
    let (stream, version) =
        last.as_ref().map_or(("", Version::NONE), |cursor| (&cursor.stream, cursor.version));
    let mut statement = tables.prepare(COMMITS).map_err(fail)?;
    let mut rows = statement.query(params![stream, number(version), limit as i64]).map_err(fail)?;
    let mut page = PageOfRows::after(last);
    while let Some(row) = rows.next().map_err(fail)? {
        page.take(text(row, 8).map_err(fail)?, |stream, last| read_commit(stream, last, row))?;
    }
    Ok(page.finish(limit))
}

pub(super) fn records(
    tables: &Tables,
    after: Option<&ScanPosition>,
    limit: usize,
) -> Result<RecordPage, StoreError> {
    let fail = |error| unavailable(&error);
    let mut cursor = RecordCursor::parse(after)?;
    let mut statement = tables.prepare(RECORDS).map_err(fail)?;
    let mut rows = statement.query(params![cursor.stream, cursor.command, limit as i64]).map_err(fail)?;
    let (mut records, mut found) = (Vec::new(), 0);
    while let Some(row) = rows.next().map_err(fail)? {
        found += 1;
        cursor = RecordCursor { stream: row.get(0).map_err(fail)?, command: row.get(1).map_err(fail)? };
        records.extend(read_record(row, &cursor)?);
    }
    Ok(RecordPage { records, next: (found == limit).then(|| cursor.position()) })
}

/// Reads a small record; `None` if the row is the command of a commit.
fn read_record(row: &Row<'_>, cursor: &RecordCursor) -> Result<Option<CommandRecord>, StoreError> {
    let (stream, command_id) = cursor.names()?;
    let fail = |error| failed(&stream, error);
    let Some(recorded_at) = row.get(4).map_err(fail)? else { return Ok(None) };
    Ok(Some(CommandRecord {
        version: version(row.get(2).map_err(fail)?),
        command_hash: CommandHash(row.get(3).map_err(fail)?),
        recorded_at: time(recorded_at).map_err(|problem| unreadable(&stream, &problem))?,
        rejection: row.get::<_, Option<String>>(5).map_err(fail)?.map(Into::into),
        stream,
        command_id,
    }))
}
