//! The maintainer: it answers questions about the whole store, one at a time, apart from the loads.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use event_sourcing::{EventType, StreamId, Version, event};
use jiff::Timestamp;
use rusqlite::{Row, params};

use super::columns::{number, text, time};
use super::failure::unavailable;
use super::file::{self, Purpose};
use super::read::failed;
use super::tables::Tables;
use crate::cursor::{self, Cursor, PageOfRows, follows, unreadable_at};
use crate::jobs::Answer;
use crate::{Backlog, CommitId, Namespace, Page, ScanPosition, ScannedCommit, StoreError, json};

/// A question, with the channel for its answer.
pub(super) struct Question(Box<QuestionFn>);

type QuestionFn = dyn FnOnce(Result<&Tables, StoreError>) + Send;

impl Question {
    pub(super) fn new<T: Send + 'static>(
        question: impl FnOnce(&Tables) -> Result<T, StoreError> + Send + 'static,
        answer: Answer<T>,
    ) -> Self {
        Self(Box::new(move |tables| {
            // The caller may no longer wait, so a failed send is ignored.
            let _ = answer.send(tables.and_then(question));
        }))
    }
}

/// The maintainer's state. It opens its connection with the first question, because many processes never ask one.
pub(super) struct Maintainer {
    path: PathBuf,
    namespace: Namespace,
    tables: Option<Tables>,
}

impl Maintainer {
    pub(super) fn new(path: PathBuf, namespace: Namespace) -> Self {
        Self { path, namespace, tables: None }
    }

    pub(super) fn work(&mut self, questions: &mut Vec<Question>) {
        for Question(put) in questions.drain(..) {
            put(self.tables());
        }
    }

    fn tables(&mut self) -> Result<&Tables, StoreError> {
        let tables = match self.tables.take() {
            Some(tables) => tables,
            None => {
                let connection =
                    file::connect(&self.path, Purpose::Maintain).map_err(|error| unavailable(&error))?;
                Tables { connection, namespace: self.namespace.clone() }
            }
        };
        Ok(self.tables.insert(tables))
    }
}

/// In the order of the key, the commits of a stream come together and in order, and a page begins with a seek.
const SCAN: &str = "
    SELECT stream, key, recorded_at, events FROM {namespace}_commits
    WHERE (stream, key) > (?1, ?2) AND key < '' ORDER BY stream, key LIMIT ?3";

pub(super) fn scan<E: EventType>(
    tables: &Tables,
    after: Option<&ScanPosition>,
    limit: usize,
) -> Result<Page<ScannedCommit<E>>, StoreError> {
    let last = after.map(Cursor::parse).transpose()?;
    let (stream, version) =
        last.as_ref().map_or(("", Version::NONE), |cursor| (&cursor.stream, cursor.version));
    let limit = limit.max(1);
    let mut statement = tables.prepare(SCAN).map_err(|error| unavailable(&error))?;
    let mut rows = statement
        .query(params![stream, number(version), count(limit)])
        .map_err(|error| unavailable(&error))?;
    let mut page = PageOfRows::after(last);
    while let Some(row) = rows.next().map_err(|error| unavailable(&error))? {
        let stream = text(row, 0).map_err(|error| unavailable(&error))?;
        page.take(stream, |stream, last| read_scanned(row, stream, last))?;
    }
    Ok(page.finish(limit))
}

fn read_scanned<E: EventType>(
    row: &Row<'_>,
    stream: &StreamId,
    last: Version,
) -> Result<ScannedCommit<E>, StoreError> {
    let fail = |error| failed(stream, error);
    let version = follows(stream, last, row.get(1).map_err(fail)?)?;
    let unreadable = |problem: String| unreadable_at(stream, version, &problem);
    let recorded_at = time(row.get(2).map_err(fail)?).map_err(unreadable)?;
    let decode = |stored: json::StoredEvent<'_>| {
        event::decode(&stored.kind, stored.schema, stored.data).map_err(|problem| problem.to_string())
    };
    let events = json::read_events(text(row, 3).map_err(fail)?, decode).map_err(unreadable)?;
    Ok(ScannedCommit { stream: stream.clone(), version, recorded_at, events })
}

const OUTSTANDING: &str = "
    SELECT stream, min(version) FROM {namespace}_outbox
    GROUP BY stream HAVING min(recorded_at) < ?1 OR max(recorded_at) > ?2 ORDER BY random() LIMIT ?3";

pub(super) fn outstanding(
    tables: &Tables,
    young: &RangeInclusive<Timestamp>,
    limit: usize,
) -> Result<Vec<CommitId>, StoreError> {
    let mut statement = tables.prepare(OUTSTANDING).map_err(|error| unavailable(&error))?;
    let mut rows = statement
        .query(params![young.start().as_microsecond(), young.end().as_microsecond(), count(limit)])
        .map_err(|error| unavailable(&error))?;
    let mut oldest = Vec::new();
    while let Some(row) = rows.next().map_err(|error| unavailable(&error))? {
        let stream = text(row, 0).map_err(|error| unavailable(&error))?;
        oldest.extend(cursor::outstanding(stream, row.get(1).map_err(|error| error.to_string())));
    }
    Ok(oldest)
}

pub(super) fn backlog(tables: &Tables) -> Result<Backlog, StoreError> {
    let read = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
    let (commits, oldest, newest): (i64, Option<i64>, Option<i64>) = tables
        .prepare("SELECT count(*), min(recorded_at), max(recorded_at) FROM {namespace}_outbox")
        .and_then(|mut statement| statement.query_row([], read))
        .map_err(|error| unavailable(&error))?;
    let end = |end: Option<i64>| {
        end.map(time).transpose().map_err(|problem| StoreError::Unavailable(problem.into()))
    };
    Ok(Backlog { commits: commits.unsigned_abs(), oldest: end(oldest)?, newest: end(newest)? })
}

pub(super) fn commits(tables: &Tables) -> Result<u64, StoreError> {
    let commits: i64 = tables
        .prepare("SELECT count(*) FROM {namespace}_commits WHERE key < ''")
        .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
        .map_err(|error| unavailable(&error))?;
    Ok(commits.unsigned_abs())
}

/// Returns a limit in the type that SQLite takes.
fn count(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

pub(super) fn ping(tables: &Tables) -> Result<(), StoreError> {
    tables
        .prepare("SELECT 1 FROM {namespace}_commits, {namespace}_outbox LIMIT 1")
        .and_then(|mut statement| statement.exists([]))
        .map(drop)
        .map_err(|error| unavailable(&error))
}
