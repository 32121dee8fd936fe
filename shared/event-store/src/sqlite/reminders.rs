//! Reminders as rows of a small table. It holds only the commits that wait.

use event_sourcing::Version;
use rusqlite::{Connection, Row, params};

use super::columns::{number, text, time};
use super::failure::unavailable;
use super::tables::Tables;
use crate::cursor::outstanding;
use crate::namespace::statements;
use crate::reminders::{DueTimes, REMINDERS, ReminderRow};
use crate::{CommitId, ReminderCounts, StoreError};

/// The table stands beside the tables of the schema and changes nothing in them. This program creates it if it is missing, and a
/// program without reminders ignores it.
pub(super) const TABLE: &str = "
    CREATE TABLE IF NOT EXISTS {namespace}_reminders (
        stream  TEXT    NOT NULL,
        -- Of the commit that waits for its stream to move on: its first version.
        version INTEGER NOT NULL,
        -- When the delay began, in microseconds since 1970.
        since   INTEGER NOT NULL,
        -- How often it was published again; NULL until somebody has touched it after the mark.
        sent    INTEGER,
        -- Why a receiver has set it aside.
        problem TEXT,
        PRIMARY KEY (stream)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS {namespace}_reminders_by_time ON {namespace}_reminders (since);
";

/// A stream that has moved on before the mark needs no reminder. If a receiver has set the commit aside before the mark, that
/// reminder stays.
const SET: &str = "
    INSERT INTO {namespace}_reminders (stream, version, since)
    SELECT stream, key, ?3 FROM {namespace}_commits WHERE stream = ?1 AND key = ?2
        AND NOT EXISTS (SELECT 1 FROM {namespace}_commits WHERE stream = ?1 AND key > ?2 AND key < '')
    ON CONFLICT DO UPDATE SET version = excluded.version, since = excluded.since, sent = NULL, problem = NULL
    WHERE excluded.version > {namespace}_reminders.version";

const END: &str = "DELETE FROM {namespace}_reminders WHERE stream = ?1 AND version = ?2";

/// Guarantee: of several relays that claim a reminder, only one finds the time that it has read.
const MOVE: &str = "UPDATE {namespace}_reminders SET since = ?3, sent = ?4 WHERE stream = ?1 AND version = ?2 AND since = ?5";

const SET_ASIDE: &str = "
    INSERT INTO {namespace}_reminders (stream, version, since, sent, problem)
    SELECT stream, key, ?3, ?4, ?5 FROM {namespace}_commits WHERE stream = ?1 AND key = ?2
    ON CONFLICT DO UPDATE SET
        version = excluded.version, since = excluded.since, sent = excluded.sent, problem = excluded.problem
    WHERE excluded.version >= {namespace}_reminders.version";

const DUE: &str = "
    SELECT stream, version, since, sent, problem FROM {namespace}_reminders
    WHERE (since <= ?1 OR since > ?2 OR (since > ?3 AND sent IS NULL)) AND coalesce(sent, 0) < ?4
    ORDER BY since LIMIT ?5";

const LIST: &str = "SELECT stream, version, since, sent, problem FROM {namespace}_reminders WHERE stream > ?1 ORDER BY stream LIMIT ?2";

const COUNT: &str = "
    SELECT count(*), count(problem), count(*) FILTER (WHERE sent >= ?1) FROM {namespace}_reminders";

/// A write to the table.
pub(super) enum ReminderTask {
    End(Vec<CommitId>),
    Move(ReminderRow, jiff::Timestamp),
    SetAside(ReminderRow),
}

statements! {
    Writes {
        set: SET,
        end: END,
        set_aside: SET_ASIDE,
        move_on: MOVE,
    }
}

impl Writes {
    /// Does one write. Returns the number of changed rows.
    pub(super) fn write(&self, connection: &Connection, task: &ReminderTask) -> rusqlite::Result<u64> {
        match task {
            ReminderTask::End(commits) => commits.iter().try_fold(0, |ended, commit| {
                Ok(ended + self.end(connection, commit.stream.as_str(), commit.version)?)
            }),
            ReminderTask::Move(row, since) => changed(
                connection,
                &self.move_on,
                params![
                    row.commit.stream.as_str(),
                    number(row.commit.version),
                    row.since.as_microsecond(),
                    row.sent,
                    since.as_microsecond(),
                ],
            ),
            ReminderTask::SetAside(row) => changed(
                connection,
                &self.set_aside,
                params![
                    row.commit.stream.as_str(),
                    number(row.commit.version),
                    row.since.as_microsecond(),
                    row.sent,
                    row.problem,
                ],
            ),
        }
    }

    /// Sets a reminder, in the transaction that marks the commit.
    pub(super) fn set(&self, connection: &Connection, commit: &CommitId) -> rusqlite::Result<u64> {
        let now = jiff::Timestamp::now().as_microsecond();
        changed(connection, &self.set, params![commit.stream.as_str(), number(commit.version), now])
    }

    /// Ends a reminder, in the transaction that marks the stream's next commit.
    pub(super) fn end(
        &self,
        connection: &Connection,
        stream: &str,
        version: Version,
    ) -> rusqlite::Result<u64> {
        changed(connection, &self.end, params![stream, number(version)])
    }
}

fn changed(connection: &Connection, statement: &str, values: impl rusqlite::Params) -> rusqlite::Result<u64> {
    Ok(connection.prepare_cached(statement)?.execute(values)? as u64)
}

pub(super) fn due(tables: &Tables, due: DueTimes, limit: usize) -> Result<Vec<ReminderRow>, StoreError> {
    let [until, beyond, now] = [due.until, due.beyond, due.now].map(jiff::Timestamp::as_microsecond);
    rows(tables, DUE, params![until, beyond, now, REMINDERS, limit as i64])
}

pub(super) fn list(
    tables: &Tables,
    behind: Option<&CommitId>,
    limit: usize,
) -> Result<Vec<ReminderRow>, StoreError> {
    let behind = behind.map_or("", |commit| commit.stream.as_str());
    rows(tables, LIST, params![behind, limit as i64])
}

pub(super) fn count(tables: &Tables) -> Result<ReminderCounts, StoreError> {
    let counts: (i64, i64, i64) = tables
        .prepare(COUNT)
        .and_then(|mut statement| {
            statement.query_row([REMINDERS], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        })
        .map_err(|error| unavailable(&error))?;
    let [waiting, set_aside, overdue] = [counts.0, counts.1, counts.2].map(i64::unsigned_abs);
    Ok(ReminderCounts { waiting, set_aside, overdue })
}

fn rows(
    tables: &Tables,
    statement: &str,
    values: impl rusqlite::Params,
) -> Result<Vec<ReminderRow>, StoreError> {
    let mut statement = tables.prepare(statement).map_err(|error| unavailable(&error))?;
    let mut found = statement.query(values).map_err(|error| unavailable(&error))?;
    let mut rows = Vec::new();
    while let Some(row) = found.next().map_err(|error| unavailable(&error))? {
        rows.extend(read(row)?);
    }
    Ok(rows)
}

/// Reads a row. A row that none of our programs wrote is skipped.
fn read(row: &Row<'_>) -> Result<Option<ReminderRow>, StoreError> {
    let fail = |error: rusqlite::Error| unavailable(&error);
    let version: i64 = row.get(1).map_err(fail)?;
    let since = time(row.get(2).map_err(fail)?).map_err(|problem| StoreError::Unavailable(problem.into()))?;
    let sent: Option<u32> = row.get(3).map_err(fail)?;
    let problem = row.get(4).map_err(fail)?;
    let commit = outstanding(text(row, 0).map_err(fail)?, Ok(version));
    Ok(commit.map(|commit| ReminderRow { commit, since, sent: sent.unwrap_or(0), problem }))
}
