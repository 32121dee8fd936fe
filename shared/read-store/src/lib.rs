//! The read store: a view that the projector writes and the queries read.
//!
//! The view applies an event only when the event's version is the row's version plus one. It reads and writes the row in one
//! transaction. It ignores an event that is not newer. It holds any other event, and a held event blocks its own stream only. So
//! each event has its effect exactly once, however often it arrives.
//!
//! A view has one row a stream, or rows that streams share (`event_sourcing::View`). In the first kind a stream's row has its
//! version. In the second kind a table beside the rows has the versions, and both are written in one transaction.
//!
//! [`plan`] states each rule once. The variants read what it needs, ask it, and write its answer.
//!
//! Knows nothing of channels, event stores, HTTP or commands.

#[cfg(any(feature = "embedded", feature = "postgres"))]
mod calls;
mod errors;
#[cfg(any(feature = "embedded", feature = "postgres"))]
pub mod plan;
#[cfg(feature = "postgres")]
mod postgres;
mod programs;
#[cfg(any(feature = "embedded", feature = "postgres"))]
mod registrations;
#[cfg(any(feature = "embedded", feature = "postgres"))]
mod shape;
#[cfg(feature = "embedded")]
mod sqlite;
#[cfg(any(feature = "embedded", feature = "postgres"))]
mod swap;
mod types;
#[cfg(any(feature = "embedded", feature = "postgres"))]
mod waiters;
mod walk;

use std::time::Duration;

use event_sourcing::{Entry, Recorded, StreamId, Version, View, is_by_stream};
use runtime::SecretUrl;

pub use errors::{DropRefused, OpenError, ReadStoreError, SwapRefused};
pub use programs::{Filled, Program, Registration};
pub use types::{
    BehindStream, Difference, Filter, HeldEvent, HeldId, HeldReason, HeldSummary, Incoming, Lookup, Origin,
    Page, ProjectionCounts, RedriveCounts, RowPage, ViewId,
};
pub use walk::{Step, Walk, Walker};

/// A view in a read store. The scheme of the URL chooses the store. Cheap to clone: clones share connections and batches.
#[derive(Clone)]
pub enum ReadStore<V: View> {
    /// A SQLite file, for one machine: `sqlite:PATH`.
    #[cfg(feature = "embedded")]
    Sqlite(sqlite::SqliteReadStore<V>),
    /// A PostgreSQL database, for any number of machines: `postgres://USER:PASSWORD@HOST:PORT/DATABASE`, also with libpq's
    /// parameters (`?sslmode=verify-full&…`). Each process has one connection or a few.
    #[cfg(feature = "postgres")]
    Postgres(postgres::PostgresReadStore<V>),
}

/// Evaluates a call on the store of this variant.
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
    /// Opens the store that the URL names. A server is connected to at the first call. A file is opened at once, and created if
    /// it is missing.
    ///
    /// # Errors
    /// [`OpenError`] when the scheme is unknown or the rest of the URL can't be used.
    pub async fn open(url: impl Into<SecretUrl>) -> Result<Self, OpenError> {
        Self::open_with(url, CONNECTIONS).await
    }

    /// Opens a store as [`ReadStore::open`] does, with at most `connections` connections to a server, from 1. The projector has
    /// as many of its own beside them, but 4 at most. A function that handles one event at a time needs one.
    ///
    /// # Errors
    /// As [`ReadStore::open`].
    pub async fn open_with(url: impl Into<SecretUrl>, connections: usize) -> Result<Self, OpenError> {
        let url = url.into();
        // A file needs no connections.
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

    /// Returns a short text that is the same for all programs whose views have this shape, and for no others: eight hexadecimal
    /// digits.
    #[must_use]
    pub fn shape_digest() -> String {
        shape::Shape::of::<V>().digest()
    }

    /// Creates a server's tables, or migrates them to the schema of this program. A file needs no such call: opening it creates
    /// its tables.
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

    // ── For the programs that run ────────────────────────────────────────────────────────────────────

    /// Registers a program with a view of this shape, or renews its registration. Makes the view's tables if they are missing.
    /// Drops the tables of other shapes of the view for which no program is registered.
    ///
    /// # Errors
    /// When the store is not available.
    pub async fn register(&self, program: Program) -> Result<Registration, ReadStoreError> {
        on_store!(self, store => store.register(program).await)
    }

    /// Ends the registration of the program that has this name.
    ///
    /// # Errors
    /// When the store is not available. The registration ends with its lease then.
    pub async fn leave(&self, program: &str) -> Result<(), ReadStoreError> {
        on_store!(self, store => store.leave(program).await)
    }

    /// Notes that the active view needs not be filled, because the event store is empty.
    ///
    /// # Errors
    /// When the store is not available.
    pub async fn note_filled(&self) -> Result<(), ReadStoreError> {
        on_store!(self, store => store.note_filled().await)
    }

    // ── For the projector ────────────────────────────────────────────────────────────────────────────

    /// Takes in a batch, in one transaction, into the active view and into the one that is being built, if any. Applies, ignores
    /// or holds each event, in the order of the batch. Also applies held events that have become next.
    ///
    /// If the database refuses a value of a row, the event that made it is held as if the fold had refused it. Only rows that are
    /// written count: an event whose row the next event of the batch makes right is applied with it.
    ///
    /// Calls that are made at the same time share a transaction; each gets the counts of its own batch. On a server, records
    /// whose key is not their stream's id come last, in a second transaction. There a batch of which a value is refused takes
    /// several.
    ///
    /// # Errors
    /// When the store is not available. The batch has had no effect then, except that a server may have committed the first of
    /// its transactions. Records that were taken in are ignored when they come again.
    pub async fn project(&self, batch: Vec<Incoming<V::Event>>) -> Result<ProjectionCounts, ReadStoreError> {
        on_store!(self, store => store.project(batch).await)
    }

    // ── For queries ──────────────────────────────────────────────────────────────────────────────────

    /// Returns the active view's entry of a stream, and whether an event is held for it. If the view's key is not the stream, the
    /// entry has the stream's version alone. Calls that are made at the same time share one read.
    ///
    /// # Errors
    /// When the store is not available.
    pub async fn see(&self, id: &StreamId) -> Result<Lookup<V::Row>, ReadStoreError> {
        on_store!(self, store => store.see(id).await)
    }

    /// Returns a stream's entry in the active view, as [`ReadStore::see`] reads it.
    ///
    /// # Errors
    /// When the store is not available.
    pub async fn get(&self, id: &StreamId) -> Result<Option<Entry<V::Row>>, ReadStoreError> {
        Ok(self.see(id).await?.entry)
    }

    /// Returns a row of the active view by its key, in a view of either kind.
    ///
    /// # Errors
    /// When the store is not available.
    pub async fn row(&self, key: &V::Key) -> Result<Option<V::Row>, ReadStoreError> {
        on_store!(self, store => store.row(key).await)
    }

    /// Returns a page of rows of the active view, by key, in a view of either kind.
    ///
    /// # Errors
    /// When the store is not available.
    pub async fn page(&self, filter: Filter<V::Key>) -> Result<RowPage<V::Key, V::Row>, ReadStoreError> {
        on_store!(self, store => store.page(filter).await)
    }

    /// Waits until the active view has the stream at `version` or a later one, and returns the stream as [`ReadStore::see`] does.
    /// After `patience`, returns the stream as it is then.
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

    /// Returns the entries of these streams in the active view, by one read, for `verify`. Absent entries are left out. Garbled
    /// entries are left out too, so that `verify` repairs them. If the view's key is not the stream, an entry has the version
    /// alone.
    ///
    /// # Errors
    /// When the store is not available.
    pub async fn get_many(&self, ids: Vec<StreamId>) -> Result<Vec<Entry<V::Row>>, ReadStoreError> {
        on_store!(self, store => store.get_many(ids).await)
    }

    /// Returns streams of the active view with their versions, by id, after `after`, at most `limit`. `verify` walks through the
    /// view with it, so garbled entries are included.
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

    /// Returns the state of the comparison.
    ///
    /// # Errors
    /// When the store is not available.
    pub async fn walk(&self) -> Result<Walk, ReadStoreError> {
        on_store!(self, store => store.walk().await)
    }

    /// Takes the lease of the comparison, or renews it. Returns `None` while another process has the lease.
    ///
    /// # Errors
    /// When the store is not available.
    pub async fn take_walk(&self, walker: Walker) -> Result<Option<Walk>, ReadStoreError> {
        on_store!(self, store => store.take_walk(walker).await)
    }

    /// Stores the result of a step, and returns the new state of the comparison. Returns `None` if another process has taken the
    /// comparison over.
    ///
    /// # Errors
    /// When the store is not available.
    pub async fn step_walk(&self, walker: Walker, step: Step) -> Result<Option<Walk>, ReadStoreError> {
        on_store!(self, store => store.step_walk(walker, step).await)
    }

    /// Gives up the lease of the comparison, so that another process can take it at once.
    ///
    /// # Errors
    /// When the store is not available.
    pub async fn leave_walk(&self, name: &str) -> Result<(), ReadStoreError> {
        on_store!(self, store => store.leave_walk(name).await)
    }

    /// Notes a doubt: the view may lack something. The comparison then begins anew and goes through all streams.
    ///
    /// # Errors
    /// When the store is not available.
    pub async fn doubt(&self, why: &str) -> Result<(), ReadStoreError> {
        on_store!(self, store => store.doubt(why).await)
    }

    // ── Held events ──────────────────────────────────────────────────────────────────────────────────

    /// Returns the number of held events of the active view, by reason.
    ///
    /// # Errors
    /// When the store is not available.
    pub async fn held_summary(&self) -> Result<Vec<HeldSummary>, ReadStoreError> {
        on_store!(self, store => store.held_summary().await)
    }

    /// Returns held events of the active view, by id, after `after`, at most `limit`: of one stream, or of all.
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

    /// Returns one held event of the active view.
    ///
    /// # Errors
    /// When the store is not available.
    pub async fn held_event(&self, id: HeldId) -> Result<Option<HeldEvent>, ReadStoreError> {
        on_store!(self, store => store.held_event(id).await)
    }

    /// Redrives the held events of one stream, or of all: decodes them again and applies them in the order of their versions. An
    /// event that still can't be applied stays held, with the reason that this program finds. Use it after a fix of the program.
    ///
    /// # Errors
    /// When the store is not available. Events that were redriven before stay so.
    pub async fn redrive(&self, stream: Option<&StreamId>) -> Result<RedriveCounts, ReadStoreError> {
        on_store!(self, store => store.redrive(stream).await)
    }

    /// Drops a held event. Refuses if the stream does not have the event's version yet.
    ///
    /// # Errors
    /// [`DropRefused`], which says why the event was not dropped.
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

    /// Takes a page of events into a view that is being built, by the rules of [`ReadStore::project`]. The events of a stream
    /// come in order. Returns the counts.
    ///
    /// # Errors
    /// When the view is not being built or the store is not available.
    pub async fn backfill(
        &self,
        view: ViewId,
        events: Vec<Recorded<V::Event>>,
    ) -> Result<ProjectionCounts, ReadStoreError> {
        on_store!(self, store => store.backfill(view, events).await)
    }

    /// Writes entries of the active view into a view that is being built, for streams that the event store can't read. Does not
    /// change an entry that has a greater version there. Writes nothing if the view's key is not the stream: rows that streams share
    /// can't be taken over, and [`ReadStore::set_aside`] is for such streams.
    ///
    /// # Errors
    /// When the view is not being built or the store is not available.
    pub async fn take_over(&self, view: ViewId, entries: Vec<Entry<V::Row>>) -> Result<(), SwapRefused> {
        if !is_by_stream::<V>() {
            return Ok(());
        }
        on_store!(self, store => store.take_over(view, entries).await)
    }

    /// Holds an event of each of these streams in a view that is being built: the next one, which the event store can't read for
    /// the reason that stands beside the stream. It is for a view whose key is not the stream. No swap is refused because of these
    /// streams. When the event can be read, it is applied if it is projected.
    ///
    /// # Errors
    /// When the view is not being built or the store is not available.
    pub async fn set_aside(
        &self,
        view: ViewId,
        unreadable: Vec<(StreamId, String)>,
    ) -> Result<(), SwapRefused> {
        on_store!(self, store => store.set_aside(view, unreadable).await)
    }

    /// Makes the view that was built the active one and deletes the former. Running projector batches finish first. Refuses while
    /// a stream is behind in the new view, or waits for a missing event there but not in the active view.
    ///
    /// # Errors
    /// [`SwapRefused`] with the number of streams that are behind and the first of them. The new view stays as it is, so that the
    /// swap can be tried again.
    pub async fn swap(&self, view: ViewId) -> Result<(), SwapRefused> {
        on_store!(self, store => store.swap(view).await)
    }

    /// Compares the active view with one that is being built, at one moment. Returns at most `limit` streams and rows. `verify` does
    /// so with rows that streams share.
    ///
    /// # Errors
    /// When the view is not being built or the store is not available.
    pub async fn compare(&self, view: ViewId, limit: usize) -> Result<Difference, ReadStoreError> {
        on_store!(self, store => store.compare(view, limit).await)
    }

    /// Deletes a view that is being built.
    ///
    /// # Errors
    /// When the view is not being built or the store is not available.
    pub async fn abandon(&self, view: ViewId) -> Result<(), ReadStoreError> {
        on_store!(self, store => store.abandon(view).await)
    }

    /// Writes entries into the active view over any that it has: the repair of a view that lost or garbled something. Does not
    /// change an entry that has a greater version by now. Applies held events that become next, and removes those that the entry
    /// has passed. Returns the number of written entries. Writes nothing if the view's key is not the stream: a rebuild repairs
    /// such a view.
    ///
    /// # Errors
    /// When the store is not available, or refuses a value of an entry.
    pub async fn repair(&self, entries: Vec<Entry<V::Row>>) -> Result<u64, ReadStoreError> {
        if !is_by_stream::<V>() {
            return Ok(0);
        }
        on_store!(self, store => store.repair(entries).await)
    }

    /// Deletes streams from the active view, with the events held for them. `verify --repair` does so with rows whose stream does
    /// not exist. Returns the number of deleted rows. Deletes nothing if the view's key is not the stream.
    ///
    /// # Errors
    /// When the store is not available.
    pub async fn remove(&self, ids: Vec<StreamId>) -> Result<u64, ReadStoreError> {
        if !is_by_stream::<V>() {
            return Ok(0);
        }
        on_store!(self, store => store.remove(ids).await)
    }

    /// Returns whether the view is in a file, which one process serves.
    #[must_use]
    pub const fn is_file(&self) -> bool {
        match self {
            #[cfg(feature = "embedded")]
            Self::Sqlite(_) => true,
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => false,
        }
    }

    /// Checks that the store answers and has the view's table.
    ///
    /// # Errors
    /// When it does not.
    pub async fn ping(&self) -> Result<(), ReadStoreError> {
        on_store!(self, store => store.ping().await)
    }
}

impl<V: View<Key = StreamId>> ReadStore<V> {
    /// Returns a page of rows of the active view, by id, each with its stream's version.
    ///
    /// # Errors
    /// When the store is not available.
    pub async fn list(&self, filter: Filter) -> Result<Page<V::Row>, ReadStoreError> {
        on_store!(self, store => store.list(filter).await)
    }
}

/// The value of `connections` that [`ReadStore::open`] uses.
const CONNECTIONS: usize = 5;

const SCHEMES: &[&str] = &[
    #[cfg(feature = "embedded")]
    "sqlite:PATH",
    #[cfg(feature = "postgres")]
    "postgres://USER:PASSWORD@HOST:PORT/DATABASE",
];
