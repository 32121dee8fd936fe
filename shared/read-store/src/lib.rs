//! The read store: a view that the projector writes and the queries read.
//!
//! An event is applied exactly when its version is the row's version plus one, in the transaction that reads the row; what
//! is not newer is ignored, anything else is held and blocks nobody but its own stream. So the effect of an event is
//! exactly once, however often it comes. Each rule stands once, in [`plan`]; the variants read, ask it, and write.
//!
//! Knows nothing of channels, event stores, HTTP or commands.

#[cfg(any(feature = "embedded", feature = "postgres"))]
mod calls;
#[cfg(any(feature = "embedded", feature = "postgres"))]
pub mod plan;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(any(feature = "embedded", feature = "postgres"))]
mod shape;
#[cfg(feature = "embedded")]
mod sqlite;
mod types;
#[cfg(any(feature = "embedded", feature = "postgres"))]
mod waiters;
mod walk;

use std::time::Duration;

use event_sourcing::{Entry, Recorded, StreamId, Version, View};
use runtime::SecretUrl;
use thiserror::Error;

pub use types::{
    BehindStream, Filter, HeldEvent, HeldId, HeldReason, HeldSummary, Incoming, Lookup, Origin, Page,
    Projected, Redriven, SwapRefused, ViewId,
};
pub use walk::{Step, Walk, Walker};

/// A view in a read store; the scheme of its URL chooses which. Cheap to clone: clones share connections and batches.
#[derive(Clone)]
pub enum ReadStore<V: View> {
    /// A SQLite file, for one machine: `sqlite:PATH`.
    #[cfg(feature = "embedded")]
    Sqlite(sqlite::SqliteReadStore<V>),
    /// A PostgreSQL database, for any number of machines: `postgres://USER:PASSWORD@HOST:PORT/DATABASE`, also with libpq's
    /// parameters (`?sslmode=verify-full&…`). One connection or a few a process.
    #[cfg(feature = "postgres")]
    Postgres(postgres::PostgresReadStore<V>),
}

/// A store can't be opened as its URL says.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The URL's scheme is none that this program has.
    #[error("the read store {url:?} has an unknown scheme; allowed: {allowed}")]
    UnknownScheme {
        /// The URL.
        url: SecretUrl,
        /// What would have been right.
        allowed: String,
    },
    /// The URL's scheme is known, but not what follows.
    #[error("the read store can't be opened: {0}")]
    Refused(String),
}

/// The store did not do what it was asked.
#[derive(Clone, Debug, Error)]
pub enum ReadStoreError {
    /// It can't be reached, is full or is closed; the same call may succeed later.
    #[error("the read store is not available: {0}")]
    Unavailable(String),
    /// A row holds what no program of ours wrote.
    #[error("the read store holds {0}")]
    Corrupt(String),
    /// The view is not one that is being built: another rebuild has begun since, or it is active already.
    #[error("view {} is not being built (any more)", .0.0)]
    NotBuilding(ViewId),
}

/// Why a held event was not dropped.
#[derive(Clone, Debug, Error)]
pub enum DropRefused {
    /// There is no such held event (any more).
    #[error("there is no held event {0}")]
    NotHeld(HeldId),
    /// It is the event for a version that the stream does not have yet: dropping it would stop the stream for ever.
    #[error("held event {id} is needed: it is version {version} of stream {stream}, which is at {have}")]
    Needed {
        /// The held event.
        id: HeldId,
        /// Its stream.
        stream: StreamId,
        /// Its version.
        version: Version,
        /// The stream's version in the view.
        have: Version,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] ReadStoreError),
}

#[cfg(any(feature = "embedded", feature = "postgres"))]
impl From<runtime::batcher::Stopped> for ReadStoreError {
    fn from(stopped: runtime::batcher::Stopped) -> Self {
        Self::Unavailable(stopped.to_string())
    }
}

/// Calls a method of whichever store it is.
macro_rules! on_store {
    ($self:ident, $store:ident => $call:expr) => {
        match $self {
            #[cfg(feature = "embedded")]
            Self::Sqlite($store) => $call,
            #[cfg(feature = "postgres")]
            Self::Postgres($store) => $call,
        }
    };
}

impl<V: View> ReadStore<V> {
    /// Opens the store that the URL names. Servers are connected to lazily; a file is opened, and created if it is not there.
    ///
    /// # Errors
    /// [`OpenError`] when the scheme is unknown or the rest of the URL can't be used.
    pub async fn open(url: impl Into<SecretUrl>) -> Result<Self, OpenError> {
        Self::open_with(url, CONNECTIONS).await
    }

    /// As [`ReadStore::open`], with at most so many connections to a server, from 1. A function that handles one event at a
    /// time needs one.
    ///
    /// # Errors
    /// As [`ReadStore::open`].
    pub async fn open_with(url: impl Into<SecretUrl>, connections: usize) -> Result<Self, OpenError> {
        let url = url.into();
        // Who has no server needs no connections.
        let _ = connections;
        match url.expose().split_once(':') {
            #[cfg(feature = "embedded")]
            Some(("sqlite", path)) => Ok(Self::Sqlite(sqlite::SqliteReadStore::open(path.as_ref())?)),
            #[cfg(feature = "postgres")]
            Some(("postgres" | "postgresql", _)) => {
                Ok(Self::Postgres(postgres::PostgresReadStore::open(&url, connections)?))
            }
            _ => Err(OpenError::UnknownScheme { url, allowed: SCHEMES.join(", ") }),
        }
    }

    /// Creates a server's tables, or brings them to the state that this program works on. A file needs none of that: it is
    /// done as it is opened.
    ///
    /// # Errors
    /// When the server is not available, or its tables were made by a newer program.
    pub async fn migrate(&self) -> Result<(), ReadStoreError> {
        match self {
            #[cfg(feature = "embedded")]
            Self::Sqlite(_) => Ok(()),
            #[cfg(feature = "postgres")]
            Self::Postgres(store) => store.migrate().await,
        }
    }

    // ── For the projector ────────────────────────────────────────────────────────────────────────────

    /// Takes in a batch, in one transaction, into every view there is: applies, ignores or holds each event, in the
    /// order in which they come, and then applies held events that have become next. Calls made at the same time are
    /// one transaction; each gets the counts of its own batch. On a server, records whose key is not their stream's come
    /// last, in a second transaction.
    ///
    /// # Errors
    /// When the store is not available. Nothing of the batch was taken in then, save that on a server the first of two
    /// transactions may have been; what was taken in is ignored when it comes again.
    pub async fn project(&self, batch: Vec<Incoming<V::Event>>) -> Result<Projected, ReadStoreError> {
        on_store!(self, store => store.project(batch).await)
    }

    // ── For queries ──────────────────────────────────────────────────────────────────────────────────

    /// What the active view has of a stream. Calls made at the same time are answered by one read.
    ///
    /// # Errors
    /// When the store is not available.
    pub async fn see(&self, id: &StreamId) -> Result<Lookup<V::Row>, ReadStoreError> {
        on_store!(self, store => store.see(id).await)
    }

    /// A stream's entry in the active view, as [`ReadStore::see`] reads it.
    ///
    /// # Errors
    /// When the store is not available.
    pub async fn get(&self, id: &StreamId) -> Result<Option<Entry<V::Row>>, ReadStoreError> {
        Ok(self.see(id).await?.entry)
    }

    /// A page of rows of the active view, by id.
    ///
    /// # Errors
    /// When the store is not available.
    pub async fn list(&self, filter: Filter) -> Result<Page<V::Row>, ReadStoreError> {
        on_store!(self, store => store.list(filter).await)
    }

    /// Waits until the active view has a stream at this version or a later one, and answers with what it has then; after
    /// `patience`, with what it has.
    ///
    /// # Errors
    /// When the store is not available.
    pub async fn wait_for(
        &self,
        id: &StreamId,
        version: Version,
        patience: Duration,
    ) -> Result<Lookup<V::Row>, ReadStoreError> {
        on_store!(self, store => store.wait_for(id, version, patience).await)
    }

    /// Entries of the active view by their ids, for `verify`: one read for all. Those that are not there are left out, and so are
    /// garbled ones, for they are to be repaired.
    ///
    /// # Errors
    /// When the store is not available.
    pub async fn get_many(&self, ids: Vec<StreamId>) -> Result<Vec<Entry<V::Row>>, ReadStoreError> {
        on_store!(self, store => store.get_many(ids).await)
    }

    /// The streams of the active view with their versions, by id, after `after`, at most `limit`: what `verify` walks through.
    /// Garbled ones are among them.
    ///
    /// # Errors
    /// When the store is not available.
    pub async fn versions(
        &self,
        after: Option<&StreamId>,
        limit: usize,
    ) -> Result<Vec<(StreamId, Version)>, ReadStoreError> {
        on_store!(self, store => store.versions(after, limit).await)
    }

    // ── The comparison with the event store ──────────────────────────────────────────────────────────

    /// How the comparison stands.
    ///
    /// # Errors
    /// When the store is not available.
    pub async fn walk(&self) -> Result<Walk, ReadStoreError> {
        on_store!(self, store => store.walk().await)
    }

    /// Takes the comparison over, or goes on with it; none while another process has it.
    ///
    /// # Errors
    /// When the store is not available.
    pub async fn take_walk(&self, walker: Walker) -> Result<Option<Walk>, ReadStoreError> {
        on_store!(self, store => store.take_walk(walker).await)
    }

    /// Keeps what a step came to, and says how the comparison stands then; none where another process has taken it over.
    ///
    /// # Errors
    /// When the store is not available.
    pub async fn step_walk(&self, walker: Walker, step: Step) -> Result<Option<Walk>, ReadStoreError> {
        on_store!(self, store => store.step_walk(walker, step).await)
    }

    /// Leaves the comparison to whoever takes it next.
    ///
    /// # Errors
    /// When the store is not available.
    pub async fn leave_walk(&self, name: &str) -> Result<(), ReadStoreError> {
        on_store!(self, store => store.leave_walk(name).await)
    }

    /// Notes that the view may lack something: the comparison begins anew, and goes through everything.
    ///
    /// # Errors
    /// When the store is not available.
    pub async fn doubt(&self, why: &str) -> Result<(), ReadStoreError> {
        on_store!(self, store => store.doubt(why).await)
    }

    // ── Held events ──────────────────────────────────────────────────────────────────────────────────

    /// How many events the active view holds, by reason.
    ///
    /// # Errors
    /// When the store is not available.
    pub async fn held_summary(&self) -> Result<Vec<HeldSummary>, ReadStoreError> {
        on_store!(self, store => store.held_summary().await)
    }

    /// Held events of the active view, by id, after `after`, at most `limit`; all streams', or one's.
    ///
    /// # Errors
    /// When the store is not available.
    pub async fn held(
        &self,
        stream: Option<&StreamId>,
        after: Option<HeldId>,
        limit: usize,
    ) -> Result<Vec<HeldEvent>, ReadStoreError> {
        on_store!(self, store => store.held(stream, after, limit).await)
    }

    /// One held event.
    ///
    /// # Errors
    /// When the store is not available.
    pub async fn held_event(&self, id: HeldId) -> Result<Option<HeldEvent>, ReadStoreError> {
        on_store!(self, store => store.held_event(id).await)
    }

    /// Decodes held events again and takes them in, in the order of their versions; what still can't be applied stays held,
    /// with its reason of today. All streams', or one's. For after a fix of the program.
    ///
    /// # Errors
    /// When the store is not available; what was redriven before stays so.
    pub async fn redrive(&self, stream: Option<&StreamId>) -> Result<Redriven, ReadStoreError> {
        on_store!(self, store => store.redrive(stream).await)
    }

    /// Drops a held event that no stream needs for its next version.
    ///
    /// # Errors
    /// [`DropRefused`], which says why it is needed.
    pub async fn drop_held(&self, id: HeldId) -> Result<(), DropRefused> {
        on_store!(self, store => store.drop_held(id).await)
    }

    // ── Rebuild, blue/green, and repair ──────────────────────────────────────────────────────────────

    /// Registers a new, empty view. When this returns, every later projector transaction writes it too. A view that an
    /// earlier rebuild left unfinished is deleted first.
    ///
    /// # Errors
    /// When the store is not available.
    pub async fn begin_rebuild(&self) -> Result<ViewId, ReadStoreError> {
        on_store!(self, store => store.begin_rebuild().await)
    }

    /// Takes a page of events, with those of one stream in order, into a view that is being built, by the rules of
    /// [`ReadStore::project`]. How many were applied.
    ///
    /// # Errors
    /// When the store is not available.
    pub async fn backfill(
        &self,
        view: ViewId,
        events: Vec<Recorded<V::Event>>,
    ) -> Result<Projected, ReadStoreError> {
        on_store!(self, store => store.backfill(view, events).await)
    }

    /// Writes entries into a view that is being built, as the active one has them: those whose streams can't be read. One that is at
    /// a greater version there is left alone.
    ///
    /// # Errors
    /// When the view is not being built or the store is not available.
    pub async fn take_over(&self, view: ViewId, entries: Vec<Entry<V::Row>>) -> Result<(), SwapRefused> {
        on_store!(self, store => store.take_over(view, entries).await)
    }

    /// Makes the view that was built the active one and deletes the former. Running projector batches finish first. Refused
    /// while a stream in the new view is behind the old one, or held by a gap.
    ///
    /// # Errors
    /// [`SwapRefused`] with the streams that are behind; the new view stays as it is, so that the swap can be tried again.
    pub async fn swap(&self, view: ViewId) -> Result<(), SwapRefused> {
        on_store!(self, store => store.swap(view).await)
    }

    /// Writes entries into the active view as they are given, whatever it has: the repair of a view that lost or garbled
    /// something. An entry that meanwhile is at a greater version than given is left alone. Held events that become next are
    /// applied, those that are passed are removed. How many were written.
    ///
    /// # Errors
    /// When the store is not available.
    pub async fn repair(&self, entries: Vec<Entry<V::Row>>) -> Result<u64, ReadStoreError> {
        on_store!(self, store => store.repair(entries).await)
    }

    /// Deletes streams from the active view, and the events held for them: what `verify --repair` does with rows that no
    /// stream stands behind. How many rows were deleted.
    ///
    /// # Errors
    /// When the store is not available.
    pub async fn remove(&self, ids: Vec<StreamId>) -> Result<u64, ReadStoreError> {
        on_store!(self, store => store.remove(ids).await)
    }

    /// Whether the store answers.
    ///
    /// # Errors
    /// When it does not.
    pub async fn ping(&self) -> Result<(), ReadStoreError> {
        on_store!(self, store => store.ping().await)
    }
}

/// How many connections to a server a process has at most, where nothing else is said.
const CONNECTIONS: usize = 5;

const SCHEMES: &[&str] = &[
    #[cfg(feature = "embedded")]
    "sqlite:PATH",
    #[cfg(feature = "postgres")]
    "postgres://USER:PASSWORD@HOST:PORT/DATABASE",
];
