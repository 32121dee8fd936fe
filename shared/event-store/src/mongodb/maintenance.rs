//! Questions about the whole store: scans, the outbox, and the number of commits.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use event_sourcing::EventType;
use jiff::Timestamp;
use mongodb::Collection;
use mongodb::bson::{Bson, Document, RawBsonRef, RawDocumentBuf, doc};
use mongodb::error::Error;
use rand::seq::SliceRandom;

use super::connection::{Connection, within};
use super::document::{self, id, text, time, whole};
use super::failure::unavailable;
use super::indexes;
use crate::cursor::{self, Cursor, PageOfRows};
use crate::{Backlog, CommitId, Page, ScanPosition, ScannedCommit, StoreError};

/// The number of times that a page with a gap is read again before the gap is believed; see the reader's `read_again`.
const READ_AGAIN: usize = 2;

type CommitCollection = Collection<RawDocumentBuf>;

/// Scans in the order of the ids, all of which are text. So the commits of a stream come together and in order, and a page begins
/// with a seek. Small records have ids that are not text, so the scan does not meet them.
pub(super) async fn scan<E: EventType>(
    connection: &Connection,
    after: Option<&ScanPosition>,
    limit: usize,
) -> Result<Page<ScannedCommit<E>>, StoreError> {
    let mut again = 0;
    loop {
        let last = after.map(Cursor::parse).transpose()?;
        let page = within(page(connection, last, limit.max(1))).await?;
        if page.unreadable.is_empty() || again == READ_AGAIN {
            return Ok(page);
        }
        again += 1;
    }
}

async fn page<E: EventType>(
    connection: &Connection,
    last: Option<Cursor>,
    limit: usize,
) -> Result<Page<ScannedCommit<E>>, StoreError> {
    let commits = connection.commits().await?;
    let after = match &last {
        Some(cursor) => doc! { "$gt": id(&cursor.stream, cursor.version) },
        None => doc! { "$gte": "" },
    };
    let found = commits
        .find(doc! { "_id": after })
        .sort(doc! { "_id": 1 })
        .projection(doc! { "stream": 1, "version": 1, "last_version": 1, "recorded_at": 1, "events": 1 })
        .limit(i64::try_from(limit).unwrap_or(i64::MAX))
        .batch_size(u32::try_from(limit).unwrap_or(u32::MAX))
        .await;
    let mut cursor = found.map_err(|error| unavailable(&error))?;
    let mut page = PageOfRows::after(last);
    while cursor.advance().await.map_err(|error| unavailable(&error))? {
        let document = cursor.current();
        // A commit without a stream's name is reported by its id, which the scan goes by.
        let stream = text(document, "stream").or_else(|_| text(document, "_id")).map_err(unreadable)?;
        page.take(stream, |stream, last| Ok(document::scanned(stream, last, document)?))?;
    }
    Ok(page.finish(limit))
}

/// Returns the oldest unpublished commits of random streams. The outbox may hold millions of commits, so it can't be shuffled as
/// a whole. This function takes the commits that follow a random time in the outbox, and looks at their streams.
pub(super) async fn outstanding(
    connection: &Connection,
    young: &RangeInclusive<Timestamp>,
    limit: usize,
) -> Result<Vec<CommitId>, StoreError> {
    if limit == 0 {
        return Ok(Vec::new());
    }
    within(async {
        let commits = connection.commits().await?;
        let mut streams = some_streams(commits, young, limit).await?;
        streams.shuffle(&mut rand::rng());
        streams.truncate(limit);
        let mut oldest = oldest_of(commits, &streams).await?;
        oldest.shuffle(&mut rand::rng());
        Ok(oldest)
    })
    .await
}

/// Returns streams that have an unpublished commit which is not young. They are more than `limit` where there are more.
async fn some_streams(
    commits: &CommitCollection,
    young: &RangeInclusive<Timestamp>,
    limit: usize,
) -> Result<Vec<String>, StoreError> {
    let old = doc! { "$lt": time(*young.start()) };
    let ahead = doc! { "$gt": time(*young.end()) };
    let (mut streams, more) =
        tokio::try_join!(streams_of(commits, old, limit), streams_of(commits, ahead, limit))?;
    streams.extend(more);
    Ok(streams.into_iter().collect())
}

/// Returns streams with an unpublished commit that was recorded `then`.
async fn streams_of(
    commits: &CommitCollection,
    then: Document,
    limit: usize,
) -> Result<BTreeSet<String>, StoreError> {
    let unpublished = |recorded_at: Document| doc! { "unpublished": true, "recorded_at": recorded_at };
    let all = unpublished(then);
    let mut streams = BTreeSet::new();
    let ends = async { tokio::try_join!(end(commits, all.clone(), 1), end(commits, all, -1)) };
    let (Some(oldest), Some(newest)) = ends.await? else { return Ok(streams) };
    let start = between(&oldest, &newest);
    let window = limit.saturating_mul(2).max(64);
    let later = unpublished(doc! { "$gte": &start, "$lte": newest });
    let found = collect_streams(commits, later, window, &mut streams).await?;
    if found < window {
        let earlier = unpublished(doc! { "$gte": oldest, "$lt": start });
        collect_streams(commits, earlier, window - found, &mut streams).await?;
    }
    Ok(streams)
}

/// Returns the earliest or the latest time at which one of these commits was recorded.
async fn end(
    commits: &CommitCollection,
    filter: Document,
    direction: i32,
) -> Result<Option<String>, StoreError> {
    let found = commits
        .find_one(filter)
        .sort(doc! { "recorded_at": direction })
        .projection(doc! { "_id": 0, "recorded_at": 1 })
        .await;
    let Some(document) = found.map_err(|error| unavailable(&error))? else { return Ok(None) };
    text(&document, "recorded_at").map(|time| Some(time.to_owned())).map_err(unreadable)
}

/// Returns a random time between these two. If one of them is no time, returns the first, so that the others are still found.
fn between(oldest: &str, newest: &str) -> String {
    let microseconds = |text: &str| text.parse().map(Timestamp::as_microsecond).ok();
    let start = microseconds(oldest)
        .zip(microseconds(newest))
        .map(|(oldest, newest)| rand::random_range(oldest..=newest.max(oldest)))
        .and_then(|start| Timestamp::from_microsecond(start).ok());
    start.map_or_else(|| oldest.to_owned(), time)
}

/// Adds the streams of up to `limit` commits. Returns the number of those commits.
async fn collect_streams(
    commits: &CommitCollection,
    filter: Document,
    limit: usize,
    streams: &mut BTreeSet<String>,
) -> Result<usize, StoreError> {
    let collect = async {
        let mut found = 0;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut cursor = commits.find(filter).projection(doc! { "_id": 0, "stream": 1 }).limit(limit).await?;
        while cursor.advance().await? {
            streams.extend(cursor.current().get_str("stream").ok().map(str::to_owned));
            found += 1;
        }
        Ok::<_, Error>(found)
    };
    collect.await.map_err(|error| unavailable(&error))
}

/// Returns the first unpublished commit of each stream by its version, not by its time, because a clock may have gone back. The
/// streams alone are the condition, so that no server decides to read the whole outbox.
async fn oldest_of(commits: &CommitCollection, streams: &[String]) -> Result<Vec<CommitId>, StoreError> {
    let unpublished = doc! { "$cond": ["$unpublished", "$version", Bson::Null] };
    let oldest = [
        doc! { "$match": { "stream": { "$in": streams } } },
        doc! { "$group": { "_id": "$stream", "version": { "$min": unpublished } } },
    ];
    let mut found = Vec::with_capacity(streams.len());
    let mut cursor = commits.aggregate(oldest).await.map_err(|error| unavailable(&error))?;
    while cursor.advance().await.map_err(|error| unavailable(&error))? {
        let oldest = cursor.current();
        // The stream's commits have all been marked meanwhile.
        if matches!(oldest.get("version"), Ok(None | Some(RawBsonRef::Null))) {
            continue;
        }
        let stream = text(oldest, "_id").map_err(unreadable)?;
        found.extend(cursor::outstanding(stream, whole(oldest, "version")));
    }
    Ok(found)
}

/// Summarizes the outbox from its index alone.
pub(super) async fn backlog(connection: &Connection) -> Result<Backlog, StoreError> {
    let all = [
        doc! { "$match": { "unpublished": true } },
        doc! { "$group": {
            "_id": Bson::Null,
            "commits": { "$sum": 1 },
            "oldest": { "$min": "$recorded_at" },
            "newest": { "$max": "$recorded_at" },
        } },
    ];
    within(async {
        let commits = connection.commits().await?;
        let mut cursor = commits.aggregate(all).await.map_err(|error| unavailable(&error))?;
        if !cursor.advance().await.map_err(|error| unavailable(&error))? {
            return Ok(Backlog::default());
        }
        let commits = whole(cursor.current(), "commits").map_err(unreadable)?;
        let end = |name| {
            let time = text(cursor.current(), name).map_err(unreadable)?;
            time.parse().map(Some).map_err(|error: jiff::Error| unreadable(error.to_string()))
        };
        Ok(Backlog { commits: commits.unsigned_abs(), oldest: end("oldest")?, newest: end("newest")? })
    })
    .await
}

/// Estimates the number of commits. The estimate includes small records; they are few.
pub(super) async fn count(connection: &Connection) -> Result<u64, StoreError> {
    within(async {
        let commits = connection.commits().await?;
        commits.estimated_document_count().await.map_err(|error| unavailable(&error))
    })
    .await
}

/// Checks that a primary answers and that the indexes exist.
pub(super) async fn ping(connection: &Connection) -> Result<(), StoreError> {
    within(async {
        let commits = connection.commits().await?;
        indexes::check(commits).await
    })
    .await
}

/// Creates the missing indexes.
pub(super) async fn mend(connection: &Connection) -> Result<(), StoreError> {
    within(async { indexes::ensure(connection.commits().await?).await }).await
}

pub(super) fn unreadable(problem: String) -> StoreError {
    StoreError::Unavailable(format!("its answer can't be read: {problem}").into())
}
