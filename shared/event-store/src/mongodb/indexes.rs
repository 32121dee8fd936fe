//! The indexes that the collection has beside the one on `_id`.

use std::time::Duration;

use mongodb::Collection;
use mongodb::bson::{Bson, Document, RawDocumentBuf, doc};
use mongodb::error::{Error, ErrorKind};
use mongodb::options::IndexOptions;
use mongodb::{IndexModel, bson};

use super::connection::unavailable;
use crate::StoreError;

const ATTEMPTS: u32 = 5;

/// Partial and not sparse: a server on PostgreSQL takes a fifth of a commit's time for a sparse index that the commit is not in.
fn wanted() -> [IndexModel; 4] {
    let only_with = |field: &str| {
        let filter = doc! { field: { "$exists": true } };
        IndexOptions::builder().partial_filter_expression(filter)
    };
    // Idempotency: a command id is taken once in a stream, by a commit or by a small record. Its text begins with its kind, so a
    // client's key is never the system's id. Loads find streams by this index too.
    let commands = IndexOptions::builder().name("commands".to_owned()).unique(true).build();
    // The outbox: only what is not published yet is in it, oldest first.
    let unpublished = IndexOptions::builder()
        .name("unpublished".to_owned())
        .partial_filter_expression(doc! { "unpublished": true })
        .build();
    // Small records are deleted by the server at the time that they name; commits name none, and are not in it.
    let forget = only_with("forget_at").name("forget".to_owned()).expire_after(Duration::ZERO).build();
    // Reminders: only commits that wait for their streams to move on are in it.
    let reminders = only_with("reminder.since").name("reminders".to_owned()).build();
    let index = |keys, options| IndexModel::builder().keys(keys).options(options).build();
    [
        index(doc! { "stream": 1, "command_id": 1 }, commands),
        index(doc! { "unpublished": 1, "recorded_at": 1 }, unpublished),
        index(doc! { "forget_at": 1 }, forget),
        index(doc! { "reminder.since": 1 }, reminders),
    ]
}

/// Sees to it that they are there, as they should be. Several processes may do so at once.
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
            // Mostly that another process does the same, which some servers take ill; what it made is found next time.
            Err(error) => {
                tracing::debug!(%error, "the indexes of the event store were not made");
                let pause = rand::random_range(50..150) * u64::from(attempt);
                tokio::time::sleep(Duration::from_millis(pause)).await;
            }
            Ok(_) => {}
        }
    }
}

/// Whether they are all there.
///
/// # Errors
/// When one is not, or is another.
pub(super) async fn check(commits: &Collection<RawDocumentBuf>) -> Result<(), StoreError> {
    let missing = missing(commits).await?;
    let names: Vec<&str> = missing.iter().filter_map(name).collect();
    if names.is_empty() {
        return Ok(());
    }
    let problem = format!("{} lacks the indexes {}", commits.namespace(), names.join(", "));
    Err(StoreError::Unavailable(problem.into()))
}

/// Those that are not there yet; an error if one is there under another's name.
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

/// What an index does, in one text, whatever types of numbers the server gives it back in.
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
