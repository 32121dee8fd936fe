//! Streams' heads, in the order of the commits' ids: a page begins with a seek, and reads only the id and the last version of a
//! commit.

use event_sourcing::Version;
use mongodb::bson::{Document, doc};

use super::connection::{Connection, within};
use super::document::{id, whole};
use super::failure::unavailable;
use crate::StoreError;
use crate::heads::{Heads, HeadsPage};

pub(super) async fn heads(
    connection: &Connection,
    after: Option<&str>,
    limit: usize,
) -> Result<Heads, StoreError> {
    let limit = limit.max(2);
    within(async {
        let after = match after {
            Some(stream) => doc! { "$gt": id(stream, Version::new(Version::MAX)) },
            None => doc! { "$gte": "" },
        };
        let ends = HeadsPage::new(limit, ends(connection, after, 1, limit).await?);
        let long = match ends.long_stream() {
            Some(stream) => {
                let of_stream =
                    doc! { "$gt": id(stream, Version::NONE), "$lte": id(stream, Version::new(Version::MAX)) };
                self::ends(connection, of_stream, -1, 1).await?.first().map(|(_, end)| *end)
            }
            None => None,
        };
        Ok(ends.page(long))
    })
    .await
}

/// Returns the streams and last versions of commits with such ids, in this direction.
async fn ends(
    connection: &Connection,
    ids: Document,
    direction: i32,
    limit: usize,
) -> Result<Vec<(String, i64)>, StoreError> {
    let commits = connection.commits().await?;
    let found = commits
        .find(doc! { "_id": ids })
        .sort(doc! { "_id": direction })
        .projection(doc! { "_id": 1, "last_version": 1 })
        .limit(i64::try_from(limit).unwrap_or(i64::MAX))
        .batch_size(u32::try_from(limit).unwrap_or(u32::MAX))
        .await;
    let mut cursor = found.map_err(|error| unavailable(&error))?;
    let mut ends = Vec::with_capacity(limit);
    while cursor.advance().await.map_err(|error| unavailable(&error))? {
        let commit = cursor.current();
        let id = commit.get_str("_id").unwrap_or_default();
        let stream = id.rsplit_once('@').map_or(id, |(stream, _)| stream);
        // An unreadable version is 0 here. A read of the stream reports it.
        ends.push((stream.to_owned(), whole(commit, "last_version").unwrap_or_default()));
    }
    Ok(ends)
}
