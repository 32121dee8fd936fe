//! The surveyor: what is asked of the store at large, one question at a time, apart from the loads.

use std::path::PathBuf;

use domain::Version;
use jiff::Timestamp;
use rusqlite::{Connection, Row, params};

use super::file::{self, Purpose};
use super::read::{failed, text, time, version};
use super::write::number;
use super::{Answer, json, unavailable};
use crate::place::{Place, corrupt_at, follows, known_stream};
use crate::{Backlog, CommitId, Page, ScanPosition, Scanned, StoreError};

/// A question, with its way to answer.
pub(super) struct Question(Box<Put>);

type Put = dyn FnOnce(Result<&Connection, StoreError>) + Send;

impl Question {
    pub(super) fn new<T: Send + 'static>(
        question: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
        answer: Answer<T>,
    ) -> Self {
        Self(Box::new(move |connection| {
            // Whoever no longer waits does not want to know.
            let _ = answer.send(connection.and_then(question));
        }))
    }
}

/// Opens its connection with the first question, since many a process never asks one.
pub(super) struct Surveyor {
    path: PathBuf,
    connection: Option<Connection>,
}

impl Surveyor {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, connection: None }
    }

    pub(super) fn work(&mut self, questions: &mut Vec<Question>) {
        for Question(put) in questions.drain(..) {
            put(self.connection());
        }
    }

    fn connection(&mut self) -> Result<&Connection, StoreError> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => file::connect(&self.path, Purpose::Survey).map_err(|error| unavailable(&error))?,
        };
        Ok(self.connection.insert(connection))
    }
}

/// In the order of the key: the commits of a stream come together and in order, and a page begins by a seek.
const SCAN: &str = "
    SELECT stream, key, recorded_at, events FROM streams
    WHERE (stream, key) > (?1, ?2) AND key < '' ORDER BY stream, key LIMIT ?3";

pub(super) fn scan(
    connection: &Connection,
    after: Option<&ScanPosition>,
    limit: usize,
) -> Result<Page, StoreError> {
    let mut last = after.map(Place::parse).transpose()?;
    let (stream, version) =
        last.as_ref().map_or(("", Version::NONE), |place| (place.stream.as_str(), place.version));
    let limit = limit.max(1);
    let mut statement = connection.prepare_cached(SCAN).map_err(|error| unavailable(&error))?;
    let mut rows = statement
        .query(params![stream, number(version), count(limit)])
        .map_err(|error| unavailable(&error))?;
    let mut commits = Vec::new();
    while let Some(row) = rows.next().map_err(|error| unavailable(&error))? {
        let commit = read_scanned(row, last.as_ref())?;
        last = Some(Place::end_of(&commit));
        commits.push(commit);
    }
    let next = last.filter(|_| commits.len() == limit).map(|place| place.position());
    Ok(Page { commits, next })
}

fn read_scanned(row: &Row<'_>, last: Option<&Place>) -> Result<Scanned, StoreError> {
    let stream = text(row, 0).map_err(|error| unavailable(&error))?;
    let (stream, last) = Place::before(last, stream)?;
    let fail = |error| failed(&stream, error);
    let version = follows(&stream, last, row.get(1).map_err(fail)?)?;
    let corrupt = |problem: String| corrupt_at(&stream, version, &problem);
    let recorded_at = time(row.get(2).map_err(fail)?).map_err(corrupt)?;
    let events = json::read_events(text(row, 3).map_err(fail)?).map_err(corrupt)?;
    Ok(Scanned { stream, version, recorded_at, events })
}

const OUTSTANDING: &str = "
    SELECT stream, min(version) FROM unpublished
    GROUP BY stream HAVING min(recorded_at) < ?1 ORDER BY random() LIMIT ?2";

pub(super) fn outstanding(
    connection: &Connection,
    before: Timestamp,
    limit: usize,
) -> Result<Vec<CommitId>, StoreError> {
    let read = |row: &Row<'_>| {
        let stream = known_stream(text(row, 0).map_err(|error| unavailable(&error))?)?;
        let oldest = row.get(1).map_err(|error| failed(&stream, error))?;
        Ok(CommitId { stream, version: version(oldest) })
    };
    let mut statement = connection.prepare_cached(OUTSTANDING).map_err(|error| unavailable(&error))?;
    let mut rows = statement
        .query(params![before.as_microsecond(), count(limit)])
        .map_err(|error| unavailable(&error))?;
    let mut oldest = Vec::new();
    while let Some(row) = rows.next().map_err(|error| unavailable(&error))? {
        oldest.push(read(row)?);
    }
    Ok(oldest)
}

pub(super) fn backlog(connection: &Connection) -> Result<Backlog, StoreError> {
    let read = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
    let (commits, oldest): (i64, Option<i64>) = connection
        .prepare_cached("SELECT count(*), min(recorded_at) FROM unpublished")
        .and_then(|mut statement| statement.query_row([], read))
        .map_err(|error| unavailable(&error))?;
    let oldest = oldest.map(time).transpose().map_err(|problem| StoreError::Unavailable(problem.into()))?;
    Ok(Backlog { commits: commits.unsigned_abs(), oldest })
}

pub(super) fn commits(connection: &Connection) -> Result<u64, StoreError> {
    let commits: i64 = connection
        .prepare_cached("SELECT count(*) FROM streams WHERE key < ''")
        .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
        .map_err(|error| unavailable(&error))?;
    Ok(commits.unsigned_abs())
}

/// A limit as SQLite takes it.
fn count(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

pub(super) fn ping(connection: &Connection) -> Result<(), StoreError> {
    connection
        .prepare_cached("SELECT 1 FROM streams LIMIT 1")
        .and_then(|mut statement| statement.exists([]))
        .map(drop)
        .map_err(|error| unavailable(&error))
}
