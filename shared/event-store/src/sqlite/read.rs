//! The reader: all loads that wait, answered from one snapshot.

use domain::{CommandId, OrderId, Version};
use jiff::Timestamp;
use rusqlite::{Connection, Error, OptionalExtension, Row, Transaction, params};

use super::write::number;
use super::{Answer, json, unavailable};
use crate::place::{corrupt, corrupt_at, follows};
use crate::{Answered, CommandHash, Commit, Load, StoreError, Stream};

/// Loads of one caller.
pub(super) struct Job {
    pub(super) loads: Vec<Load>,
    pub(super) answer: Answer<Vec<Stream>>,
}

const COMMITS: &str = "
    SELECT key, recorded_at, events, command_id, command_hash, metadata,
        EXISTS (SELECT 1 FROM unpublished AS u WHERE u.stream = s.stream AND u.version = s.key)
    FROM streams AS s WHERE stream = ?1 AND key > ?2 AND key < '' ORDER BY key";

const ANSWERED: &str =
    "SELECT command_hash, version, recorded_at IS NULL FROM streams WHERE stream = ?1 AND key = ?2";

/// Answers all the jobs. One transaction: one snapshot, and its lock is taken once.
pub(super) fn work(connection: &mut Connection, jobs: &mut Vec<Job>) {
    let snapshot = connection.transaction().map_err(|error| unavailable(&error));
    for job in jobs.drain(..) {
        let streams = snapshot
            .as_ref()
            .map_err(Clone::clone)
            .and_then(|snapshot| job.loads.iter().map(|load| read_stream(snapshot, load)).collect());
        // Whoever no longer waits does not want to know.
        let _ = job.answer.send(streams);
    }
}

fn read_stream(snapshot: &Transaction<'_>, load: &Load) -> Result<Stream, StoreError> {
    let answered = match &load.command {
        Some(command) => read_answer(snapshot, &load.stream, command)?,
        None => None,
    };
    Ok(Stream { commits: read_commits(snapshot, load)?, answered })
}

fn read_commits(snapshot: &Transaction<'_>, load: &Load) -> Result<Vec<Commit>, StoreError> {
    let fail = |error| failed(&load.stream, error);
    let mut statement = snapshot.prepare_cached(COMMITS).map_err(fail)?;
    let mut rows = statement.query(params![load.stream.as_str(), number(load.after)]).map_err(fail)?;
    let mut commits = Vec::new();
    let mut last = load.after;
    while let Some(row) = rows.next().map_err(fail)? {
        let commit = read_commit(&load.stream, last, row)?;
        last = commit.last_version();
        commits.push(commit);
    }
    Ok(commits)
}

fn read_commit(stream: &OrderId, last: Version, row: &Row<'_>) -> Result<Commit, StoreError> {
    let fail = |error| failed(stream, error);
    let version = follows(stream, last, row.get(0).map_err(fail)?)?;
    let corrupt = |problem: String| corrupt_at(stream, version, &problem);
    let events = json::read_events(text(row, 2).map_err(fail)?).map_err(corrupt)?;
    let metadata = serde_json::from_str(text(row, 5).map_err(fail)?)
        .map_err(|error| corrupt(format!("no metadata: {error}")))?;
    Ok(Commit {
        stream: stream.clone(),
        version,
        command_id: CommandId::parse(text(row, 3).map_err(fail)?)
            .map_err(|error| corrupt(error.to_string()))?,
        command_hash: CommandHash(row.get(4).map_err(fail)?),
        events,
        recorded_at: time(row.get(1).map_err(fail)?).map_err(corrupt)?,
        metadata,
        unpublished: row.get(6).map_err(fail)?,
    })
}

fn read_answer(
    snapshot: &Transaction<'_>,
    stream: &OrderId,
    command: &CommandId,
) -> Result<Option<Answered>, StoreError> {
    let read = |row: &Row<'_>| {
        Ok(Answered {
            command_hash: CommandHash(row.get(0)?),
            version: version(row.get(1)?),
            with_events: row.get(2)?,
        })
    };
    snapshot
        .prepare_cached(ANSWERED)
        .and_then(|mut statement| {
            statement.query_row(params![stream.as_str(), command.as_str()], read).optional()
        })
        .map_err(|error| failed(stream, error))
}

/// A version as a caller's data type has it. None below 0 was ever written.
pub(super) fn version(number: i64) -> Version {
    Version::new(number.unsigned_abs())
}

/// A text column without a copy.
pub(super) fn text<'a>(row: &'a Row<'_>, column: usize) -> rusqlite::Result<&'a str> {
    row.get_ref(column)?.as_str().map_err(|error| {
        Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(error))
    })
}

pub(super) fn time(microseconds: i64) -> Result<Timestamp, String> {
    Timestamp::from_microsecond(microseconds).map_err(|error| error.to_string())
}

/// SQLite failed, or a column holds what we never write.
pub(super) fn failed(stream: &OrderId, error: Error) -> StoreError {
    match error {
        Error::FromSqlConversionFailure(..)
        | Error::IntegralValueOutOfRange(..)
        | Error::InvalidColumnType(..)
        | Error::Utf8Error(..) => corrupt(stream, error.to_string()),
        other => unavailable(&other),
    }
}
