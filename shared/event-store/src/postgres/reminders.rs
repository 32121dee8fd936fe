//! Reminders as rows of a small table. It holds only the commits that wait. All times are the server's own.

use event_sourcing::Version;
use jiff::Timestamp;
use sqlx::postgres::PgRow;
use sqlx::{Row, query};

use super::connections::Connections;
use super::failure::{Failure, unavailable};
use crate::columns::{number, time as read_time};
use crate::cursor::outstanding;
use crate::reminders::{DueTimes, REMINDERS, ReminderRow};
use crate::{CommitId, ReminderCounts};

const TIME: &str = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint";

/// Nobody waits for the disk. A reminder that the server has lost the end of is ended when it is due.
const END: &str = "
    DELETE FROM {namespace}_reminders AS reminder USING UNNEST($1::text[], $2::bigint[]) AS ended (stream, version)
    WHERE reminder.stream = ended.stream AND reminder.version = ended.version
        AND (SELECT set_config('synchronous_commit', 'off', true)) = 'off'";

/// Guarantee: of several relays that claim a reminder, only one finds the time that it has read.
const MOVE: &str = "
    UPDATE {namespace}_reminders SET since = $3, sent = $4 WHERE stream = $1 AND version = $2 AND since = $5 RETURNING 1";

const SET_ASIDE: &str = "
    INSERT INTO {namespace}_reminders (stream, version, since, sent, problem)
    SELECT stream, version, $3, $4, $5 FROM {namespace}_commits WHERE stream = $1 AND version = $2
    ON CONFLICT (stream) DO UPDATE SET
        version = excluded.version, since = excluded.since, sent = excluded.sent, problem = excluded.problem
    WHERE excluded.version >= {namespace}_reminders.version";

/// First the reminders that are due by their time, and then those that a clock which was ahead has set. These are two ranges of
/// one index.
const DUE: &str = "
    (SELECT stream, version, since, sent, problem FROM {namespace}_reminders
     WHERE since <= $1 AND coalesce(sent, 0) < $4 ORDER BY since LIMIT $5)
    UNION ALL
    (SELECT stream, version, since, sent, problem FROM {namespace}_reminders
     WHERE since > $3 AND (sent IS NULL OR since > $2 AND sent < $4) ORDER BY since LIMIT $5)
    LIMIT $5";

const LIST: &str = "
    SELECT stream, version, since, sent, problem FROM {namespace}_reminders WHERE stream > $1 ORDER BY stream LIMIT $2";

const COUNT: &str =
    "SELECT count(*), count(problem), count(*) FILTER (WHERE sent >= $1) FROM {namespace}_reminders";

/// Returns the time on the server's clock.
pub(super) async fn time(connections: &Connections) -> Result<Timestamp, Failure> {
    let found = connections.row(|| query(TIME)).await?;
    read_time(found.try_get(0)?).map_err(|problem| Failure::unavailable(&problem))
}

pub(super) async fn end<'a>(
    connections: &Connections,
    commits: impl Iterator<Item = (&'a str, Version)>,
) -> Result<(), Failure> {
    let (streams, versions): (Vec<&str>, Vec<i64>) =
        commits.map(|(stream, version)| (stream, number(version))).unzip();
    if streams.is_empty() {
        return Ok(());
    }
    connections.rows(|| query(connections.sql(END)).bind(&streams).bind(&versions)).await.map(drop)
}

/// Moves the reminder to the row's time. Returns true if the reminder's time was `since` until then.
pub(super) async fn set(
    connections: &Connections,
    row: &ReminderRow,
    since: Timestamp,
) -> Result<bool, Failure> {
    let statement = || {
        query(connections.sql(MOVE))
            .bind(row.commit.stream.as_str())
            .bind(number(row.commit.version))
            .bind(row.since.as_microsecond())
            .bind(count_of(row.sent))
            .bind(since.as_microsecond())
    };
    Ok(!connections.rows(statement).await?.is_empty())
}

pub(super) async fn set_aside(connections: &Connections, row: &ReminderRow) -> Result<(), Failure> {
    // Another service's words may have any character; no text of the server has this one.
    let problem = row.problem.as_ref().map(|problem| problem.replace('\0', "\u{fffd}"));
    let statement = || {
        query(connections.sql(SET_ASIDE))
            .bind(row.commit.stream.as_str())
            .bind(number(row.commit.version))
            .bind(row.since.as_microsecond())
            .bind(count_of(row.sent))
            .bind(problem.as_deref())
    };
    connections.rows(statement).await.map(drop)
}

pub(super) async fn due(
    connections: &Connections,
    due: DueTimes,
    limit: usize,
) -> Result<Vec<ReminderRow>, Failure> {
    let [until, beyond, now] = [due.until, due.beyond, due.now].map(Timestamp::as_microsecond);
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let statement = || {
        query(connections.sql(DUE)).bind(until).bind(beyond).bind(now).bind(count_of(REMINDERS)).bind(limit)
    };
    rows(&connections.rows(statement).await?)
}

pub(super) async fn list(
    connections: &Connections,
    behind: Option<&CommitId>,
    limit: usize,
) -> Result<Vec<ReminderRow>, Failure> {
    let behind = behind.map_or("", |commit| commit.stream.as_str());
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    rows(&connections.rows(|| query(connections.sql(LIST)).bind(behind).bind(limit)).await?)
}

pub(super) async fn count(connections: &Connections) -> Result<ReminderCounts, Failure> {
    let found = connections.row(|| query(connections.sql(COUNT)).bind(count_of(REMINDERS))).await?;
    let of = |column| Ok::<_, Failure>(found.try_get::<i64, _>(column)?.unsigned_abs());
    Ok(ReminderCounts { waiting: of(0)?, set_aside: of(1)?, overdue: of(2)? })
}

/// Returns a number of reminders in the type of its column.
fn count_of(reminders: u32) -> i32 {
    i32::try_from(reminders).unwrap_or(i32::MAX)
}

/// Reads rows. A row that none of our programs wrote is skipped.
fn rows(found: &[PgRow]) -> Result<Vec<ReminderRow>, Failure> {
    let mut rows = Vec::with_capacity(found.len());
    for row in found {
        let since = read_time(row.try_get(2)?).map_err(|problem| unavailable(&problem))?;
        let sent: Option<i32> = row.try_get(3)?;
        let commit = outstanding(row.try_get(0)?, Ok(row.try_get(1)?));
        let problem: Option<String> = row.try_get(4)?;
        let sent = sent.map_or(0, i32::unsigned_abs);
        rows.extend(commit.map(|commit| ReminderRow { commit, since, sent, problem }));
    }
    Ok(rows)
}
