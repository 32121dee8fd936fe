//! Snapshots as documents of a collection beside the commits. The id of one is its stream, its revision and its version, so that the
//! last one is found by the index on the id.

use event_sourcing::{StreamId, Version};
use futures_util::future::try_join_all;
use mongodb::Collection;
use mongodb::bson::{Document, doc};

use super::connection::{Connection, within};
use super::document::number;
use super::failure::unavailable;
use super::maintenance::unreadable;
use crate::StoreError;
use crate::snapshots::SnapshotRow;

/// No stream has an `@` in its name.
fn id(stream: &StreamId, revision: u32, version: Version) -> String {
    format!("{stream}@{revision}@{:019}", version.get())
}

async fn collection(connection: &Connection) -> Result<Collection<Document>, StoreError> {
    let commits = connection.commits().await?;
    let mongodb::Namespace { db, coll } = commits.namespace();
    Ok(commits.client().database(&db).collection(&format!("{coll}_snapshots")))
}

pub(super) async fn last(
    connection: &Connection,
    stream: &StreamId,
    revision: u32,
    until: Version,
) -> Result<Option<SnapshotRow>, StoreError> {
    let ids = doc! { "$gt": id(stream, revision, Version::NONE), "$lte": id(stream, revision, until) };
    within(async {
        let snapshots = collection(connection).await?;
        let found = snapshots.find_one(doc! { "_id": ids }).sort(doc! { "_id": -1 }).await;
        let Some(found) = found.map_err(|error| unavailable(&error))? else { return Ok(None) };
        let read = || Some((found.get_i64("version").ok()?, found.get_str("content").ok()?.to_owned()));
        let (version, content) = read().ok_or_else(|| unreadable("a snapshot has no content".to_owned()))?;
        let version = Version::new(version.unsigned_abs());
        Ok(Some(SnapshotRow { stream: stream.clone(), revision, version, content }))
    })
    .await
}

pub(super) async fn put(connection: &Connection, rows: &[SnapshotRow]) -> Result<(), StoreError> {
    within(async {
        let snapshots = collection(connection).await?;
        let put = rows.iter().map(|row| {
            let id = doc! { "_id": id(&row.stream, row.revision, row.version) };
            let document = doc! { "version": number(row.version), "content": &row.content };
            snapshots.replace_one(id, document).upsert(true).into_future()
        });
        try_join_all(put).await.map(drop).map_err(|error| unavailable(&error))
    })
    .await
}
