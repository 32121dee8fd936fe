//! The writer: it inserts all waiting appends and small records at once, and each has its own outcome.
//!
//! The unique key on a commit's place lets no version be taken twice. But it notices neither a version that is left out, nor a
//! commit that begins in the middle of another. This rule excludes both: **a commit is inserted only if there is one that ends
//! right before it.** So the commits of a stream are a chain: one begins at version 1, and after each there is room for one.
//! Commits are neither changed nor deleted, so it does not matter how long ago the writer saw the earlier commit. Usually the
//! caller has just loaded or appended it.

use std::collections::HashSet;
use std::sync::Arc;

use event_sourcing::{StreamId, Version};
use mongodb::Collection;
use mongodb::bson::{RawDocumentBuf, doc};
use mongodb::error::{Error, ErrorKind, InsertManyError};
use runtime::{KillPoint, kill_point};

use super::connection::{Connection, within};
use super::document::{self, number, whole};
use super::failure::unavailable;
use super::head_cache::HeadCache;
use crate::jobs::Answer;
use crate::{AppendError, Commit, StoreError};

/// A document to be inserted.
pub(super) struct Write {
    document: RawDocumentBuf,
    /// The versions of a commit; `None` for a small record.
    span: Option<Span>,
    answer: Answer<(), AppendError>,
}

/// The versions that a commit takes.
struct Span {
    stream: StreamId,
    first: Version,
    last: Version,
}

impl Span {
    fn of(commit: &Commit) -> Self {
        Self { stream: commit.stream.clone(), first: commit.version, last: commit.last_version() }
    }

    /// The version at which another commit must end before this one may be inserted.
    fn before(&self) -> Version {
        Version::new(self.first.get() - 1)
    }
}

impl Write {
    pub(super) fn commit(commit: &Commit, document: RawDocumentBuf, answer: Answer<(), AppendError>) -> Self {
        Self { document, span: Some(Span::of(commit)), answer }
    }

    pub(super) fn record(document: RawDocumentBuf, answer: Answer<(), AppendError>) -> Self {
        Self { document, span: None, answer }
    }

    /// The key by which a batch is sorted: the stream, and in it the first version. Small records come after commits.
    fn place(&self) -> (Option<&str>, bool, Option<Version>) {
        let first = self.span.as_ref().map(|span| span.first);
        (self.document.get_str("stream").ok(), first.is_none(), first)
    }
}

pub(super) struct Writer {
    connection: Arc<Connection>,
    heads: Arc<HeadCache>,
}

impl Writer {
    pub(super) fn new(connection: Arc<Connection>, heads: Arc<HeadCache>) -> Self {
        Self { connection, heads }
    }

    pub(super) async fn work(self: Arc<Self>, mut writes: Vec<Write>) {
        // A caller that no longer waits has already taken its write for failed.
        writes.retain(|write| !write.answer.is_closed());
        sort(&mut writes);
        let writes = self.refuse_misplaced(writes).await;
        if writes.is_empty() {
            return;
        }
        let outcomes = self.insert(&writes).await;
        for (write, outcome) in writes.into_iter().zip(outcomes) {
            if let (Some(span), Ok(())) = (&write.span, &outcome) {
                self.heads.note(&span.stream, span.last);
            }
            let _ = write.answer.send(outcome);
        }
    }

    /// Inserts commits in their order, up to the first that conflicts: the server inserts none behind it.
    pub(super) async fn append_all(&self, commits: &[Arc<Commit>]) -> Result<(), AppendError> {
        let documents =
            commits.iter().map(|commit| document::of_commit(commit)).collect::<Result<Vec<_>, _>>()?;
        let spans: Vec<Span> = commits.iter().map(|commit| Span::of(commit)).collect();
        let mut ends = HashSet::new();
        let mut unknown = Vec::new();
        for span in &spans {
            if self.is_unknown(span) && !ends.contains(&(&span.stream, span.before())) {
                unknown.push(span);
            }
            ends.insert((&span.stream, span.last));
        }
        if !unknown.is_empty() {
            within(self.look_up(&unknown)).await?;
            if unknown.iter().any(|span| self.is_unknown(span)) {
                return Err(AppendError::Conflict);
            }
        }
        let inserting = async {
            let collection = self.connection.commits().await?;
            match collection.insert_many(&documents).ordered(true).await.map_err(|error| *error.kind) {
                Ok(_) => Ok(None),
                Err(ErrorKind::InsertMany(failed)) => Ok(Some(failed)),
                Err(kind) => Err(unavailable(&kind.into())),
            }
        };
        let failed = within(inserting).await?;
        outcomes(documents.len(), failed).into_iter().collect::<Result<(), _>>()?;
        spans.iter().for_each(|span| self.heads.note(&span.stream, span.last));
        Ok(())
    }

    /// Answers the commits that have no commit right before them, and returns the other writes.
    async fn refuse_misplaced(&self, writes: Vec<Write>) -> Vec<Write> {
        let unknown: Vec<&Span> = writes.iter().filter_map(|write| self.unknown(write)).collect();
        if unknown.is_empty() {
            return writes;
        }
        let looked_up = within(self.look_up(&unknown)).await;
        let mut placed = Vec::with_capacity(writes.len());
        for write in writes {
            match (&looked_up, self.unknown(&write)) {
                (_, None) => placed.push(write),
                (Ok(()), Some(_)) => drop(write.answer.send(Err(AppendError::Conflict))),
                (Err(error), Some(_)) => drop(write.answer.send(Err(error.clone().into()))),
            }
        }
        placed
    }

    /// Returns the span of a commit if the cache does not know that another commit ends right before it.
    fn unknown<'a>(&self, write: &'a Write) -> Option<&'a Span> {
        write.span.as_ref().filter(|span| self.is_unknown(span))
    }

    fn is_unknown(&self, span: &Span) -> bool {
        span.before() != Version::NONE && !self.heads.has(&span.stream, span.before())
    }

    /// Looks up the commits that must exist before these, and notes those that it finds.
    async fn look_up(&self, spans: &[&Span]) -> Result<(), StoreError> {
        let commits = self.connection.commits().await?;
        let streams: Vec<&str> = spans.iter().map(|span| span.stream.as_str()).collect();
        let ends: Vec<i64> = spans.iter().map(|span| number(span.before())).collect();
        let wanted = doc! { "stream": { "$in": streams }, "last_version": { "$in": ends } };
        let found = find_ends(commits, wanted).await.map_err(|error| unavailable(&error))?;
        for span in spans {
            if found.contains(&(span.stream.as_str().to_owned(), number(span.before()))) {
                self.heads.note(&span.stream, span.before());
            }
        }
        Ok(())
    }

    async fn insert(&self, writes: &[Write]) -> Vec<Result<(), AppendError>> {
        let inserting = async {
            let commits = self.connection.commits().await?;
            kill_point(KillPoint::BeforeMongodbInsert);
            let insert = || commits.insert_many(writes.iter().map(|write| &write.document)).ordered(false);
            let mut inserted = insert().await;
            if inserted.as_ref().is_err_and(is_cut) {
                inserted = insert().await;
            }
            kill_point(KillPoint::AfterMongodbInsert);
            match inserted.map_err(|error| *error.kind) {
                Ok(_) => Ok(None),
                Err(ErrorKind::InsertMany(failed)) => Ok(Some(failed)),
                Err(kind) => Err(unavailable(&kind.into())),
            }
        };
        match within(inserting).await {
            Ok(failed) => outcomes(writes.len(), failed),
            // It is not known which of the writes took place.
            Err(error) => {
                tracing::error!(%error, writes = writes.len(), "the event store was not written to");
                vec![Err(error.into()); writes.len()]
            }
        }
    }
}

/// Returns true if the connection broke, as one does that died while a Lambda was frozen. The first insert may have taken place. Then
/// the second one is a conflict, after which the caller looks for its command id, as after any other.
fn is_cut(error: &Error) -> bool {
    matches!(*error.kind, ErrorKind::Io(_) | ErrorKind::ConnectionPoolCleared { .. })
}

async fn find_ends(
    commits: &Collection<RawDocumentBuf>,
    wanted: mongodb::bson::Document,
) -> Result<HashSet<(String, i64)>, Error> {
    let mut found = HashSet::new();
    let mut cursor =
        commits.find(wanted).projection(doc! { "_id": 0, "stream": 1, "last_version": 1 }).await?;
    while cursor.advance().await? {
        let document = cursor.current();
        if let (Ok(stream), Ok(end)) = (document.get_str("stream"), whole(document, "last_version")) {
            found.insert((stream.to_owned(), end));
        }
    }
    Ok(found)
}

/// Sorts a batch. A server on PostgreSQL (FerretDB) inserts a batch in one transaction, in this order. For each document it takes
/// the place before the command id. Batches of several replicas may meet in several streams, or at a place and at a command id.
/// In the same order they wait for each other, but not in a circle, which the server would break only after a second.
fn sort(writes: &mut [Write]) {
    writes.sort_by(|a, b| a.place().cmp(&b.place()));
}

/// Returns the outcome of each document.
fn outcomes(documents: usize, failed: Option<InsertManyError>) -> Vec<Result<(), AppendError>> {
    let Some(InsertManyError { write_errors, write_concern_error, .. }) = failed else {
        return vec![Ok(()); documents];
    };
    let others = match write_concern_error {
        None => Ok(()),
        // The documents are written, but not known to be durable.
        Some(error) => Err(refused(&error.message)),
    };
    let mut outcomes = vec![others; documents];
    for error in write_errors.unwrap_or_default() {
        if let Some(outcome) = outcomes.get_mut(error.index) {
            // It does not matter which index the error names: a retry violates both keys, and servers name either.
            let conflict = is_duplicate(error.code) || lost_a_race(error.code, &error.message);
            *outcome = Err(if conflict { AppendError::Conflict } else { refused(&error.message) });
        }
    }
    outcomes
}

fn refused(message: &str) -> AppendError {
    tracing::error!(message, "the event store did not take a document");
    StoreError::Unavailable(message.replace('\n', " ").into()).into()
}

/// Returns true for `WriteConflict`, and for a deadlock of two batches that meet in more than one stream, which a server on
/// PostgreSQL breaks. Nothing was written, and the caller must first look at the other batch's writes.
fn lost_a_race(code: i32, message: &str) -> bool {
    code == 112 || message.contains("deadlock detected")
}

/// Returns true for `DuplicateKey`, and for the codes that some servers and older versions use instead.
fn is_duplicate(code: i32) -> bool {
    [11000, 11001, 12582].contains(&code)
}

#[cfg(test)]
mod tests {
    use mongodb::bson::rawdoc;
    use tokio::sync::oneshot;

    use super::*;

    fn write(stream: &str, version: Option<u64>) -> Write {
        let document = rawdoc! { "stream": stream };
        let span = version.map(|version| {
            let (first, stream) = (Version::new(version), StreamId::parse(stream).unwrap());
            Span { stream, first, last: first }
        });
        Write { document, span, answer: oneshot::channel().0 }
    }

    #[test]
    fn a_batch_is_inserted_by_stream_and_version_however_it_came_in() {
        let mut writes = [write("b", Some(10)), write("a", Some(2)), write("b", None), write("b", Some(9))];
        sort(&mut writes);
        let placed =
            writes.iter().map(|write| (write.document.get_str("stream").unwrap(), write.span.as_ref()));
        let placed: Vec<_> =
            placed.map(|(stream, span)| (stream, span.map(|span| span.first.get()))).collect();
        assert_eq!(placed, [("a", Some(2)), ("b", Some(9)), ("b", Some(10)), ("b", None)]);
    }
}
