//! The aggregate: it decides commands. It takes a command, and returns events or a rejection.

use std::error::Error;
use std::fmt::Debug;

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Serialize, Serializer};
use thiserror::Error;

use crate::event::EventType;
use crate::values::{StreamId, Version};

/// A consistency boundary: one stream of events, decided one command at a time. The default is the state before the first event.
///
/// It serializes as its own fields. A [`Snapshot`] shows these to clients beside the id, the version and the times. The event store
/// keeps them too, so that the fold of a long stream need not begin at its first event.
pub trait Aggregate:
    Clone + Debug + Default + PartialEq + Serialize + DeserializeOwned + Send + Sync + 'static
{
    /// The aggregate's name, such as `order`. It appears in problems and in the log.
    const KIND: &'static str;
    /// The `ce_source` of its records (CloudEvents 1.0), such as `/orders`.
    const SOURCE: &'static str;
    /// The revision of the state and of its fold. Raise it when [`Aggregate::evolve`] leads to another state, or the state has
    /// another form: then no stored state of an earlier revision is read any more.
    const REVISION: u32;

    /// The commands of the aggregate.
    type Command: Command;
    /// The events of the aggregate.
    type Event: EventType;
    /// The reasons for which a command is refused.
    type Rejection: Rejection;

    /// Decides a command in this state, and returns the events that follow. A command that is already true succeeds without an
    /// event.
    ///
    /// # Errors
    /// A rejection when the state does not allow the command.
    fn decide(&self, command: Self::Command) -> Result<Vec<Self::Event>, Self::Rejection>;

    /// Returns the state after an event. An event that can't follow the state changes nothing.
    #[must_use]
    fn evolve(self, event: &Self::Event) -> Self;

    /// Returns true if another event must follow, which another command adds. Until then, this event is published again from time
    /// to time.
    #[must_use]
    fn awaits_outcome(_event: &Self::Event) -> bool {
        false
    }
}

/// A command for an aggregate.
pub trait Command: Clone + Debug + Send + Sync + 'static {
    /// The command's name in metrics, such as `create`.
    fn name(&self) -> &'static str;

    /// Returns true if the command creates the aggregate. The command handler then assumes a stream without events, and loads the
    /// stream only if that is wrong. The HTTP answer is 201.
    fn creates(&self) -> bool;
}

/// The reason for which a command was refused. A refused command changes nothing.
pub trait Rejection: Error + Clone + PartialEq + Send + Sync + 'static {
    /// Returns the answer for a client.
    fn kind(&self) -> RejectionKind;
}

/// The answer to a client whose command was rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RejectionKind {
    /// 404: the aggregate does not exist.
    NotFound,
    /// 409: the state does not allow it.
    Conflict {
        /// The problem's type, such as `not-allowed-in-state`.
        code: &'static str,
        /// The problem's title: a sentence without a period.
        title: &'static str,
        /// The field of the request that caused the conflict, if one did.
        field: Option<&'static str>,
    },
}

/// An aggregate at a version.
///
/// It serializes as clients see it: `id`, the aggregate's own fields, and `version`. From the first event on, `created_at` and
/// `updated_at` follow. Times are RFC 3339 in UTC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot<A> {
    /// The aggregate's stream.
    pub id: StreamId,
    /// The state after the events so far.
    pub state: A,
    /// The number of those events.
    pub version: Version,
    /// The time at which the first event was recorded; the epoch at version 0.
    pub created_at: Timestamp,
    /// The time at which the last event was recorded; the epoch at version 0.
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
    /// Returns the snapshot before the first event.
    #[must_use]
    pub fn absent(id: StreamId) -> Self {
        let epoch = Timestamp::UNIX_EPOCH;
        Self { id, state: A::default(), version: Version::NONE, created_at: epoch, updated_at: epoch }
    }

    /// Applies the next event.
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

    /// Applies an event that is known to be the next.
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
