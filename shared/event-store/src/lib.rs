//! The event store: one stream an aggregate, one commit a command.
//!
//! Two unique keys carry the guarantees in every variant. (stream, version) gives optimistic concurrency; (stream, command id)
//! gives idempotency. A commit in the store is durable. It is unpublished until it is marked, so the store is its own outbox.
//! Each batch of appends, loads or marks holds the calls that wait at that moment.
//!
//! The crate knows nothing of channels, read stores, HTTP or decisions. It decodes events only in a fold or a scan, where the
//! caller names their type. There is no sequence across streams.

#[cfg(any(feature = "embedded", feature = "postgres"))]
mod columns;
mod commit;
#[cfg(any(feature = "embedded", feature = "mongodb", feature = "postgres"))]
mod cursor;
mod errors;
mod export;
mod heads;
#[cfg(any(feature = "embedded", feature = "mongodb", feature = "postgres"))]
mod jobs;
#[cfg(any(feature = "embedded", feature = "postgres"))]
mod json;
mod load;
#[cfg(feature = "mongodb")]
mod mongodb;
mod namespace;
mod of;
#[cfg(feature = "postgres")]
mod postgres;
mod reminders;
mod snapshots;
#[cfg(feature = "embedded")]
mod sqlite;

use std::ops::RangeInclusive;
use std::sync::Arc;

use event_sourcing::{EventType, StreamId, Version};
use jiff::Timestamp;
use runtime::SecretUrl;

pub use commit::{
    ANSWERED_KEPT, AnsweredCommand, Backlog, CommandHash, CommandRecord, CommandResult, Commit, CommitId,
    Load, Metadata, OtherProcesses, Page, ScanPosition, ScannedCommit, Stream, UnreadableStream, fold,
    fold_to,
};
pub use errors::{AppendError, OpenError, StoreError};
pub use export::RecordPage;
pub use heads::Heads;
#[cfg(feature = "mongodb")]
pub use mongodb::connection::parse_url as parse_mongodb_url;
pub use namespace::{InvalidNamespace, Namespace};
pub use of::Of;
pub use reminders::{Mark, REMINDERS, Reminder, ReminderCounts, ReminderPolicy, ReminderRow, Reminders};
pub use snapshots::{LoadedStream, SNAPSHOT_EVERY};

/// An event store. The scheme of its URL chooses the variant. It is cheap to clone: clones share connections and batches.
#[derive(Clone)]
pub enum EventStore {
    /// MongoDB, or a server that speaks its protocol: `mongodb://…`, `mongodb+srv://…`.
    #[cfg(feature = "mongodb")]
    MongoDb(mongodb::MongoDbEventStore),
    /// A PostgreSQL database: `postgres://…`.
    #[cfg(feature = "postgres")]
    Postgres(postgres::PostgresEventStore),
    /// A SQLite file, for one machine: `sqlite:PATH`.
    #[cfg(feature = "embedded")]
    Sqlite(sqlite::SqliteEventStore),
}

/// Evaluates a call on the store of this variant.
macro_rules! on_store {
    ($self:ident, $store:ident => $call:expr) => {
        match $self {
            #[cfg(feature = "mongodb")]
            Self::MongoDb($store) => $call,
            #[cfg(feature = "postgres")]
            Self::Postgres($store) => $call,
            #[cfg(feature = "embedded")]
            Self::Sqlite($store) => $call,
        }
    };
}
use on_store;

impl EventStore {
    /// Opens a namespace in the store that the URL names. It connects to a server only at first use. It opens a file at once, and
    /// creates a missing one.
    ///
    /// # Errors
    /// [`OpenError`] when the scheme is unknown or the rest of the URL can't be used.
    pub async fn open(url: impl Into<SecretUrl>, namespace: &Namespace) -> Result<Self, OpenError> {
        Self::open_url(url.into(), None, namespace).await
    }

    /// Opens the store for a Lambda, as [`EventStore::open`] does, but with at most this many connections to a server (at least
    /// 1). The `maxPoolSize` in a URL of MongoDB takes precedence. The store creates nothing of the client before the first
    /// use. A function that handles one event at a time needs one connection.
    ///
    /// # Errors
    /// As [`EventStore::open`].
    pub async fn open_with(
        url: impl Into<SecretUrl>,
        connections: u32,
        namespace: &Namespace,
    ) -> Result<Self, OpenError> {
        Self::open_url(url.into(), Some(connections), namespace).await
    }

    async fn open_url(
        url: SecretUrl,
        connections: Option<u32>,
        namespace: &Namespace,
    ) -> Result<Self, OpenError> {
        // Without a server there are no connections to limit.
        let _ = connections;
        match url.expose().split_once(':') {
            #[cfg(feature = "mongodb")]
            Some(("mongodb" | "mongodb+srv", _)) => {
                Ok(Self::MongoDb(mongodb::MongoDbEventStore::open(&url, connections, namespace).await?))
            }
            #[cfg(feature = "postgres")]
            Some(("postgres" | "postgresql", _)) => {
                Ok(Self::Postgres(postgres::PostgresEventStore::open(&url, connections, namespace)?))
            }
            #[cfg(feature = "embedded")]
            Some(("sqlite", path)) => {
                Ok(Self::Sqlite(sqlite::SqliteEventStore::open(path.as_ref(), namespace)?))
            }
            _ => Err(OpenError::UnknownScheme { url, allowed: SCHEMES.join(", ") }),
        }
    }

    /// Appends a commit. It is durable when this returns.
    ///
    /// # Errors
    /// [`AppendError::Conflict`] when the version or the command id is taken; nothing was written then. A commit without events,
    /// or one that does not begin right after the stream's last version, is a conflict too. Its decision was based on a state
    /// that is not the stream's, so the caller has to do the same as for a taken version.
    pub async fn append(&self, commit: Arc<Commit>) -> Result<(), AppendError> {
        if commit.events.is_empty() {
            return Err(AppendError::Conflict);
        }
        on_store!(self, store => store.append(commit).await)
    }

    /// Appends commits as one write, those of a stream one after the other. They are durable when this returns.
    ///
    /// # Errors
    /// As [`EventStore::append`] for the first that conflicts. Of its stream, those before it may be stored, and none behind it is.
    pub async fn append_all(&self, commits: Vec<Arc<Commit>>) -> Result<(), AppendError> {
        if commits.iter().any(|commit| commit.events.is_empty()) {
            return Err(AppendError::Conflict);
        }
        if commits.is_empty() {
            return Ok(());
        }
        match self {
            #[cfg(feature = "mongodb")]
            Self::MongoDb(store) => store.append_all(&commits).await,
            #[cfg(feature = "postgres")]
            Self::Postgres(store) => store.append_all(&commits).await,
            #[cfg(feature = "embedded")]
            Self::Sqlite(store) => store.append_all(commits).await,
        }
    }

    /// Stores the small record of a command that yielded no event. It is durable when this returns.
    ///
    /// # Errors
    /// [`AppendError::Conflict`] when the stream has this command id.
    pub async fn remember(&self, record: CommandRecord) -> Result<(), AppendError> {
        on_store!(self, store => store.remember(record).await)
    }

    /// Returns a page of all commits, in any order across streams. A commit that is appended during a scan may be missing.
    /// `limit` is the number of commits, from 1. The page names a stream that can't be read, and the scan goes on with the next
    /// stream.
    ///
    /// # Errors
    /// When the store is not available.
    pub async fn scan<E: EventType>(
        &self,
        after: Option<ScanPosition>,
        limit: usize,
    ) -> Result<Page<ScannedCommit<E>>, StoreError> {
        on_store!(self, store => store.scan(after, limit).await)
    }

    /// Returns a page of streams with their heads, in the store's own order. The page begins after the stream `after`, which is
    /// the `next` of the page before. `limit` is the number of commits that the store looks at, from 2. For a stream that is
    /// appended to meanwhile, the page may have the earlier version.
    ///
    /// # Errors
    /// When the store is not available.
    pub async fn heads(&self, after: Option<&str>, limit: usize) -> Result<Heads, StoreError> {
        on_store!(self, store => store.heads(after, limit).await)
    }

    /// Returns the oldest unpublished commit of up to `limit` streams, in random order, so that several relays mostly take
    /// different streams. A stream is among them if it has an unpublished commit that is not `young`.
    ///
    /// Guarantee: a wrong clock keeps no commit from being published. A commit recorded within `young` is left to the process
    /// that appended it. A commit dated after `young` counts as old, just as one dated before it. PostgreSQL knows which
    /// processes are gone ([`EventStore::stay_present`]): their commits are never young.
    ///
    /// # Errors
    /// When the store is not available.
    pub async fn outstanding(
        &self,
        young: RangeInclusive<Timestamp>,
        limit: usize,
    ) -> Result<Vec<CommitId>, StoreError> {
        on_store!(self, store => store.outstanding(young, limit).await)
    }

    /// Returns true if the stream still ends at this version. It is for answers that no append checks.
    ///
    /// Guarantee: a deposed primary that does not know it yet may answer a load, but it can't answer this call. On a replica
    /// set of MongoDB this call uses linearizable read concern. On PostgreSQL it fails if the server takes no writes, as a
    /// former primary does after a failover. Any other store has one place to read from, so this returns true without a
    /// question to the store.
    ///
    /// # Errors
    /// When the store is not available.
    pub async fn is_current(&self, stream: &StreamId, version: Version) -> Result<bool, StoreError> {
        // A store with one place to read from is not asked.
        let _ = (stream, version);
        match self {
            #[cfg(feature = "mongodb")]
            Self::MongoDb(store) => store.is_current(stream, version).await,
            #[cfg(feature = "postgres")]
            Self::Postgres(store) => store.is_current(stream, version).await,
            #[cfg(feature = "embedded")]
            Self::Sqlite(_) => Ok(true),
        }
    }

    /// Lets the other processes on this store know that this one lives, for as long as the future is polled. Commits that are
    /// appended meanwhile are left to this process while they are young. On a store that keeps no such record the future ends at
    /// once: there every process counts as alive.
    pub async fn stay_present(&self) {
        match self {
            #[cfg(feature = "mongodb")]
            Self::MongoDb(_) => {}
            #[cfg(feature = "postgres")]
            Self::Postgres(store) => store.stay_present().await,
            #[cfg(feature = "embedded")]
            Self::Sqlite(_) => {}
        }
    }

    /// Returns what is known of the other processes on this store. Commits within `young` are left to those that live. `None` on a
    /// store that keeps no record of them.
    ///
    /// # Errors
    /// When the store is not available.
    pub async fn other_processes(
        &self,
        young: RangeInclusive<Timestamp>,
    ) -> Result<Option<OtherProcesses>, StoreError> {
        // A store without a record has no use for it.
        let _ = &young;
        match self {
            #[cfg(feature = "mongodb")]
            Self::MongoDb(_) => Ok(None),
            #[cfg(feature = "postgres")]
            Self::Postgres(store) => Ok(Some(store.other_processes(young).await?)),
            #[cfg(feature = "embedded")]
            Self::Sqlite(_) => Ok(None),
        }
    }

    /// Marks commits as published, and sets and ends reminders in the same write. Marking a commit again, or one that does not
    /// exist, changes nothing. Calls made at the same time are one write.
    ///
    /// # Errors
    /// When the store is not available.
    pub async fn mark_published<M: Into<Mark>>(&self, commits: Vec<M>) -> Result<(), StoreError> {
        let marks = commits.into_iter().map(Into::into).collect();
        on_store!(self, store => store.mark_published(marks).await)
    }

    /// Deletes small records of clients' commands that were recorded before this time, and returns their number. PostgreSQL deletes
    /// those that are older than [`ANSWERED_KEPT`] by its own clock. A server that deletes them by itself answers 0. The system's
    /// records are never deleted.
    ///
    /// # Errors
    /// When the store is not available.
    pub async fn forget_answered(&self, before: Timestamp) -> Result<u64, StoreError> {
        // A server goes by its own clock.
        let _ = before;
        match self {
            #[cfg(feature = "mongodb")]
            Self::MongoDb(store) => store.forget_answered(before).await,
            #[cfg(feature = "postgres")]
            Self::Postgres(store) => store.forget_answered().await,
            #[cfg(feature = "embedded")]
            Self::Sqlite(store) => store.forget_answered(before).await,
        }
    }

    /// Returns the number of unpublished commits, and their earliest and latest times.
    ///
    /// # Errors
    /// When the store is not available.
    pub async fn backlog(&self) -> Result<Backlog, StoreError> {
        on_store!(self, store => store.backlog().await)
    }

    /// Returns about how many commits there are. The progress of a scan uses it.
    ///
    /// # Errors
    /// When the store is not available.
    pub async fn count(&self) -> Result<u64, StoreError> {
        on_store!(self, store => store.count().await)
    }

    /// Connects to the server, logs in, and makes sure that tables or indexes are there. Without this call, the first use does so.
    ///
    /// # Errors
    /// When the store is not available. The first use then tries again.
    pub async fn connect(&self) -> Result<(), StoreError> {
        match self {
            #[cfg(feature = "mongodb")]
            Self::MongoDb(store) => store.connect().await,
            #[cfg(feature = "postgres")]
            Self::Postgres(store) => store.connect().await,
            #[cfg(feature = "embedded")]
            Self::Sqlite(_) => Ok(()),
        }
    }

    /// Checks that the store answers.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn ping(&self) -> Result<(), StoreError> {
        on_store!(self, store => store.ping().await)
    }
}

const SCHEMES: &[&str] = &[
    #[cfg(feature = "mongodb")]
    "mongodb://HOST:27017/DATABASE",
    #[cfg(feature = "mongodb")]
    "mongodb+srv://NAME/DATABASE",
    #[cfg(feature = "postgres")]
    "postgres://USER:PASSWORD@HOST:PORT/DATABASE",
    #[cfg(feature = "embedded")]
    "sqlite:PATH",
];
