//! The writer: it inserts all waiting appends and small records as one statement, and each has its own outcome.
//!
//! The unique key on a commit's place lets no version be taken twice. But it notices neither a version that is left out, nor a
//! commit that begins in the middle of another. This rule excludes both: **a commit is inserted only if the one before it ends
//! right before it.** So the commits of a stream are a chain: one begins at version 1, and after each there is room for one.
//! Commits are neither changed nor deleted, so it does not matter that the statement sees the store as it was when it began.

use std::collections::HashSet;
use std::sync::Arc;

use runtime::{KillPoint, kill_point};
use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use sqlx::{Postgres, Row as _, query};

use super::connections::Connections;
use super::failure::{Failure, unavailable};
use crate::columns::number;
use crate::jobs::Answer;
use crate::{AppendError, CommandHash, CommandRecord, Commit, StoreError, json};

/// The largest commit, in bytes. It is that of the other variants on a server, so that commits can be moved.
const LARGEST: usize = 15 * 1024 * 1024;

/// A statement takes no further row once it has this many bytes.
const STATEMENT: usize = 32 * 1024 * 1024;

/// A row to be inserted: a commit or a small record.
pub(super) struct Row {
    stream: Box<str>,
    command_id: Box<str>,
    command_hash: CommandHash,
    /// The first version of a commit; `None` for a small record.
    version: Option<i64>,
    last_version: i64,
    recorded_at: i64,
    awaits_outcome: bool,
    unpublished: bool,
    /// The events and the metadata of a commit.
    texts: Option<(String, String)>,
    /// True for a small record that the store may delete after a time.
    expires: bool,
    /// The reason for which the command of a small record was rejected.
    rejection: Option<Arc<str>>,
}

impl Row {
    pub(super) fn of_commit(commit: &Commit) -> Result<Self, StoreError> {
        let unwritable =
            |problem: &dyn std::fmt::Display| unavailable(&format!("it can't be written: {problem}"));
        let mut events = Vec::new();
        json::write_events(&commit.events, &mut events).map_err(|error| unwritable(&error))?;
        let events = String::from_utf8(events).map_err(|error| unwritable(&error))?;
        if events.len() > LARGEST {
            return Err(unwritable(&format_args!("a commit may have {LARGEST} bytes")));
        }
        let metadata = serde_json::to_string(&commit.metadata).map_err(|error| unwritable(&error))?;
        Ok(Self {
            stream: commit.stream.as_str().into(),
            command_id: commit.command_id.as_str().into(),
            command_hash: commit.command_hash,
            version: Some(number(commit.version)),
            last_version: number(commit.last_version()),
            recorded_at: commit.recorded_at.as_microsecond(),
            awaits_outcome: commit.awaits_outcome,
            unpublished: commit.unpublished,
            texts: Some((events, metadata)),
            expires: false,
            rejection: None,
        })
    }

    pub(super) fn of_record(record: &CommandRecord) -> Self {
        Self {
            stream: record.stream.as_str().into(),
            command_id: record.command_id.as_str().into(),
            command_hash: record.command_hash,
            version: None,
            last_version: number(record.version),
            recorded_at: record.recorded_at.as_microsecond(),
            awaits_outcome: false,
            unpublished: false,
            texts: None,
            expires: record.expires(),
            rejection: record.rejection.clone(),
        }
    }

    fn bytes(&self) -> usize {
        self.texts.as_ref().map_or(0, |(events, metadata)| events.len() + metadata.len())
    }

    /// The key by which a batch is sorted: the stream, and in it the first version. Small records come after commits.
    fn place(&self) -> (&str, bool, Option<i64>, &str) {
        (&self.stream, self.version.is_none(), self.version, &self.command_id)
    }

    /// Tells the row apart from the others of a batch that may be inserted. Of two that are alike, the first is inserted.
    fn identity(&self) -> (&str, &str, Option<i64>) {
        (&self.stream, &self.command_id, self.version)
    }
}

/// A row, with the channel for its outcome.
pub(super) struct Write {
    pub(super) row: Row,
    pub(super) answer: Answer<(), AppendError>,
}

/// Rows are inserted in their order in the arrays. `DO NOTHING` makes a conflict with either key an outcome and not an error. A
/// row whose key another statement is inserting waits for the end of that statement.
const APPEND: &str = "
    WITH added AS (
        INSERT INTO {namespace}_commits
            (stream, version, last_version, recorded_at, answered_at, awaits_outcome, command_hash, command_id, metadata, events,
             rejection)
        SELECT stream, version, last_version, recorded_at, CASE WHEN expires THEN now() END, awaits_outcome,
            command_hash, command_id, metadata, events, rejection
        FROM UNNEST($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::boolean[], $6::bytea[], $7::text[], $8::text[],
            $9::text[], $11::boolean[], $12::text[]) WITH ORDINALITY
            AS new (stream, version, last_version, recorded_at, awaits_outcome, command_hash, command_id, metadata, events,
                expires, rejection, place)
        WHERE coalesce(version, 1) = 1 OR version - 1 = (
            SELECT has.last_version FROM {namespace}_commits AS has
            WHERE has.stream = new.stream AND has.version < new.version ORDER BY has.version DESC LIMIT 1)
        ORDER BY place
        ON CONFLICT DO NOTHING
        RETURNING stream, command_id, version, recorded_at
    ), unpublished AS (
        INSERT INTO {namespace}_outbox (stream, version, recorded_at, appended_by)
        SELECT stream, version, recorded_at, $13 FROM added WHERE $10
    )
    SELECT stream, command_id, version FROM added";

/// Inserts commits of any streams, all or none: a key that is taken fails the statement. `follows` says that the commit before
/// this one is in the statement too.
const APPEND_ALL: &str = "
    WITH new AS MATERIALIZED (
        SELECT * FROM UNNEST($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::boolean[], $6::bytea[], $7::text[],
            $8::text[], $9::text[], $10::boolean[], $11::boolean[]) WITH ORDINALITY
            AS new (stream, version, last_version, recorded_at, awaits_outcome, command_hash, command_id, metadata, events,
                unpublished, follows, place)
    ), misplaced AS MATERIALIZED (
        SELECT FROM new WHERE NOT follows AND version <> 1 AND version - 1 IS DISTINCT FROM (
            SELECT has.last_version FROM {namespace}_commits AS has
            WHERE has.stream = new.stream AND has.version < new.version ORDER BY has.version DESC LIMIT 1)
    ), added AS (
        INSERT INTO {namespace}_commits
            (stream, version, last_version, recorded_at, awaits_outcome, command_hash, command_id, metadata, events)
        SELECT stream, version, last_version, recorded_at, awaits_outcome, command_hash, command_id, metadata, events
        FROM new WHERE NOT EXISTS (SELECT FROM misplaced) ORDER BY place
        RETURNING 1
    ), unpublished AS (
        INSERT INTO {namespace}_outbox (stream, version, recorded_at, appended_by)
        SELECT stream, version, recorded_at, $12 FROM new WHERE unpublished AND NOT EXISTS (SELECT FROM misplaced)
    )
    SELECT count(*) FROM added";

/// Appends commits. The unpublished ones name the session of this process, if it has one.
pub(super) async fn append_all(
    connections: &Connections,
    appender: Option<i32>,
    commits: &[Arc<Commit>],
) -> Result<(), AppendError> {
    let rows = commits.iter().map(|commit| Row::of_commit(commit)).collect::<Result<Vec<_>, _>>()?;
    let mut rows: Vec<&Row> = rows.iter().collect();
    rows.sort_by(|a, b| a.place().cmp(&b.place()));
    let (mut begin, mut bytes) = (0, 0);
    for end in 1..=rows.len() {
        bytes += rows[end - 1].bytes();
        if end == rows.len() || bytes >= STATEMENT {
            match insert_all(connections, appender, &rows[begin..end]).await {
                Ok(added) if added == end - begin => {}
                Ok(_) | Err(Failure::Taken) => return Err(AppendError::Conflict),
                Err(failed) => return Err(StoreError::from(failed).into()),
            }
            (begin, bytes) = (end, 0);
        }
    }
    Ok(())
}

fn column<'a, T>(rows: &[&'a Row], value: impl Fn(&'a Row) -> T) -> Vec<T> {
    rows.iter().map(|row| value(row)).collect()
}

/// Binds the columns that commits have, which are the first nine parameters of each statement.
fn bind_columns<'a>(
    statement: Query<'a, Postgres, PgArguments>,
    rows: &[&'a Row],
) -> Query<'a, Postgres, PgArguments> {
    statement
        .bind(column(rows, |row| &*row.stream))
        .bind(column(rows, |row| row.version))
        .bind(column(rows, |row| row.last_version))
        .bind(column(rows, |row| row.recorded_at))
        .bind(column(rows, |row| row.awaits_outcome))
        .bind(column(rows, |row| &row.command_hash.0[..]))
        .bind(column(rows, |row| &*row.command_id))
        .bind(column(rows, |row| row.texts.as_ref().map(|(_, metadata)| &**metadata)))
        .bind(column(rows, |row| row.texts.as_ref().map(|(events, _)| &**events)))
}

/// Inserts rows, all or none, which are in the order of their places. Returns the number of those that it has inserted.
async fn insert_all(
    connections: &Connections,
    appender: Option<i32>,
    rows: &[&Row],
) -> Result<usize, Failure> {
    let follows = |index: usize, row: &Row| {
        let before = index.checked_sub(1).map(|before| &rows[before]);
        before
            .is_some_and(|before| before.stream == row.stream && Some(before.last_version + 1) == row.version)
    };
    let follows: Vec<bool> = rows.iter().enumerate().map(|(index, row)| follows(index, row)).collect();
    let statement = || {
        bind_columns(query(connections.sql(APPEND_ALL)), rows)
            .bind(column(rows, |row| row.unpublished))
            .bind(&follows)
            .bind(appender)
    };
    kill_point(KillPoint::BeforePostgresInsert);
    let added: i64 = connections.row(statement).await?.try_get(0)?;
    kill_point(KillPoint::AfterPostgresInsert);
    Ok(usize::try_from(added).unwrap_or_default())
}

/// Writes a batch. Its unpublished commits name the session of this process, if it has one.
pub(super) async fn work(connections: Arc<Connections>, appender: Option<i32>, mut writes: Vec<Write>) {
    // A caller that no longer waits has already taken its write for failed.
    writes.retain(|write| !write.answer.is_closed());
    sort(&mut writes);
    let (unpublished, others): (Vec<_>, Vec<_>) = writes.into_iter().partition(|write| write.row.unpublished);
    for writes in [unpublished, others] {
        for statement in statements(writes) {
            append(&connections, appender, statement).await;
        }
    }
}

/// Sorts a batch. Batches of several processes may meet in several streams. In the same order they wait for each other, but not
/// in a circle. Two that still do, because a command id is taken by a commit here and by a small record there, are told apart
/// by the server: it ends one, which is then done again.
fn sort(writes: &mut [Write]) {
    writes.sort_by(|a, b| a.row.place().cmp(&b.row.place()));
}

/// Splits a batch where it gets too large for one statement.
fn statements(writes: Vec<Write>) -> Vec<Vec<Write>> {
    let (mut statements, mut bytes) = (Vec::<Vec<Write>>::new(), 0);
    for write in writes {
        let begun = statements.last_mut().filter(|_| bytes < STATEMENT);
        bytes = write.row.bytes() + if begun.is_some() { bytes } else { 0 };
        match begun {
            Some(statement) => statement.push(write),
            None => statements.push(vec![write]),
        }
    }
    statements
}

async fn append(connections: &Connections, appender: Option<i32>, writes: Vec<Write>) {
    match insert(connections, appender, &writes.iter().map(|write| &write.row).collect::<Vec<_>>()).await {
        // One value that the server refuses fails no other caller.
        Err(Failure::Refused(_)) if writes.len() > 1 => {
            for Write { row, answer } in writes {
                let outcome = insert(connections, appender, &[&row]).await.and_then(only);
                answer_with(answer, outcome.unwrap_or_else(|failed| Err(StoreError::from(failed).into())));
            }
        }
        Err(failed) => {
            let error = StoreError::from(failed);
            tracing::error!(%error, writes = writes.len(), "the event store was not written to");
            for write in writes {
                answer_with(write.answer, Err(error.clone().into()));
            }
        }
        Ok(outcomes) => {
            for (write, outcome) in writes.into_iter().zip(outcomes) {
                answer_with(write.answer, outcome);
            }
        }
    }
}

fn answer_with(answer: Answer<(), AppendError>, outcome: Result<(), AppendError>) {
    // The caller may no longer wait, so a failed send is ignored.
    let _ = answer.send(outcome);
}

type Outcome = Result<(), AppendError>;

fn only(outcomes: Vec<Outcome>) -> Result<Outcome, Failure> {
    outcomes.into_iter().next().ok_or_else(|| Failure::unavailable("no outcome"))
}

/// Inserts rows that are all unpublished or all not. Returns the outcome of each.
async fn insert(
    connections: &Connections,
    appender: Option<i32>,
    rows: &[&Row],
) -> Result<Vec<Outcome>, Failure> {
    let is_unpublished = rows.first().is_some_and(|row| row.unpublished);
    let statement = || {
        bind_columns(query(connections.sql(APPEND)), rows)
            .bind(is_unpublished)
            .bind(column(rows, |row| row.expires))
            .bind(column(rows, |row| row.rejection.as_deref()))
            .bind(appender)
    };
    kill_point(KillPoint::BeforePostgresInsert);
    let found = connections.rows(statement).await?;
    kill_point(KillPoint::AfterPostgresInsert);
    let mut added = HashSet::with_capacity(found.len());
    for row in &found {
        added.insert((row.try_get::<&str, _>(0)?, row.try_get::<&str, _>(1)?, row.try_get(2)?));
    }
    let outcomes = rows.iter().map(|row| match added.take(&row.identity()) {
        Some(_) => Ok(()),
        None => Err(AppendError::Conflict),
    });
    Ok(outcomes.collect())
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    fn write(stream: &str, version: Option<i64>, bytes: usize) -> Write {
        let row = Row {
            stream: stream.into(),
            command_id: "system x".into(),
            command_hash: CommandHash([0; 32]),
            version,
            last_version: 1,
            recorded_at: 0,
            awaits_outcome: false,
            unpublished: true,
            texts: Some((" ".repeat(bytes), String::new())),
            expires: false,
            rejection: None,
        };
        Write { row, answer: oneshot::channel().0 }
    }

    #[test]
    fn a_batch_is_inserted_by_stream_and_version_however_it_came_in() {
        let places = [("b", Some(10)), ("a", Some(2)), ("b", None), ("b", Some(9))];
        let mut writes = places.map(|(stream, version)| write(stream, version, 0));
        sort(&mut writes);
        let sorted = writes.each_ref().map(|write| (&*write.row.stream, write.row.version));
        assert_eq!(sorted, [("a", Some(2)), ("b", Some(9)), ("b", Some(10)), ("b", None)]);
    }

    #[test]
    fn a_batch_is_split_where_it_gets_too_large_for_one_statement() {
        let writes = [1, STATEMENT, 1, 1].map(|bytes| write("a", Some(1), bytes));
        let lengths: Vec<usize> = statements(writes.into()).iter().map(Vec::len).collect();
        assert_eq!(lengths, [2, 2]);
        assert!(statements(Vec::new()).is_empty());
    }
}
