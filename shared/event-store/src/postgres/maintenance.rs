//! Questions about the whole store: scans, the outbox, the number of commits. And the deletion of old small records.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use event_sourcing::{EventType, StreamId, Version, event};
use jiff::Timestamp;
use rand::seq::SliceRandom;
use runtime::postgres;
use sqlx::postgres::PgRow;
use sqlx::{Row, query};

use super::connections::Connections;
use super::failure::{Failure, unavailable};
use super::presence;
use crate::columns::{number, time};
use crate::cursor::{self, Cursor, PageOfRows, follows, unreadable_at};
use crate::heads::{Heads, HeadsPage};
use crate::{
    ANSWERED_KEPT, Backlog, CommitId, OtherProcesses, Page, ScanPosition, ScannedCommit, StoreError,
    UnreadableStream, json,
};

/// In the order of the key, the commits of a stream come together and in order, and a page begins with a seek.
const SCAN: &str = "
    SELECT stream, version, recorded_at, events FROM {namespace}_commits
    WHERE (stream, version) > ($1, $2) AND version IS NOT NULL ORDER BY stream, version LIMIT $3";

const ENDS: &str = "
    SELECT stream, last_version FROM {namespace}_commits
    WHERE stream > $1 AND version IS NOT NULL ORDER BY stream, version LIMIT $2";

const END: &str = "
    SELECT last_version FROM {namespace}_commits
    WHERE stream = $1 AND version IS NOT NULL ORDER BY version DESC LIMIT 1";

/// The first unpublished commits of random streams that have one which was recorded in this range. If sessions are given, only
/// those that other sessions have appended count. The outbox may hold millions of commits, so it can't be shuffled as a whole:
/// this takes the commits that follow a random time in the range, and looks at their streams. First by version and not by time,
/// because a clock may have gone back.
const OUTSTANDING: &str = "
    WITH start AS MATERIALIZED (
        SELECT min(recorded_at) + floor(random() * (max(recorded_at) - min(recorded_at) + 1))::bigint AS at
        FROM {namespace}_outbox
        WHERE recorded_at BETWEEN $1 AND $2 AND ($4::int[] IS NULL OR appended_by > 0 AND appended_by <> ALL ($4))
    ), candidates AS (
        (SELECT stream FROM {namespace}_outbox
         WHERE recorded_at BETWEEN (SELECT at FROM start) AND $2
            AND ($4::int[] IS NULL OR appended_by > 0 AND appended_by <> ALL ($4))
         ORDER BY recorded_at LIMIT $3)
        UNION ALL
        (SELECT stream FROM {namespace}_outbox
         WHERE recorded_at >= $1 AND recorded_at < (SELECT at FROM start)
            AND ($4::int[] IS NULL OR appended_by > 0 AND appended_by <> ALL ($4))
         ORDER BY recorded_at LIMIT $3)
    )
    SELECT stream, (SELECT min(version) FROM {namespace}_outbox AS of_stream WHERE of_stream.stream = streams.stream)
    FROM (SELECT DISTINCT stream FROM candidates) AS streams";

/// The commits in a range that this session did not append, and that are left to those that did: sessions that live, and
/// processes without one, which may.
const LEFT_TO_OTHERS: &str = "
    SELECT count(*) FROM {namespace}_outbox
    WHERE recorded_at BETWEEN $1 AND $2 AND appended_by IS DISTINCT FROM $3
        AND (appended_by IS NULL OR appended_by = ANY ($4))";

const BACKLOG: &str = "SELECT count(*), min(recorded_at), max(recorded_at) FROM {namespace}_outbox";

/// The server's estimate, which includes small records; they are few. A small or new table is counted.
const COUNT: &str = "
    SELECT CASE WHEN reltuples >= 100000 THEN reltuples::bigint
        ELSE (SELECT count(*) FROM {namespace}_commits WHERE version IS NOT NULL) END
    FROM pg_class WHERE oid = '{namespace}_commits'::regclass";

const PING: &str = "
    SELECT current_setting('transaction_read_only')::boolean, EXISTS (SELECT FROM {namespace}_commits),
        EXISTS (SELECT FROM {namespace}_outbox), EXISTS (SELECT FROM {namespace}_reminders)";

/// The most small records that one statement deletes.
const FORGOTTEN: i64 = 10_000;

/// By the server's clock, which has also set the time. Rows that another process deletes at the same time are left to it.
const FORGET: &str = "
    WITH forgotten AS (
        DELETE FROM {namespace}_commits WHERE (stream, command_id) IN (
            SELECT stream, command_id FROM {namespace}_commits
            WHERE answered_at < now() - make_interval(secs => $1)
            ORDER BY answered_at LIMIT $2 FOR UPDATE SKIP LOCKED)
        RETURNING 1
    )
    SELECT count(*) FROM forgotten";

pub(super) async fn scan<E: EventType>(
    connections: &Connections,
    after: Option<&ScanPosition>,
    limit: usize,
) -> Result<Page<ScannedCommit<E>>, StoreError> {
    let last = after.map(Cursor::parse).transpose()?;
    let limit = limit.max(1);
    let (stream, version) =
        last.as_ref().map_or(("", Version::NONE), |cursor| (&cursor.stream, cursor.version));
    let statement = || query(connections.sql(SCAN)).bind(stream).bind(number(version)).bind(count_of(limit));
    let rows = connections.rows(statement).await?;
    let mut page = PageOfRows::after(last);
    for row in &rows {
        let stream = row.try_get(0).map_err(Failure::from)?;
        page.take(stream, |stream, last| Ok(read_scanned(row, stream, last)?))?;
    }
    Ok(page.finish(limit))
}

fn read_scanned<E: EventType>(
    row: &PgRow,
    stream: &StreamId,
    last: Version,
) -> Result<ScannedCommit<E>, UnreadableStream> {
    let in_row = |error: sqlx::Error| error.to_string();
    let found = row.try_get(1).map_err(in_row).map_err(|problem| unreadable_at(stream, last, &problem))?;
    let version = follows(stream, last, found)?;
    let decode = |stored: json::StoredEvent<'_>| {
        event::decode(&stored.kind, stored.schema, stored.data).map_err(|problem| problem.to_string())
    };
    let read = || {
        let recorded_at = time(row.try_get(2).map_err(in_row)?)?;
        let events = json::read_events(row.try_get(3).map_err(in_row)?, decode)?;
        Ok(ScannedCommit { stream: stream.clone(), version, recorded_at, events })
    };
    read().map_err(|problem: String| unreadable_at(stream, version, &problem))
}

pub(super) async fn heads(
    connections: &Connections,
    after: Option<&str>,
    limit: usize,
) -> Result<Heads, Failure> {
    let limit = limit.max(2);
    let after = after.unwrap_or_default();
    let rows = connections.rows(|| query(connections.sql(ENDS)).bind(after).bind(count_of(limit))).await?;
    let ends = rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?)));
    let page = HeadsPage::new(limit, ends.collect::<Result<_, sqlx::Error>>()?);
    let long = match page.long_stream() {
        Some(stream) => {
            let rows = connections.rows(|| query(connections.sql(END)).bind(stream)).await?;
            rows.first().map(|row| row.try_get(0)).transpose()?
        }
        None => None,
    };
    Ok(page.page(long))
}

/// Returns the oldest unpublished commits of random streams: from those with an old commit, those with one that is dated ahead,
/// and those with a young one of a process that is gone.
pub(super) async fn outstanding(
    connections: &Connections,
    young: &RangeInclusive<Timestamp>,
    limit: usize,
) -> Result<Vec<CommitId>, Failure> {
    let (start, end) = in_row(young);
    let alive = presence::alive(connections).await?;
    let window = count_of(limit.saturating_mul(2).max(64));
    let mut oldest = BTreeMap::new();
    for (from, to, passed_over) in
        [(i64::MIN, start - 1, None), (end + 1, i64::MAX, None), (start, end, Some(&alive))]
    {
        let statement =
            || query(connections.sql(OUTSTANDING)).bind(from).bind(to).bind(window).bind(passed_over);
        for row in connections.rows(statement).await? {
            // The stream's commits may all have been marked since the first commit was found.
            if let Some(version) = row.try_get::<Option<i64>, _>(1)? {
                oldest.insert(row.try_get::<String, _>(0)?, version);
            }
        }
    }
    let mut oldest: Vec<(String, i64)> = oldest.into_iter().collect();
    oldest.shuffle(&mut rand::rng());
    oldest.truncate(limit);
    Ok(oldest.iter().filter_map(|(stream, version)| cursor::outstanding(stream, Ok(*version))).collect())
}

/// Returns the processes that live beside the one with this session, and the number of young commits that are left to others.
pub(super) async fn other_processes(
    connections: &Connections,
    young: &RangeInclusive<Timestamp>,
    own: Option<i32>,
) -> Result<OtherProcesses, Failure> {
    let (start, end) = in_row(young);
    let alive = presence::alive(connections).await?;
    let statement = || query(connections.sql(LEFT_TO_OTHERS)).bind(start).bind(end).bind(own).bind(&alive);
    let left_to_them = number_in(&connections.row(statement).await?)?;
    let others = alive.iter().filter(|number| Some(**number) != own).count();
    Ok(OtherProcesses { alive: others as u64, left_to_them })
}

/// Returns the ends of a range of times, as rows have them.
fn in_row(times: &RangeInclusive<Timestamp>) -> (i64, i64) {
    (times.start().as_microsecond(), times.end().as_microsecond())
}

pub(super) async fn backlog(connections: &Connections) -> Result<Backlog, Failure> {
    let found = connections.row(|| query(connections.sql(BACKLOG))).await?;
    let end = |column| -> Result<Option<Timestamp>, Failure> {
        let end: Option<i64> = found.try_get(column)?;
        Ok(end.map(time).transpose().map_err(|problem| unavailable(&problem))?)
    };
    Ok(Backlog { commits: number_in(&found)?, oldest: end(1)?, newest: end(2)? })
}

pub(super) async fn count(connections: &Connections) -> Result<u64, Failure> {
    number_in(&connections.row(|| query(connections.sql(COUNT))).await?)
}

/// Checks that the server takes writes and has the tables.
pub(super) async fn ping(connections: &Connections) -> Result<(), Failure> {
    if connections.row(|| query(connections.sql(PING))).await?.try_get(0)? {
        return Err(postgres::Error::ReadOnly.into());
    }
    Ok(())
}

/// Deletes old small records, and returns their number.
pub(super) async fn forget_answered(connections: &Connections) -> Result<u64, Failure> {
    let mut all = 0;
    loop {
        let statement = || query(connections.sql(FORGET)).bind(ANSWERED_KEPT.as_secs_f64()).bind(FORGOTTEN);
        let forgotten = number_in(&connections.row(statement).await?)?;
        all += forgotten;
        if forgotten < FORGOTTEN.unsigned_abs() {
            return Ok(all);
        }
    }
}

/// Returns a number of rows, which is the first column.
fn number_in(found: &PgRow) -> Result<u64, Failure> {
    Ok(found.try_get::<i64, _>(0)?.unsigned_abs())
}

/// Returns a limit in the type that the server takes.
fn count_of(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
