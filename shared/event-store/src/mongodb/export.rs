//! Pages of everything that the store holds, as it is stored.

use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Document, RawDocumentBuf, doc};
use mongodb::error::Error;

use super::connection::{Connection, within};
use super::document::{self, id, text};
use super::failure::unavailable;
use super::maintenance::unreadable;
use crate::cursor::{Cursor, PageOfRows};
use crate::{Commit, Page, RecordPage, ScanPosition, StoreError};

/// Returns a page in the order of the ids, as a scan does.
pub(super) async fn commits(
    connection: &Connection,
    after: Option<&ScanPosition>,
    limit: usize,
) -> Result<Page<Commit>, StoreError> {
    let last = after.map(Cursor::parse).transpose()?;
    let behind = match &last {
        Some(cursor) => doc! { "$gt": id(&cursor.stream, cursor.version) },
        None => doc! { "$gte": "" },
    };
    let mut page = PageOfRows::after(last);
    for document in find(connection, behind, limit).await? {
        let stream = text(&document, "stream").or_else(|_| text(&document, "_id")).map_err(unreadable)?;
        page.take(stream, |stream, last| Ok(document::commit(stream, last, &document)?))?;
    }
    Ok(page.finish(limit))
}

/// The ids of small records are the driver's own.
pub(super) async fn records(
    connection: &Connection,
    after: Option<&ScanPosition>,
    limit: usize,
) -> Result<RecordPage, StoreError> {
    let refuse = |error| unreadable(format!("no position of an export of this store: {error}"));
    let last = after.map(|position| ObjectId::parse_str(&position.0)).transpose().map_err(refuse)?;
    let behind = match last {
        Some(last) => doc! { "$gt": last },
        None => doc! { "$gte": ObjectId::from_bytes([0; 12]) },
    };
    let found = find(connection, behind, limit).await?;
    let last = found.last().filter(|_| found.len() == limit).map(|document| document.get_object_id("_id"));
    let last = last.transpose().map_err(|error| unreadable(error.to_string()))?;
    let records = found.iter().map(|document| document::record(document)).collect::<Result<_, _>>()?;
    Ok(RecordPage { records, next: last.map(|last| ScanPosition(last.to_hex())) })
}

async fn find(
    connection: &Connection,
    ids: Document,
    limit: usize,
) -> Result<Vec<RawDocumentBuf>, StoreError> {
    within(async {
        let commits = connection.commits().await?;
        let find = async {
            let mut cursor = commits
                .find(doc! { "_id": ids })
                .sort(doc! { "_id": 1 })
                .limit(i64::try_from(limit).unwrap_or(i64::MAX))
                .batch_size(u32::try_from(limit).unwrap_or(u32::MAX))
                .await?;
            let mut found = Vec::with_capacity(limit);
            while cursor.advance().await? {
                found.push(cursor.current().to_owned());
            }
            Ok::<_, Error>(found)
        };
        find.await.map_err(|error| unavailable(&error))
    })
    .await
}
