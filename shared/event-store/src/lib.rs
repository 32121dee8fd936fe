//! The event store: one stream an aggregate, one commit a command.
//!
//! Two unique keys carry the guarantees, in every variant: (stream, version) is optimistic concurrency, (stream, command
//! id) is idempotency. A commit that is in the store is durable, and unpublished until it is marked: the store is its own
//! outbox. Appends, loads and marks are batched by what is waiting.
//!
//! Knows nothing of channels, read stores, HTTP or decisions. It does not decode events, save where a
//! fold or a scan is told which type they have. There is no sequence across streams.

mod commit;
#[cfg(any(feature = "embedded", feature = "mongodb"))]
mod cursor;
mod heads;
#[cfg(feature = "mongodb")]
mod mongodb;
mod reminders;
#[cfg(feature = "embedded")]
mod sqlite;

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use event_sourcing::{EventType, StreamId, Version};
use jiff::Timestamp;
use runtime::SecretUrl;
use thiserror::Error;

pub use commit::{
    Answered, Backlog, CommandHash, Commit, CommitId, Load, Metadata, NoEvent, Page, ScanPosition, Scanned,
    Stream, UnreadableStream, fold, fold_to,
};
pub use heads::Heads;
#[cfg(feature = "mongodb")]
pub use mongodb::connection::parse_url as parse_mongodb_url;
pub use reminders::{Mark, REMINDERS, Remind, Reminder, ReminderCounts, Reminders};

/// How long the small record of a command without events is kept.
pub const ANSWERED_KEPT: Duration = Duration::from_secs(24 * 60 * 60);

/// An event store; the scheme of its URL chooses which. Cheap to clone: clones share connections and batches.
#[derive(Clone)]
pub enum EventStore {
    /// MongoDB, or a server that speaks its protocol: `mongodb://…`, `mongodb+srv://…`.
    #[cfg(feature = "mongodb")]
    MongoDb(mongodb::MongoDbEventStore),
    /// A SQLite file, for one machine: `sqlite:PATH`.
    #[cfg(feature = "embedded")]
    Sqlite(sqlite::SqliteEventStore),
}

/// A store can't be opened as its URL says.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The URL's scheme is none that this program has.
    #[error("the event store {url:?} has an unknown scheme; allowed: {allowed}")]
    UnknownScheme {
        /// The URL.
        url: SecretUrl,
        /// What would have been right, with an example each.
        allowed: String,
    },
    /// The URL's scheme is known, but not what follows.
    #[error("the event store can't be opened: {0}")]
    Refused(String),
}

/// The store did not do what it was asked.
#[derive(Clone, Debug, Error)]
pub enum StoreError {
    /// It can't be reached, is full or is closed; the same call may succeed later. Whether a write took place is not
    /// known, so it is repeated under the same command id.
    #[error("the event store is not available: {0}")]
    Unavailable(Arc<str>),
    /// One stream can't be read. All others can.
    #[error(transparent)]
    Unreadable(#[from] UnreadableStream),
}

/// A write did not happen.
#[derive(Clone, Debug, Error)]
pub enum AppendError {
    /// The version is taken, or the command id is. Load again, look for the command id first, then decide again.
    #[error("the version or the command id is taken")]
    Conflict,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl EventStore {
    /// Opens the store that the URL names. Servers are connected to lazily; a file is opened, and created if it is not there.
    ///
    /// # Errors
    /// [`OpenError`] when the scheme is unknown or the rest of the URL can't be used.
    pub async fn open(url: impl Into<SecretUrl>) -> Result<Self, OpenError> {
        Self::open_url(url.into(), None).await
    }

    /// As [`EventStore::open`], for a Lambda: with at most so many connections to a server, from 1, unless the URL says how many
    /// (`maxPoolSize`), and nothing of the client is made before the first use. A function that handles one event at a time needs one
    /// connection.
    ///
    /// # Errors
    /// As [`EventStore::open`].
    pub async fn open_with(url: impl Into<SecretUrl>, connections: u32) -> Result<Self, OpenError> {
        Self::open_url(url.into(), Some(connections)).await
    }

    async fn open_url(url: SecretUrl, connections: Option<u32>) -> Result<Self, OpenError> {
        // Who has no server needs no connections.
        let _ = connections;
        match url.expose().split_once(':') {
            #[cfg(feature = "mongodb")]
            Some(("mongodb" | "mongodb+srv", _)) => {
                Ok(Self::MongoDb(mongodb::MongoDbEventStore::open(&url, connections).await?))
            }
            #[cfg(feature = "embedded")]
            Some(("sqlite", path)) => Ok(Self::Sqlite(sqlite::SqliteEventStore::open(path.as_ref())?)),
            _ => Err(OpenError::UnknownScheme { url, allowed: SCHEMES.join(", ") }),
        }
    }

    /// Appends a commit. It is durable when this returns.
    ///
    /// # Errors
    /// [`AppendError::Conflict`] when its version or its command id is taken; nothing was written then. A commit that does
    /// not begin right after the stream's last, or has no events, can't be stored either: the state that it was decided on
    /// is not the stream's, so it is the same to the caller.
    pub async fn append(&self, commit: Arc<Commit>) -> Result<(), AppendError> {
        if commit.events.is_empty() {
            return Err(AppendError::Conflict);
        }
        match self {
            #[cfg(feature = "mongodb")]
            Self::MongoDb(store) => store.append(commit).await,
            #[cfg(feature = "embedded")]
            Self::Sqlite(store) => store.append(commit).await,
        }
    }

    /// Keeps the small record of a command that yielded no event. It is durable when this returns.
    ///
    /// # Errors
    /// [`AppendError::Conflict`] when the stream has this command id.
    pub async fn remember(&self, record: NoEvent) -> Result<(), AppendError> {
        match self {
            #[cfg(feature = "mongodb")]
            Self::MongoDb(store) => store.remember(record).await,
            #[cfg(feature = "embedded")]
            Self::Sqlite(store) => store.remember(record).await,
        }
    }

    /// Reads streams, each as it was asked, in the same order. Each has its own result: a stream that can't be read fails no other.
    ///
    /// # Errors
    /// When the store is not available.
    pub async fn load_many(
        &self,
        loads: Vec<Load>,
    ) -> Result<Vec<Result<Stream, UnreadableStream>>, StoreError> {
        match self {
            #[cfg(feature = "mongodb")]
            Self::MongoDb(store) => store.load_many(loads).await,
            #[cfg(feature = "embedded")]
            Self::Sqlite(store) => store.load_many(loads).await,
        }
    }

    /// Reads one stream. Calls made at the same time are answered by one read.
    ///
    /// # Errors
    /// [`StoreError::Unreadable`] when it can't be read.
    pub async fn load(&self, load: Load) -> Result<Stream, StoreError> {
        let streams = self.load_many(vec![load]).await?;
        let stream = streams.into_iter().next().ok_or_else(|| StoreError::Unavailable("no answer".into()))?;
        Ok(stream?)
    }

    /// A page of all commits, in any order across streams. A commit that is appended during a scan may be in it or not.
    /// `limit` is the number of commits, from 1. A stream that can't be read is named, and the scan goes on with the next one.
    ///
    /// # Errors
    /// When the store is not available.
    pub async fn scan<E: EventType>(
        &self,
        after: Option<ScanPosition>,
        limit: usize,
    ) -> Result<Page<E>, StoreError> {
        match self {
            #[cfg(feature = "mongodb")]
            Self::MongoDb(store) => store.scan(after, limit).await,
            #[cfg(feature = "embedded")]
            Self::Sqlite(store) => store.scan(after, limit).await,
        }
    }

    /// A page of streams and how far each is, in an order of their own, after the stream that the page before named. `limit` is the
    /// number of commits that are looked at, from 2. A stream that is appended to meanwhile may be told as it was before.
    ///
    /// # Errors
    /// When the store is not available.
    pub async fn heads(&self, after: Option<&str>, limit: usize) -> Result<Heads, StoreError> {
        match self {
            #[cfg(feature = "mongodb")]
            Self::MongoDb(store) => store.heads(after, limit).await,
            #[cfg(feature = "embedded")]
            Self::Sqlite(store) => store.heads(after, limit).await,
        }
    }

    /// The oldest unpublished commit of each of up to `limit` streams that have one which is not `young`, in random order, so that
    /// several relays mostly take different ones.
    ///
    /// Guarantee: a clock that is wrong keeps no commit from being published. A commit whose time is in `young` is left to whoever
    /// appended it; one that is dated later is as old as one that is dated before.
    ///
    /// # Errors
    /// When the store is not available.
    pub async fn outstanding(
        &self,
        young: RangeInclusive<Timestamp>,
        limit: usize,
    ) -> Result<Vec<CommitId>, StoreError> {
        match self {
            #[cfg(feature = "mongodb")]
            Self::MongoDb(store) => store.outstanding(young, limit).await,
            #[cfg(feature = "embedded")]
            Self::Sqlite(store) => store.outstanding(young, limit).await,
        }
    }

    /// Whether the stream still ends at this version: for answers that no append checks.
    ///
    /// Guarantee: a load may come from a primary that was deposed and does not know it yet. Such a primary can't answer this, which is
    /// read with linearizable read concern where MongoDB is a replica set. Any other store has one place to read from, and is not
    /// asked.
    ///
    /// # Errors
    /// When the store is not available.
    pub async fn is_current(&self, stream: &StreamId, version: Version) -> Result<bool, StoreError> {
        // One place to read from needs no answer.
        let _ = (stream, version);
        match self {
            #[cfg(feature = "mongodb")]
            Self::MongoDb(store) => store.is_current(stream, version).await,
            #[cfg(feature = "embedded")]
            Self::Sqlite(_) => Ok(true),
        }
    }

    /// Marks commits as published, and sets and ends reminders with it. Marking one again, or one that is not there, changes
    /// nothing. Calls made at the same time are one write.
    ///
    /// # Errors
    /// When the store is not available.
    pub async fn mark_published<M: Into<Mark>>(&self, commits: Vec<M>) -> Result<(), StoreError> {
        let marks = commits.into_iter().map(Into::into).collect();
        match self {
            #[cfg(feature = "mongodb")]
            Self::MongoDb(store) => store.mark_published(marks).await,
            #[cfg(feature = "embedded")]
            Self::Sqlite(store) => store.mark_published(marks).await,
        }
    }

    /// Deletes small records that are older than they are kept for; how many that were. A server that does so by itself
    /// answers 0.
    ///
    /// # Errors
    /// When the store is not available.
    pub async fn forget_answered(&self, before: Timestamp) -> Result<u64, StoreError> {
        match self {
            #[cfg(feature = "mongodb")]
            Self::MongoDb(store) => store.forget_answered(before).await,
            #[cfg(feature = "embedded")]
            Self::Sqlite(store) => store.forget_answered(before).await,
        }
    }

    /// What waits to be published.
    ///
    /// # Errors
    /// When the store is not available.
    pub async fn backlog(&self) -> Result<Backlog, StoreError> {
        match self {
            #[cfg(feature = "mongodb")]
            Self::MongoDb(store) => store.backlog().await,
            #[cfg(feature = "embedded")]
            Self::Sqlite(store) => store.backlog().await,
        }
    }

    /// How many commits there are, about: for the progress of a scan.
    ///
    /// # Errors
    /// When the store is not available.
    pub async fn count(&self) -> Result<u64, StoreError> {
        match self {
            #[cfg(feature = "mongodb")]
            Self::MongoDb(store) => store.count().await,
            #[cfg(feature = "embedded")]
            Self::Sqlite(store) => store.count().await,
        }
    }

    /// Whether the store answers.
    ///
    /// # Errors
    /// When it does not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        match self {
            #[cfg(feature = "mongodb")]
            Self::MongoDb(store) => store.ping().await,
            #[cfg(feature = "embedded")]
            Self::Sqlite(store) => store.ping().await,
        }
    }
}

const SCHEMES: &[&str] = &[
    #[cfg(feature = "mongodb")]
    "mongodb://HOST:27017/DATABASE",
    #[cfg(feature = "mongodb")]
    "mongodb+srv://NAME/DATABASE",
    #[cfg(feature = "embedded")]
    "sqlite:PATH",
];
