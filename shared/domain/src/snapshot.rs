//! An order as it was at a version: what stores keep and what answers show.

use jiff::Timestamp;
use serde::Serialize;
use serde::ser::{SerializeStruct, Serializer};
use thiserror::Error;

use crate::ids::{OrderId, Version};
use crate::order::{Event, Order, evolve};

/// An order at a version.
///
/// Serializes as clients see it: `{"id","name","status","version","created_at","updated_at"}` and, for an order that
/// failed or was cancelled, `"reason"`; times are RFC 3339 in UTC. An absent order is `{"id","version":0}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Whose it is.
    pub id: OrderId,
    /// What the events so far make of it.
    pub order: Order,
    /// How many events that were.
    pub version: Version,
    /// When the first event was recorded; the epoch at version 0.
    pub created_at: Timestamp,
    /// When the last one was; the epoch at version 0.
    pub updated_at: Timestamp,
}

/// The event is not the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("version {found} can't follow version {have}")]
pub struct Gap {
    /// The snapshot's version.
    pub have: Version,
    /// The event's version.
    pub found: Version,
}

impl Snapshot {
    /// An order before its first event.
    #[must_use]
    pub fn absent(id: OrderId) -> Self {
        Self {
            id,
            order: Order::Absent,
            version: Version::NONE,
            created_at: Timestamp::UNIX_EPOCH,
            updated_at: Timestamp::UNIX_EPOCH,
        }
    }

    /// Takes in the next event.
    ///
    /// # Errors
    /// [`Gap`] when `version` is not the next; the snapshot is unchanged then.
    pub fn apply(&mut self, version: Version, time: Timestamp, event: &Event) -> Result<(), Gap> {
        if version != self.version.next() {
            return Err(Gap { have: self.version, found: version });
        }
        if self.version == Version::NONE {
            self.created_at = time;
        }
        self.order = evolve(std::mem::take(&mut self.order), event);
        self.version = version;
        self.updated_at = time;
        Ok(())
    }
}

impl Serialize for Snapshot {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("Order", 7)?;
        object.serialize_field("id", self.id.as_str())?;
        if let Order::Present(details) = &self.order {
            object.serialize_field("name", details.name.as_str())?;
            object.serialize_field("status", &details.status)?;
            if let Some(reason) = &details.reason {
                object.serialize_field("reason", reason.as_str())?;
            }
        }
        object.serialize_field("version", &self.version)?;
        if self.version > Version::NONE {
            object.serialize_field("created_at", &self.created_at)?;
            object.serialize_field("updated_at", &self.updated_at)?;
        }
        object.end()
    }
}
