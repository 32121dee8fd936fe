//! What decides: commands in, events or a rejection out.

use std::error::Error;
use std::fmt::Debug;

use jiff::Timestamp;
use serde::{Serialize, Serializer};
use thiserror::Error;

use crate::event::EventType;
use crate::values::{StreamId, Version};

/// A consistency boundary: one stream of events, decided one command at a time. The default is its state before the first event.
///
/// Serializes as its fields are shown to clients, beside the id, the version and the times of a [`Snapshot`].
pub trait Aggregate: Clone + Debug + Default + PartialEq + Serialize + Send + Sync + 'static {
    /// What it is called, such as `order`: in problems and in the log.
    const KIND: &'static str;
    /// The `ce_source` of its records (CloudEvents 1.0), such as `/orders`.
    const SOURCE: &'static str;

    /// What somebody wants of it.
    type Command: Command;
    /// What happened to it.
    type Event: EventType;
    /// Why a command was refused.
    type Rejection: Rejection;

    /// What happens when this command meets this state. A command that is already true yields no event and succeeds.
    ///
    /// # Errors
    /// A rejection when the state does not allow the command.
    fn decide(&self, command: Self::Command) -> Result<Vec<Self::Event>, Self::Rejection>;

    /// The state after an event. An event that can't follow the state changes nothing.
    #[must_use]
    fn evolve(self, event: &Self::Event) -> Self;

    /// Whether another event must follow, which somebody else brings about: until then it is published again from time to time.
    #[must_use]
    fn awaits_outcome(_event: &Self::Event) -> bool {
        false
    }
}

/// What somebody wants of an aggregate.
pub trait Command: Clone + Debug + Send + Sync + 'static {
    /// The command's name in metrics, such as `create`.
    fn name(&self) -> &'static str;

    /// Whether it makes the aggregate: then a stream without events is assumed, and loaded only if that is wrong; and its answer is
    /// 201.
    fn creates(&self) -> bool;
}

/// Why a command was refused. Nothing was changed.
pub trait Rejection: Error + Clone + PartialEq + Send + Sync + 'static {
    /// What a client is told.
    fn kind(&self) -> RejectionKind;
}

/// What a client is told of a rejection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RejectionKind {
    /// 404: the command is for something that does not exist.
    NotFound,
    /// 409: the state does not allow it.
    Conflict {
        /// The problem's type, such as `not-allowed-in-state`.
        code: &'static str,
        /// The problem's title: a sentence without a period.
        title: &'static str,
        /// The field of the request that is at fault, if one is.
        field: Option<&'static str>,
    },
}

/// An aggregate at a version.
///
/// Serializes as clients see it: `id`, the aggregate's own fields, `version`, and from the first event on `created_at` and
/// `updated_at`; times are RFC 3339 in UTC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot<A> {
    /// Its stream.
    pub id: StreamId,
    /// What the events so far make of it.
    pub state: A,
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

impl<A: Aggregate> Snapshot<A> {
    /// Before the first event.
    #[must_use]
    pub fn absent(id: StreamId) -> Self {
        let epoch = Timestamp::UNIX_EPOCH;
        Self { id, state: A::default(), version: Version::NONE, created_at: epoch, updated_at: epoch }
    }

    /// Takes in the next event.
    ///
    /// # Errors
    /// [`Gap`] when `version` is not the next; the snapshot is unchanged then.
    pub fn apply(&mut self, version: Version, time: Timestamp, event: &A::Event) -> Result<(), Gap> {
        if version != self.version.next() {
            return Err(Gap { have: self.version, found: version });
        }
        self.push(time, event);
        Ok(())
    }

    /// Takes in an event that is known to be the next.
    pub fn push(&mut self, time: Timestamp, event: &A::Event) {
        if self.version == Version::NONE {
            self.created_at = time;
        }
        self.state = std::mem::take(&mut self.state).evolve(event);
        self.version = self.version.next();
        self.updated_at = time;
    }
}

impl<A: Aggregate> Serialize for Snapshot<A> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct SnapshotBody<'a, A> {
            id: &'a StreamId,
            #[serde(flatten)]
            state: &'a A,
            version: Version,
            #[serde(skip_serializing_if = "Option::is_none")]
            created_at: Option<Timestamp>,
            #[serde(skip_serializing_if = "Option::is_none")]
            updated_at: Option<Timestamp>,
        }
        let of_an_event = |time| (self.version > Version::NONE).then_some(time);
        SnapshotBody {
            id: &self.id,
            state: &self.state,
            version: self.version,
            created_at: of_an_event(self.created_at),
            updated_at: of_an_event(self.updated_at),
        }
        .serialize(serializer)
    }
}
