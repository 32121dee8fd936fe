//! The values that go into the read store and come out of it.

use std::fmt;
use std::ops::AddAssign;

use event_sourcing::{ColumnValue, Entry, Index, Recorded, StreamId, Undecodable, Value, Version};
use jiff::Timestamp;
use serde::Serialize;

/// A record of the channel, as the projector has decoded it.
#[derive(Debug)]
pub struct Incoming<E> {
    /// The record's place in the channel.
    pub origin: Origin,
    /// The record's key, any bytes.
    pub key: Option<Vec<u8>>,
    /// The record's value, any bytes.
    pub value: Option<Vec<u8>>,
    /// The decoded event, or the reason why the record can't be decoded.
    pub event: Result<Recorded<E>, Undecodable>,
    /// The time at which it is taken in. A held event shows it.
    pub received_at: Timestamp,
}

impl<E> Incoming<E> {
    /// The stream that the value names, if it names a stream and a version.
    pub(crate) fn stream(&self) -> Option<&StreamId> {
        match &self.event {
            Ok(event) => Some(&event.stream),
            Err(Undecodable::Unknown { stream, .. } | Undecodable::Unreadable { stream, .. }) => Some(stream),
            Err(_) => None,
        }
    }

    /// Returns true if the key is not the stream's id: the record then lies in another stream's partition.
    #[cfg(feature = "postgres")]
    pub(crate) fn is_astray(&self) -> bool {
        self.stream().is_some_and(|stream| self.key.as_deref() != Some(stream.as_str().as_bytes()))
    }

    /// An event that was read from the event store and not from a channel. If it is held, its origin says so.
    #[must_use]
    pub fn from_event_store(event: Recorded<E>, received_at: Timestamp) -> Self {
        let key = Some(event.stream.as_str().into());
        Self { origin: Origin::event_store(), key, value: None, event: Ok(event), received_at }
    }

    /// An event that the event store can't read.
    pub(crate) fn unreadable(stream: StreamId, version: Version, problem: String) -> Self {
        let key = Some(stream.as_str().into());
        let event = Err(Undecodable::Unreadable { stream, version, problem });
        Self { origin: Origin::event_store(), key, value: None, event, received_at: Timestamp::now() }
    }
}

/// A place in a channel.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Origin {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
}

impl Origin {
    /// The origin of an event that did not come through a channel.
    const fn event_store() -> Self {
        Self { topic: String::new(), partition: -1, offset: -1 }
    }
}

/// The outcome of a batch's events in the active view, or of a backfill's events in the view that is being built.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ProjectionCounts {
    /// Events that were applied.
    pub applied: usize,
    /// Events that were ignored, because the view had them.
    pub ignored: usize,
    /// Events that are newly held.
    pub held: usize,
    /// Events that were held before, and were applied because they had become next.
    pub released: usize,
}

impl AddAssign for ProjectionCounts {
    fn add_assign(&mut self, other: Self) {
        self.applied += other.applied;
        self.ignored += other.ignored;
        self.held += other.held;
        self.released += other.released;
    }
}

/// Why an event is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum HeldReason {
    /// An earlier version has not come yet.
    Gap,
    /// The record is not an event.
    Undecodable,
    /// The event's type or schema is not known to this program.
    UnknownType,
    /// The event names no valid stream.
    NoValidStream,
    /// The view's fold refused it, or the database refused a row that it makes.
    Refused,
}

impl HeldReason {
    /// All reasons.
    pub const ALL: [Self; 5] =
        [Self::Gap, Self::Undecodable, Self::UnknownType, Self::NoValidStream, Self::Refused];

    /// The name that stores and metrics use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gap => "gap",
            Self::Undecodable => "undecodable",
            Self::UnknownType => "unknown-type",
            Self::NoValidStream => "no-valid-stream",
            Self::Refused => "refused",
        }
    }

    /// The reason that has this name.
    #[cfg(any(feature = "embedded", feature = "postgres"))]
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == text)
    }
}

/// A held event's own number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct HeldId(pub i64);

impl fmt::Display for HeldId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// An event that could not be applied and is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldEvent {
    /// Its number.
    pub id: HeldId,
    /// Its stream, if known: by its value, else by its key.
    pub stream: Option<StreamId>,
    /// Its version, if known.
    pub version: Option<Version>,
    /// Why it is held.
    pub reason: HeldReason,
    /// The reason in words.
    pub problem: String,
    /// Its place in the channel. An event that a rebuild read from the event store has none: no topic, partition and offset -1.
    pub origin: Origin,
    /// The record's key.
    pub key: Option<Vec<u8>>,
    /// The record's value.
    pub value: Option<Vec<u8>>,
    /// The time since which it is held.
    pub held_at: Timestamp,
}

/// The number of events that are held for a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct HeldSummary {
    /// The reason.
    pub reason: HeldReason,
    /// The number of events.
    pub events: u64,
    /// The number of their known streams.
    pub streams: u64,
}

/// The result of a redrive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RedriveCounts {
    /// Events that were applied.
    pub applied: u64,
    /// Events that were not needed any more, and were removed.
    pub removed: u64,
    /// Events that are still held.
    pub held: u64,
}

/// A stream in the active view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lookup<R> {
    /// Its entry; none if the view has taken in none of its events.
    pub entry: Option<Entry<R>>,
    /// True if an event is held for the stream: then its entry may be behind or missing.
    pub held: bool,
}

impl<R> Default for Lookup<R> {
    fn default() -> Self {
        Self { entry: None, held: false }
    }
}

/// The selection of a page's rows. `K` is the view's key: the stream in a view with one row a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter<K = StreamId> {
    /// The values that a row must have, each in its index.
    pub(crate) equal: Vec<(Index, Value<'static>)>,
    /// The key after which the page begins (texts are compared by bytes): the last one of the former page.
    pub after: Option<K>,
    /// The maximum number of rows, from 1.
    pub limit: usize,
}

impl<K> Filter<K> {
    /// Selects the first rows of all, at most `limit`, from 1.
    #[must_use]
    pub const fn first(limit: usize) -> Self {
        Self { equal: Vec::new(), after: None, limit }
    }

    /// Selects only rows that have this value in an index of the view.
    #[must_use]
    pub fn equal(mut self, index: Index, value: &impl ColumnValue) -> Self {
        self.equal.push((index, value.to_value().into_owned()));
        self
    }

    /// Selects only rows after this key, the last one of the former page.
    #[must_use]
    pub fn after(self, after: Option<K>) -> Self {
        Self { after, ..self }
    }
}

/// A page of rows, by id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<R> {
    /// The rows, with their streams and versions. Each entry has a row.
    pub entries: Vec<Entry<R>>,
    /// True if more rows follow the last one.
    pub more: bool,
    /// True if an event is held for one of the streams.
    pub held: bool,
}

/// A page of rows with their keys, by key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowPage<K, R> {
    /// The rows.
    pub rows: Vec<(K, R)>,
    /// True if more rows follow the last one.
    pub more: bool,
    /// True if an event is held for any stream of the view. Streams share rows, so each of these rows may lack something.
    pub held: bool,
}

/// A view's own number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct ViewId(pub i64);

/// The difference of the active view and of one that was built beside it, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// The first streams, by id, that have another version in the two views.
    pub streams: Vec<BehindStream>,
    /// The keys of the first rows, by their texts, that differ. Empty while streams differ: then their rows differ too.
    pub rows: Vec<String>,
}

/// A stream that has another version in the new view; for a swap, one that is behind there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BehindStream {
    /// The stream.
    pub stream: StreamId,
    /// Its version in the active view.
    pub active: Version,
    /// Its version in the new view.
    pub building: Version,
}
