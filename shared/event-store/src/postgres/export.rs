//! Pages of everything that the store holds, as it is stored.

use event_sourcing::Version;
use sqlx::postgres::PgRow;
use sqlx::{Row, query};

use super::connections::Connections;
use super::failure::Failure;
use super::read::{read_commit, read_hash};
use crate::columns::{number, time, version};
use crate::cursor::{Cursor, PageOfRows, follows, unreadable, unreadable_at};
use crate::export::RecordCursor;
use crate::{CommandRecord, Commit, Page, RecordPage, ScanPosition, StoreError};

/// The columns stand where those of a load do.
const COMMITS: &str = "
    SELECT c.stream, false, c.version, c.last_version, c.command_hash, c.command_id, c.recorded_at, c.awaits_outcome, c.metadata,
        c.events, EXISTS (SELECT FROM {namespace}_outbox AS u WHERE u.stream = c.stream AND u.version = c.version)
    FROM {namespace}_commits AS c WHERE (c.stream, c.version) > ($1, $2) AND c.version IS NOT NULL
    ORDER BY c.stream, c.version LIMIT $3";

/// The limit counts the commands of commits too, so that no page reads the whole table in vain.
const RECORDS: &str = "
    SELECT stream, command_id, version, last_version, command_hash, recorded_at, rejection FROM {namespace}_commits
    WHERE (stream, command_id) > ($1, $2) ORDER BY stream, command_id LIMIT $3";

pub(super) async fn commits(
    connections: &Connections,
    after: Option<&ScanPosition>,
    limit: usize,
) -> Result<Page<Commit>, StoreError> {
    let last = after.map(Cursor::parse).transpose()?;
    let (stream, version) =
        last.as_ref().map_or(("", Version::NONE), |cursor| (&cursor.stream, cursor.version));
    let statement = || query(connections.sql(COMMITS)).bind(stream).bind(number(version)).bind(limit as i64);
    let rows = connections.rows(statement).await?;
    let mut page = PageOfRows::after(last);
    for row in &rows {
        let found = row.try_get(2).map_err(Failure::from)?;
        page.take(row.try_get(0).map_err(Failure::from)?, |stream, last| {
            let version = follows(stream, last, found)?;
            Ok(read_commit(stream, version, row)
                .map_err(|problem| unreadable_at(stream, version, &problem))?)
        })?;
    }
    Ok(page.finish(limit))
}

pub(super) async fn records(
    connections: &Connections,
    after: Option<&ScanPosition>,
    limit: usize,
) -> Result<RecordPage, StoreError> {
    let cursor = RecordCursor::parse(after)?;
    let statement =
        || query(connections.sql(RECORDS)).bind(&cursor.stream).bind(&cursor.command).bind(limit as i64);
    let rows = connections.rows(statement).await?;
    let mut records = Vec::new();
    for row in &rows {
        // A row with a version is a commit.
        if row.try_get::<Option<i64>, _>(2).map_err(Failure::from)?.is_none() {
            records.push(read_record(row)?);
        }
    }
    let next =
        rows.last().filter(|_| rows.len() == limit).map(cursor_at).transpose().map_err(Failure::from)?;
    Ok(RecordPage { records, next: next.map(|cursor| cursor.position()) })
}

fn cursor_at(row: &PgRow) -> Result<RecordCursor, sqlx::Error> {
    Ok(RecordCursor { stream: row.try_get(0)?, command: row.try_get(1)? })
}

fn read_record(row: &PgRow) -> Result<CommandRecord, StoreError> {
    let (stream, command_id) = cursor_at(row).map_err(Failure::from)?.names()?;
    let in_row = |error: sqlx::Error| unreadable(&stream, &error.to_string());
    Ok(CommandRecord {
        version: version(row.try_get(3).map_err(in_row)?),
        command_hash: read_hash(row).map_err(in_row)?,
        recorded_at: time(row.try_get(5).map_err(in_row)?)
            .map_err(|problem| unreadable(&stream, &problem))?,
        rejection: row.try_get::<Option<String>, _>(6).map_err(in_row)?.map(Into::into),
        stream: stream.clone(),
        command_id,
    })
}
