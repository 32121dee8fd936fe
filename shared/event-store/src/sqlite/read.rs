//! The reader: it answers all waiting loads from one snapshot.

use event_sourcing::{CommandId, EncodedEvent, StreamId, Version};
use runtime::files::OpenedFile;
use rusqlite::{Connection, Error, ErrorCode, OptionalExtension, Row, Transaction, params};

use super::columns::{number, text, time, version};
use super::failure::{check, unavailable};
use super::snapshots;
use crate::cursor::{follows, unreadable, unreadable_at};
use crate::jobs::{Answer, LoadJob};
use crate::namespace::statements;
use crate::snapshots::SnapshotRow;
use crate::{
    AnsweredCommand, CommandHash, CommandResult, Commit, Load, Namespace, StoreError, Stream,
    UnreadableStream, json,
};

/// The columns begin as [`read_commit`] reads them.
const COMMITS: &str = "
    SELECT key, recorded_at, events, command_id, command_hash, metadata, awaits,
        EXISTS (SELECT 1 FROM {namespace}_outbox AS u WHERE u.stream = s.stream AND u.version = s.key)
    FROM {namespace}_commits AS s WHERE stream = ?1 AND key > ?2 AND key <= ?3 ORDER BY key";

const ANSWERED: &str = "SELECT command_hash, version, recorded_at IS NULL, rejection FROM {namespace}_commits WHERE stream = ?1 AND key = ?2";

statements! {
    Statements {
        commits: COMMITS,
        answered: ANSWERED,
        snapshot: snapshots::LAST,
    }
}

/// A job about a long stream.
pub(super) enum LongJob {
    Load(LoadJob),
    Snapshot(SnapshotQuery, Answer<Option<SnapshotRow>>),
}

/// The last snapshot of this revision that is not behind this version.
pub(super) struct SnapshotQuery {
    pub(super) stream: StreamId,
    pub(super) revision: u32,
    pub(super) last: Version,
}

pub(super) struct Reader {
    connection: Connection,
    opened: OpenedFile,
    sql: Statements,
}

impl Reader {
    pub(super) fn new(connection: Connection, namespace: &Namespace, opened: OpenedFile) -> Self {
        Self { connection, opened, sql: Statements::of(namespace) }
    }

    /// Answers jobs about long streams.
    pub(super) fn work_long(&mut self, jobs: &mut Vec<LongJob>) {
        for job in jobs.drain(..) {
            match job {
                LongJob::Load(job) => self.work(&mut vec![job]),
                LongJob::Snapshot(SnapshotQuery { stream, revision, last }, answer) => {
                    let Self { connection, opened, sql } = self;
                    let found = check(opened)
                        .and_then(|()| snapshots::last(connection, &sql.snapshot, &stream, revision, last));
                    // The caller may no longer wait, so a failed send is ignored.
                    let _ = answer.send(found);
                }
            }
        }
    }

    /// Answers all the jobs in one transaction: they have one snapshot, and SQLite takes its lock once.
    pub(super) fn work(&mut self, jobs: &mut Vec<LoadJob>) {
        let Self { connection, opened, sql } = self;
        let snapshot =
            check(opened).and_then(|()| connection.transaction().map_err(|error| unavailable(&error)));
        for job in jobs.drain(..) {
            let streams = snapshot
                .as_ref()
                .map_err(Clone::clone)
                .and_then(|snapshot| job.loads.iter().map(|load| read_stream(snapshot, sql, load)).collect());
            // The caller may no longer wait, so a failed send is ignored.
            let _ = job.answer.send(streams);
        }
    }
}

/// Reads one stream. A problem of the stream is the stream's own result; a problem of the store fails all loads of the caller.
fn read_stream(
    snapshot: &Transaction<'_>,
    sql: &Statements,
    load: &Load,
) -> Result<Result<Stream, UnreadableStream>, StoreError> {
    match read(snapshot, sql, load) {
        Ok(stream) => Ok(Ok(stream)),
        Err(StoreError::Unreadable(problem)) => Ok(Err(problem)),
        Err(error) => Err(error),
    }
}

fn read(snapshot: &Transaction<'_>, sql: &Statements, load: &Load) -> Result<Stream, StoreError> {
    let answered = match &load.command {
        Some(command) => read_answer(snapshot, sql, &load.stream, command)?,
        None => None,
    };
    Ok(Stream { commits: read_commits(snapshot, sql, load)?, answered })
}

fn read_commits(
    snapshot: &Transaction<'_>,
    sql: &Statements,
    load: &Load,
) -> Result<Vec<Commit>, StoreError> {
    let fail = |error| failed(&load.stream, error);
    let mut statement = snapshot.prepare_cached(&sql.commits).map_err(fail)?;
    let range = params![load.stream.as_str(), number(load.after), number(load.until())];
    let mut rows = statement.query(range).map_err(fail)?;
    let mut commits = Vec::new();
    let mut last = load.after;
    while let Some(row) = rows.next().map_err(fail)? {
        let commit = read_commit(&load.stream, last, row)?;
        last = commit.last_version();
        commits.push(commit);
    }
    Ok(commits)
}

pub(super) fn read_commit(stream: &StreamId, last: Version, row: &Row<'_>) -> Result<Commit, StoreError> {
    let fail = |error| failed(stream, error);
    let version = follows(stream, last, row.get(0).map_err(fail)?)?;
    let unreadable = |problem: String| unreadable_at(stream, version, &problem);
    let events = json::read_events(text(row, 2).map_err(fail)?, encoded).map_err(unreadable)?;
    let metadata = serde_json::from_str(text(row, 5).map_err(fail)?)
        .map_err(|error| unreadable(format!("no metadata: {error}")))?;
    Ok(Commit {
        stream: stream.clone(),
        version,
        command_id: CommandId::parse(text(row, 3).map_err(fail)?)
            .map_err(|error| unreadable(error.to_string()))?,
        command_hash: CommandHash(row.get(4).map_err(fail)?),
        events,
        awaits_outcome: row.get(6).map_err(fail)?,
        recorded_at: time(row.get(1).map_err(fail)?).map_err(unreadable)?,
        metadata,
        unpublished: row.get(7).map_err(fail)?,
    })
}

fn encoded(event: json::StoredEvent<'_>) -> Result<EncodedEvent, String> {
    let data = event.data.to_owned();
    Ok(EncodedEvent { kind: event.kind.into(), schema: event.schema, data })
}

fn read_answer(
    snapshot: &Transaction<'_>,
    sql: &Statements,
    stream: &StreamId,
    command: &CommandId,
) -> Result<Option<AnsweredCommand>, StoreError> {
    let read = |row: &Row<'_>| {
        let result = match row.get(2)? {
            true => CommandResult::Events,
            false => CommandResult::without_events(row.get(3)?),
        };
        Ok(AnsweredCommand { command_hash: CommandHash(row.get(0)?), version: version(row.get(1)?), result })
    };
    snapshot
        .prepare_cached(&sql.answered)
        .and_then(|mut statement| {
            statement.query_row(params![stream.as_str(), command.as_str()], read).optional()
        })
        .map_err(|error| failed(stream, error))
}

/// Returns the error of a read. The stream is unreadable if a column holds a value that we never write, or a page of the file is
/// corrupt. Otherwise SQLite failed, and the store is unavailable.
pub(super) fn failed(stream: &StreamId, error: Error) -> StoreError {
    if error.sqlite_error_code() == Some(ErrorCode::DatabaseCorrupt) {
        return unreadable(stream, &error.to_string()).into();
    }
    match error {
        Error::FromSqlConversionFailure(..)
        | Error::IntegralValueOutOfRange(..)
        | Error::InvalidColumnType(..)
        | Error::Utf8Error(..) => unreadable(stream, &error.to_string()).into(),
        other => unavailable(&other),
    }
}
