//! The indexes of the collection, besides the one on `_id`.

use std::time::Duration;

use mongodb::Collection;
use mongodb::bson::{Bson, Document, RawDocumentBuf, doc};
use mongodb::error::{Error, ErrorKind};
use mongodb::options::IndexOptions;
use mongodb::{IndexModel, bson};

use super::failure::unavailable;
use crate::StoreError;

const ATTEMPTS: u32 = 5;

/// Returns the indexes that must exist. They are partial and not sparse: for a commit that is not in a sparse index, a server on
/// PostgreSQL still spends a fifth of the commit's time on that index.
fn wanted() -> [IndexModel; 4] {
    let only_with = |field: &str| {
        let filter = doc! { field: { "$exists": true } };
        IndexOptions::builder().partial_filter_expression(filter)
    };
    // Idempotency: a commit or a small record takes a command id once in a stream. The id's text begins with its kind, so a
    // client's key is never the system's id. Loads find streams by this index too.
    let commands = IndexOptions::builder().name("commands".to_owned()).unique(true).build();
    // The outbox: it holds only unpublished commits, oldest first.
    let unpublished = IndexOptions::builder()
        .name("unpublished".to_owned())
        .partial_filter_expression(doc! { "unpublished": true })
        .build();
    // The server deletes a small record at the time that the record names. Commits name none, and are not in this index.
    let forget = only_with("forget_at").name("forget".to_owned()).expire_after(Duration::ZERO).build();
    // Reminders: it holds only commits that wait for their streams to move on.
    let reminders = only_with("reminder.since").name("reminders".to_owned()).build();
    let index = |keys, options| IndexModel::builder().keys(keys).options(options).build();
    [
        index(doc! { "stream": 1, "command_id": 1 }, commands),
        index(doc! { "unpublished": 1, "recorded_at": 1 }, unpublished),
        index(doc! { "forget_at": 1 }, forget),
        index(doc! { "reminder.since": 1 }, reminders),
    ]
}

/// Creates the missing indexes and checks the others. Several processes may do so at once.
pub(super) async fn ensure(commits: &Collection<RawDocumentBuf>) -> Result<(), StoreError> {
    let mut attempt = 0;
    loop {
        let missing = missing(commits).await?;
        if missing.is_empty() {
            return Ok(());
        }
        attempt += 1;
        match commits.create_indexes(missing).await {
            Err(error) if attempt == ATTEMPTS => return Err(unavailable(&error)),
            // Usually another process creates the same indexes, and some servers refuse that. The next attempt finds its indexes.
            Err(error) => {
                tracing::debug!(%error, "the indexes of the event store were not made");
                let pause = rand::random_range(50..150) * u64::from(attempt);
                tokio::time::sleep(Duration::from_millis(pause)).await;
            }
            Ok(_) => {}
        }
    }
}

/// Checks that all the indexes exist.
///
/// # Errors
/// When an index is missing, or differs from ours.
pub(super) async fn check(commits: &Collection<RawDocumentBuf>) -> Result<(), StoreError> {
    let missing = missing(commits).await?;
    let names: Vec<&str> = missing.iter().filter_map(name).collect();
    if names.is_empty() {
        return Ok(());
    }
    let problem = format!("{} lacks the indexes {}", commits.namespace(), names.join(", "));
    Err(StoreError::Unavailable(problem.into()))
}

/// Returns the missing indexes. It is an error if an index of the same name differs from ours.
async fn missing(commits: &Collection<RawDocumentBuf>) -> Result<Vec<IndexModel>, StoreError> {
    let there = list(commits).await.map_err(|error| unavailable(&error))?;
    let mut missing = Vec::new();
    for index in wanted() {
        match there.iter().find(|found| name(found) == name(&index)) {
            None => missing.push(index),
            Some(found) if form(found) == form(&index) => {}
            Some(found) => return Err(differs(commits, found, &index)),
        }
    }
    Ok(missing)
}

async fn list(commits: &Collection<RawDocumentBuf>) -> Result<Vec<IndexModel>, Error> {
    let mut there = Vec::new();
    let mut cursor = match commits.list_indexes().await {
        Ok(cursor) => cursor,
        Err(error) if is_no_collection(&error) => return Ok(there),
        Err(error) => return Err(error),
    };
    while cursor.advance().await? {
        there.push(cursor.deserialize_current()?);
    }
    Ok(there)
}

/// `NamespaceNotFound`
fn is_no_collection(error: &Error) -> bool {
    matches!(&*error.kind, ErrorKind::Command(error) if error.code == 26)
}

fn name(index: &IndexModel) -> Option<&str> {
    index.options.as_ref()?.name.as_deref()
}

/// Returns an index's definition as text, independent of the number types in which the server returns it.
fn form(index: &IndexModel) -> String {
    let options = index.options.clone().unwrap_or_default();
    format!(
        "{} unique={} sparse={} partial={} expires={:?}",
        plain(&index.keys),
        options.unique.unwrap_or_default(),
        options.sparse.unwrap_or_default(),
        options.partial_filter_expression.as_ref().map_or_else(|| "no".to_owned(), plain),
        options.expire_after,
    )
}

fn plain(document: &Document) -> String {
    let number = |value: &Bson| match value {
        Bson::Int32(number) => f64::from(*number).into(),
        #[allow(clippy::cast_precision_loss)] // An index's direction is 1 or -1.
        Bson::Int64(number) => (*number as f64).into(),
        other => other.clone(),
    };
    let plain: bson::Document = document.iter().map(|(key, value)| (key.clone(), number(value))).collect();
    plain.to_string()
}

fn differs(commits: &Collection<RawDocumentBuf>, found: &IndexModel, wanted: &IndexModel) -> StoreError {
    StoreError::Unavailable(
        format!(
            "the index {} of {} is {}; it must be {}, so drop it or use another database",
            name(wanted).unwrap_or_default(),
            commits.namespace(),
            form(found),
            form(wanted),
        )
        .into(),
    )
}
