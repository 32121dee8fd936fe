//! What goes into the read store and what comes out.

use std::fmt;
use std::ops::AddAssign;

use domain::wire::Undecodable;
use domain::{OrderId, OrderName, RecordedEvent, Snapshot, Status, Version};
use jiff::Timestamp;
use serde::Serialize;
use thiserror::Error;

use crate::ReadStoreError;

/// A record of the channel, as the projector has decoded it.
#[derive(Debug)]
pub struct Incoming {
    /// Where the record was.
    pub origin: Origin,
    /// The record's key, any bytes.
    pub key: Option<Vec<u8>>,
    /// The record's value, any bytes.
    pub value: Option<Vec<u8>>,
    /// What it says, or why that can't be told.
    pub event: Result<RecordedEvent, Undecodable>,
    /// When it is taken in; what is held says since when.
    pub received_at: Timestamp,
}

impl Incoming {
    /// The order that the value names, where it names one and a version.
    pub(crate) fn order(&self) -> Option<&OrderId> {
        match &self.event {
            Ok(event) => Some(&event.stream),
            Err(Undecodable::Unknown { stream, .. }) => Some(stream),
            Err(_) => None,
        }
    }

    /// Whether the key is not the order's, so that the record lies where those of another order do.
    #[cfg(feature = "postgres")]
    pub(crate) fn is_astray(&self) -> bool {
        self.order().is_some_and(|order| self.key.as_deref() != Some(order.as_str().as_bytes()))
    }

    /// An event that was read from the event store and not from a channel: should it be held, its origin says so.
    #[must_use]
    pub fn from_event_store(event: RecordedEvent, received_at: Timestamp) -> Self {
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
    /// The event names no valid order.
    NoValidOrder,
}

impl HeldReason {
    /// Each of them.
    pub const ALL: [Self; 4] = [Self::Gap, Self::Undecodable, Self::UnknownType, Self::NoValidOrder];

    /// The name that stores and metrics use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gap => "gap",
            Self::Undecodable => "undecodable",
            Self::UnknownType => "unknown-type",
            Self::NoValidOrder => "no-valid-order",
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
    /// The order that it is of, where that can be told: by its value, else by its key.
    pub order: Option<OrderId>,
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
    /// How many orders they touch, of those that can be told.
    pub orders: u64,
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

/// What the active view has of an order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lookup {
    /// The order; none where there is none.
    pub order: Option<Snapshot>,
    /// Whether any event is held for it: then it may be behind, or be missing.
    pub held: bool,
}

/// Which orders a list has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only those with this status.
    pub status: Option<Status>,
    /// Only those with this name, to the letter.
    pub name: Option<OrderName>,
    /// Only those with a greater id (by bytes): where the former page ended.
    pub after: Option<OrderId>,
    /// At most so many, from 1.
    pub limit: usize,
}

/// A page of orders, by id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The orders.
    pub orders: Vec<Snapshot>,
    /// Whether there are more behind the last.
    pub more: bool,
    /// Whether any event is held for one of them.
    pub held: bool,
}

/// A view's own number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct ViewId(pub i64);

/// An order that stands behind in the new view.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BehindOrder {
    /// The order.
    pub order: OrderId,
    /// Its version in the active view.
    pub active: Version,
    /// Its version in the new one.
    pub building: Version,
}

/// Why the views were not swapped.
#[derive(Clone, Debug, Error)]
pub enum SwapRefused {
    /// Orders in the new view are behind the old one or wait for a missing event.
    #[error("{orders} orders in the new view are behind, such as {first:?}")]
    Behind {
        /// How many.
        orders: u64,
        /// One of them.
        first: BehindOrder,
    },
    /// The view is not one that is being built.
    #[error("view {0:?} is not being built")]
    NotBuilding(ViewId),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] ReadStoreError),
}
