//! What goes into the read store and what comes out.

use std::fmt;
use std::ops::AddAssign;

use event_sourcing::{ColumnValue, Entry, Index, Recorded, StreamId, Undecodable, Value, Version};
use jiff::Timestamp;
use serde::Serialize;
use thiserror::Error;

use crate::ReadStoreError;

/// A record of the channel, as the projector has decoded it.
#[derive(Debug)]
pub struct Incoming<E> {
    /// Where the record was.
    pub origin: Origin,
    /// The record's key, any bytes.
    pub key: Option<Vec<u8>>,
    /// The record's value, any bytes.
    pub value: Option<Vec<u8>>,
    /// What it says, or why that can't be told.
    pub event: Result<Recorded<E>, Undecodable>,
    /// When it is taken in; what is held says since when.
    pub received_at: Timestamp,
}

impl<E> Incoming<E> {
    /// The stream that the value names, where it names one and a version.
    pub(crate) fn stream(&self) -> Option<&StreamId> {
        match &self.event {
            Ok(event) => Some(&event.stream),
            Err(Undecodable::Unknown { stream, .. }) => Some(stream),
            Err(_) => None,
        }
    }

    /// Whether the key is not the stream's, so that the record lies where those of another stream do.
    #[cfg(feature = "postgres")]
    pub(crate) fn is_astray(&self) -> bool {
        self.stream().is_some_and(|stream| self.key.as_deref() != Some(stream.as_str().as_bytes()))
    }

    /// An event that was read from the event store and not from a channel: should it be held, its origin says so.
    #[must_use]
    pub fn from_event_store(event: Recorded<E>, received_at: Timestamp) -> Self {
        Self {
            origin: Origin { topic: String::new(), partition: -1, offset: -1 },
            key: Some(event.stream.as_str().into()),
            value: None,
            event: Ok(event),
            received_at,
        }
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

/// What became of the events of a batch, in the active view (in the view being built, for a backfill).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Projected {
    /// Applied.
    pub applied: usize,
    /// Ignored, because the view had them.
    pub ignored: usize,
    /// Newly held.
    pub held: usize,
    /// Held before, and applied now that they were next.
    pub released: usize,
}

impl AddAssign for Projected {
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
    /// The view's fold refused it.
    Refused,
}

impl HeldReason {
    /// Each of them.
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

/// An event that could not be applied, taken aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldEvent {
    /// Its number.
    pub id: HeldId,
    /// The stream that it is of, where that can be told: by its value, else by its key.
    pub stream: Option<StreamId>,
    /// Its version, where that can be told.
    pub version: Option<Version>,
    /// Why it is held.
    pub reason: HeldReason,
    /// The reason in words.
    pub problem: String,
    /// Where it was. An event that a rebuild read from the event store was nowhere: no topic, partition and offset -1.
    pub origin: Origin,
    /// The record's key.
    pub key: Option<Vec<u8>>,
    /// The record's value.
    pub value: Option<Vec<u8>>,
    /// Since when.
    pub held_at: Timestamp,
}

/// How many events are held for a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct HeldSummary {
    /// The reason.
    pub reason: HeldReason,
    /// How many.
    pub events: u64,
    /// How many streams they touch, of those that can be told.
    pub streams: u64,
}

/// What a redrive did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Redriven {
    /// Applied now.
    pub applied: u64,
    /// Not needed any more, and removed.
    pub removed: u64,
    /// Still held.
    pub held: u64,
}

/// What the active view has of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lookup<R> {
    /// Its entry; none where the view has taken in none of its events.
    pub entry: Option<Entry<R>>,
    /// Whether any event is held for it: then it may be behind, or be missing.
    pub held: bool,
}

impl<R> Default for Lookup<R> {
    fn default() -> Self {
        Self { entry: None, held: false }
    }
}

/// The rows of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// Only rows that have these values, each in its index.
    pub(crate) equal: Vec<(Index, Value<'static>)>,
    /// Only those with a greater id (by bytes): where the former page ended.
    pub after: Option<StreamId>,
    /// At most so many, from 1.
    pub limit: usize,
}

impl Filter {
    /// The first rows of all, at most `limit`, from 1.
    #[must_use]
    pub const fn first(limit: usize) -> Self {
        Self { equal: Vec::new(), after: None, limit }
    }

    /// Only rows that have this value in an index of the view.
    #[must_use]
    pub fn equal(mut self, index: Index, value: &impl ColumnValue) -> Self {
        let value = match value.to_value() {
            Value::Null => Value::Null,
            Value::Text(text) => Value::Text(text.into_owned().into()),
            Value::Integer(number) => Value::Integer(number),
            Value::Boolean(value) => Value::Boolean(value),
            Value::Time(time) => Value::Time(time),
        };
        self.equal.push((index, value));
        self
    }

    /// Only rows behind this id: where the former page ended.
    #[must_use]
    pub fn after(self, after: Option<StreamId>) -> Self {
        Self { after, ..self }
    }
}

/// A page of rows, by id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<R> {
    /// The rows, with their streams and versions. Each entry has one.
    pub entries: Vec<Entry<R>>,
    /// Whether there are more behind the last.
    pub more: bool,
    /// Whether any event is held for one of them.
    pub held: bool,
}

/// A view's own number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct ViewId(pub i64);

/// A stream that stands behind in the new view.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BehindStream {
    /// The stream.
    pub stream: StreamId,
    /// Its version in the active view.
    pub active: Version,
    /// Its version in the new one.
    pub building: Version,
}

/// Why the views were not swapped.
#[derive(Clone, Debug, Error)]
pub enum SwapRefused {
    /// Streams in the new view are behind the old one or wait for a missing event.
    #[error("{streams} streams in the new view are behind, such as {first:?}")]
    Behind {
        /// How many.
        streams: u64,
        /// One of them.
        first: BehindStream,
    },
    /// The view is not one that is being built.
    #[error("view {0:?} is not being built")]
    NotBuilding(ViewId),
    /// The store failed.
    #[error(transparent)]
    Store(ReadStoreError),
}

impl From<ReadStoreError> for SwapRefused {
    fn from(error: ReadStoreError) -> Self {
        match error {
            ReadStoreError::NotBuilding(view) => Self::NotBuilding(view),
            other => Self::Store(other),
        }
    }
}
