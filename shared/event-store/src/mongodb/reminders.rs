//! Reminders as a field of the waiting commit: `reminder: {since, sent, problem}`. The index on `since` holds no other commits.
//!
//! `since` is the server's own time. The update that marks the commit sets it (`$currentDate`), so nobody has to ask for the
//! time. `sent` is missing until a relay or a receiver touches the reminder after the mark. A receiver may set a commit aside
//! before its mark; the mark does not change that reminder.

use jiff::Timestamp;
use mongodb::bson::{Bson, DateTime, Document, RawDocument, doc};
use mongodb::error::Error;

use super::connection::{Connection, Topology, within};
use super::document::{id, text, whole};
use super::failure::unavailable;
use super::maintenance::unreadable;
use super::mark::filter;
use crate::cursor::outstanding;
use crate::reminders::{DueTimes, REMINDERS, ReminderRow};
use crate::{CommitId, ReminderCounts, StoreError};

/// Returns the time on the server's clock.
pub(super) async fn time(connection: &Connection) -> Result<Timestamp, StoreError> {
    within(async {
        let commits = connection.commits().await?;
        let database = commits.client().database(&commits.namespace().db);
        let hello = database.run_command(doc! { "hello": 1 }).await.map_err(|error| unavailable(&error))?;
        let time = hello.get_datetime("localTime").map_err(|error| unreadable(error.to_string()))?;
        read_time(*time)
    })
    .await
}

/// Returns the reminders that are due by their time, and then those that a clock which was ahead has set. These are two ranges of
/// one index. Each range has a lower end; without it, some servers do not see that the partial index covers the range.
pub(super) async fn due(
    connection: &Connection,
    due: DueTimes,
    limit: usize,
) -> Result<Vec<ReminderRow>, StoreError> {
    let not_exhausted = doc! { "$not": { "$gte": REMINDERS } };
    let by_time = doc! {
        "reminder.since": { "$gt": DateTime::MIN, "$lte": written(due.until) }, "reminder.sent": &not_exhausted
    };
    let mut rows = find(connection, by_time, doc! { "reminder.since": 1 }, limit).await?;
    if rows.len() < limit {
        let ahead = doc! {
            "reminder.since": { "$gt": written(due.now) },
            "$or": [
                { "reminder.sent": { "$exists": false } },
                { "reminder.since": { "$gt": written(due.beyond) }, "reminder.sent": not_exhausted },
            ],
        };
        rows.extend(find(connection, ahead, doc! { "reminder.since": 1 }, limit - rows.len()).await?);
    }
    Ok(rows)
}

pub(super) async fn list(
    connection: &Connection,
    behind: Option<&CommitId>,
    limit: usize,
) -> Result<Vec<ReminderRow>, StoreError> {
    let behind = behind.map_or(String::new(), |commit| id(commit.stream.as_str(), commit.version));
    let all = doc! { "reminder.since": { "$gt": DateTime::MIN }, "_id": { "$gt": behind } };
    find(connection, all, doc! { "_id": 1 }, limit).await
}

async fn find(
    connection: &Connection,
    filter: Document,
    sort: Document,
    limit: usize,
) -> Result<Vec<ReminderRow>, StoreError> {
    within(async {
        let commits = connection.commits().await?;
        let found = commits
            .find(filter)
            .sort(sort)
            .projection(doc! { "_id": 0, "stream": 1, "version": 1, "reminder": 1 })
            .limit(i64::try_from(limit).unwrap_or(i64::MAX))
            .await;
        let mut cursor = found.map_err(|error| unavailable(&error))?;
        let mut rows = Vec::new();
        while cursor.advance().await.map_err(|error| unavailable(&error))? {
            rows.extend(read(cursor.current())?);
        }
        Ok(rows)
    })
    .await
}

/// Reads a document's reminder. One that none of our programs wrote is skipped.
fn read(document: &RawDocument) -> Result<Option<ReminderRow>, StoreError> {
    let stream = text(document, "stream").map_err(unreadable)?;
    let reminder = document.get_document("reminder").map_err(|error| unreadable(error.to_string()))?;
    let since = reminder.get_datetime("since").map_err(|error| unreadable(error.to_string()))?;
    let since = read_time(since)?;
    let sent = whole(reminder, "sent").unwrap_or_default().try_into().unwrap_or(u32::MAX);
    let problem = reminder.get_str("problem").ok().map(str::to_owned);
    let commit = outstanding(stream, whole(document, "version"));
    Ok(commit.map(|commit| ReminderRow { commit, since, sent, problem }))
}

/// Guarantee: of several relays that claim a reminder, only one finds the time that it has read.
pub(super) async fn set(
    connection: &Connection,
    row: ReminderRow,
    since: Timestamp,
) -> Result<bool, StoreError> {
    let found = doc! { "reminder.since": written(since) };
    let set = doc! { "$set": { "reminder.since": written(row.since), "reminder.sent": row.sent } };
    update(connection, &[row.commit], found, set).await.map(|changed| changed > 0)
}

pub(super) async fn set_aside(connection: &Connection, row: ReminderRow) -> Result<(), StoreError> {
    let reminder = doc! { "since": written(row.since), "sent": row.sent, "problem": row.problem };
    update(connection, &[row.commit], doc! {}, doc! { "$set": { "reminder": reminder } }).await.map(drop)
}

pub(super) async fn end(connection: &Connection, commits: Vec<CommitId>) -> Result<(), StoreError> {
    update(connection, &commits, doc! {}, doc! { "$unset": { "reminder": "" } }).await.map(drop)
}

/// Changes those of these commits that meet the condition. Returns their number.
async fn update(
    connection: &Connection,
    commits: &[CommitId],
    condition: Document,
    change: Document,
) -> Result<u64, StoreError> {
    within(async {
        let topology: Topology = connection.topology().await?;
        let places: Vec<_> = commits.iter().map(|commit| (&commit.stream, commit.version)).collect();
        let mut filter = filter(&places, topology);
        filter.extend(condition);
        let updated = connection.commits().await?.update_many(filter, change).await;
        updated.map(|updated| updated.modified_count).map_err(|error| unavailable(&error))
    })
    .await
}

pub(super) async fn count(connection: &Connection) -> Result<ReminderCounts, StoreError> {
    let one_if = |condition: Bson| doc! { "$sum": { "$cond": [condition, 1, 0] } };
    let all = [
        doc! { "$match": { "reminder.since": { "$gt": DateTime::MIN } } },
        doc! { "$group": {
            "_id": Bson::Null,
            "waiting": { "$sum": 1 },
            "set_aside": one_if(doc! { "$gt": ["$reminder.problem", ""] }.into()),
            "overdue": one_if(doc! { "$gte": ["$reminder.sent", REMINDERS] }.into()),
        } },
    ];
    within(async {
        let commits = connection.commits().await?;
        let read = async {
            let mut cursor = commits.aggregate(all).await?;
            let found = cursor.advance().await?;
            Ok::<_, Error>(found.then(|| cursor.current().to_owned()))
        };
        let Some(counts) = read.await.map_err(|error| unavailable(&error))? else {
            return Ok(ReminderCounts::default());
        };
        let of = |name| whole(&counts, name).map(i64::unsigned_abs).map_err(unreadable);
        Ok(ReminderCounts { waiting: of("waiting")?, set_aside: of("set_aside")?, overdue: of("overdue")? })
    })
    .await
}

fn written(time: Timestamp) -> DateTime {
    DateTime::from_millis(time.as_millisecond())
}

fn read_time(time: DateTime) -> Result<Timestamp, StoreError> {
    Timestamp::from_millisecond(time.timestamp_millis()).map_err(|error| unreadable(error.to_string()))
}
