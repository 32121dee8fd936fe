//! What is asked of the store at large: scans, the outbox, and how much there is.

use std::collections::BTreeSet;

use domain::Version;
use jiff::Timestamp;
use mongodb::Collection;
use mongodb::bson::{Bson, Document, RawBsonRef, RawDocumentBuf, doc};
use mongodb::error::Error;
use rand::seq::SliceRandom;

use super::connection::{Connection, unavailable, within};
use super::document::{self, id, text, time, whole};
use crate::place::{Place, known_stream};
use crate::{Backlog, CommitId, Page, ScanPosition, StoreError};

/// How often a page with a gap is read again before it is believed; see the reader's `read_again`.
const READ_AGAIN: usize = 2;

type Commits = Collection<RawDocumentBuf>;

/// In the order of the ids, all of which are text: the commits of a stream come together and in order, a page begins by a seek, and
/// small records, whose ids are not text, are not met.
pub(super) async fn scan(
    connection: &Connection,
    after: Option<&ScanPosition>,
    limit: usize,
) -> Result<Page, StoreError> {
    let mut again = 0;
    loop {
        let last = after.map(Place::parse).transpose()?;
        match within(page(connection, last, limit.max(1))).await {
            Err(StoreError::Corrupt { .. }) if again < READ_AGAIN => again += 1,
            page => return page,
        }
    }
}

async fn page(connection: &Connection, mut last: Option<Place>, limit: usize) -> Result<Page, StoreError> {
    let commits = connection.commits().await?;
    let after = match &last {
        Some(place) => doc! { "$gt": id(place.stream.as_str(), place.version) },
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
    let mut page = Vec::new();
    while cursor.advance().await.map_err(|error| unavailable(&error))? {
        let commit = document::scanned(last.as_ref(), cursor.current())?;
        last = Some(Place::end_of(&commit));
        page.push(commit);
    }
    let next = last.filter(|_| page.len() == limit).map(Place::position);
    Ok(Page { commits: page, next })
}

/// The outbox may hold millions, so it is not sorted at random: commits that follow a random time in it are taken, and their streams
/// looked at.
pub(super) async fn outstanding(
    connection: &Connection,
    before: Timestamp,
    limit: usize,
) -> Result<Vec<CommitId>, StoreError> {
    if limit == 0 {
        return Ok(Vec::new());
    }
    within(async {
        let commits = connection.commits().await?;
        let mut streams = some_streams(commits, before, limit).await?;
        streams.shuffle(&mut rand::rng());
        streams.truncate(limit);
        let mut oldest = oldest_of(commits, &streams).await?;
        oldest.shuffle(&mut rand::rng());
        Ok(oldest)
    })
    .await
}

/// Streams, more than `limit` where there are more, that have an unpublished commit from before that time.
async fn some_streams(commits: &Commits, before: Timestamp, limit: usize) -> Result<Vec<String>, StoreError> {
    let before = time(before);
    let all = doc! { "unpublished": true, "recorded_at": { "$lt": &before } };
    let ends = async { tokio::try_join!(end(commits, all.clone(), 1), end(commits, all, -1)) };
    let (Some(oldest), Some(newest)) = ends.await? else { return Ok(Vec::new()) };
    let start = between(&oldest, &newest)?;
    let window = limit.saturating_mul(2).max(64);
    let later = doc! { "unpublished": true, "recorded_at": { "$gte": &start, "$lt": before } };
    let mut streams = BTreeSet::new();
    let found = collect_streams(commits, later, window, &mut streams).await?;
    if found < window {
        let earlier = doc! { "unpublished": true, "recorded_at": { "$lt": start } };
        collect_streams(commits, earlier, window - found, &mut streams).await?;
    }
    Ok(streams.into_iter().collect())
}

/// When the first, or the last, was recorded.
async fn end(commits: &Commits, filter: Document, direction: i32) -> Result<Option<String>, StoreError> {
    let found = commits
        .find_one(filter)
        .sort(doc! { "recorded_at": direction })
        .projection(doc! { "_id": 0, "recorded_at": 1 })
        .await;
    let Some(document) = found.map_err(|error| unavailable(&error))? else { return Ok(None) };
    text(&document, "recorded_at").map(|time| Some(time.to_owned())).map_err(unreadable)
}

fn between(oldest: &str, newest: &str) -> Result<String, StoreError> {
    let microseconds = |text: &str| {
        text.parse()
            .map(Timestamp::as_microsecond)
            .map_err(|error: jiff::Error| unreadable(error.to_string()))
    };
    let (oldest, newest) = (microseconds(oldest)?, microseconds(newest)?);
    let start = rand::random_range(oldest..=newest.max(oldest));
    Timestamp::from_microsecond(start).map(time).map_err(|error| unreadable(error.to_string()))
}

/// Adds the streams of up to `limit` commits; how many commits those were.
async fn collect_streams(
    commits: &Commits,
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

/// The first unpublished commit of each, whenever it was recorded: a clock may have gone back. The streams alone are the condition, so
/// that no server thinks of reading the whole outbox for it.
async fn oldest_of(commits: &Commits, streams: &[String]) -> Result<Vec<CommitId>, StoreError> {
    let unpublished = doc! { "$cond": ["$unpublished", "$version", Bson::Null] };
    let oldest = [
        doc! { "$match": { "stream": { "$in": streams } } },
        doc! { "$group": { "_id": "$stream", "version": { "$min": unpublished } } },
    ];
    let mut found = Vec::with_capacity(streams.len());
    let mut cursor = commits.aggregate(oldest).await.map_err(|error| unavailable(&error))?;
    while cursor.advance().await.map_err(|error| unavailable(&error))? {
        let oldest = cursor.current();
        // All of it has been marked meanwhile.
        if matches!(oldest.get("version"), Ok(None | Some(RawBsonRef::Null))) {
            continue;
        }
        let stream = known_stream(text(oldest, "_id").map_err(unreadable)?)?;
        let version = whole(oldest, "version").map_err(unreadable)?;
        found.push(CommitId { stream, version: Version::new(version.unsigned_abs()) });
    }
    Ok(found)
}

/// Answered from the outbox's index alone.
pub(super) async fn backlog(connection: &Connection) -> Result<Backlog, StoreError> {
    let all = [
        doc! { "$match": { "unpublished": true } },
        doc! { "$group": { "_id": Bson::Null, "commits": { "$sum": 1 }, "oldest": { "$min": "$recorded_at" } } },
    ];
    within(async {
        let commits = connection.commits().await?;
        let mut cursor = commits.aggregate(all).await.map_err(|error| unavailable(&error))?;
        if !cursor.advance().await.map_err(|error| unavailable(&error))? {
            return Ok(Backlog::default());
        }
        let commits = whole(cursor.current(), "commits").map_err(unreadable)?;
        let oldest = text(cursor.current(), "oldest").map_err(unreadable)?;
        let oldest = oldest.parse().map_err(|error: jiff::Error| unreadable(error.to_string()))?;
        Ok(Backlog { commits: commits.unsigned_abs(), oldest: Some(oldest) })
    })
    .await
}

/// Small records are counted along; they are few.
pub(super) async fn count(connection: &Connection) -> Result<u64, StoreError> {
    within(async {
        let commits = connection.commits().await?;
        commits.estimated_document_count().await.map_err(|error| unavailable(&error))
    })
    .await
}

/// Whether a primary answers, and has what the store needs.
pub(super) async fn ping(connection: &Connection) -> Result<(), StoreError> {
    within(async {
        let commits = connection.commits().await?;
        let answer = commits.find_one(doc! { "_id": "" }).await;
        answer.map(drop).map_err(|error| unavailable(&error))
    })
    .await
}

fn unreadable(problem: String) -> StoreError {
    StoreError::Unavailable(format!("its answer can't be read: {problem}").into())
}
