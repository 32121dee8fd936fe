//! Reactions: from an event to commands on other streams.

use std::num::NonZeroU32;

use crate::aggregate::Aggregate;
use crate::event::EventType;
use crate::values::StreamId;
use crate::wire::Recorded;

/// From an event to commands on other streams. The target aggregate is a type.
///
/// A reaction is pure, so each delivery of an event gives the same commands. Each command has an id that follows from the event,
/// the reaction's name, the occasion and the command's place in the list
/// ([`CommandId::reaction`](crate::CommandId::reaction)). So however often an event is delivered, each command takes effect once.
///
/// ```
/// use event_sourcing::{Aggregate, Command, EventType, Occasion, Reaction, Recorded, Rejection, StreamId, Version};
/// # use event_sourcing::RejectionKind;
/// # use serde::{Deserialize, Serialize};
/// #
/// # #[derive(Clone, Debug, PartialEq, thiserror::Error)]
/// # #[error("there is no such room")]
/// # struct NoRoom;
/// # impl Rejection for NoRoom {
/// #     fn kind(&self) -> RejectionKind { RejectionKind::NotFound }
/// # }
/// # #[derive(Clone, Debug, PartialEq)]
/// # enum RoomCommand { Clean }
/// # impl Command for RoomCommand {
/// #     fn name(&self) -> &'static str { "clean" }
/// #     fn creates(&self) -> bool { false }
/// # }
/// # #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
/// # enum RoomEvent { CleaningAsked }
/// # impl EventType for RoomEvent {}
/// # #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
/// # struct Room;
/// # impl Aggregate for Room {
/// #     const KIND: &'static str = "room";
/// #     const SOURCE: &'static str = "/rooms";
/// #     const REVISION: u32 = 1;
/// #     type Command = RoomCommand;
/// #     type Event = RoomEvent;
/// #     type Rejection = NoRoom;
/// #     fn decide(&self, _: RoomCommand) -> Result<Vec<RoomEvent>, NoRoom> { Ok(vec![RoomEvent::CleaningAsked]) }
/// #     fn evolve(self, _: &RoomEvent) -> Self { self }
/// # }
/// #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
/// enum StayEvent {
///     CheckedIn { room: StreamId },
///     CheckedOut { room: StreamId },
/// }
/// impl EventType for StayEvent {}
///
/// /// When a guest has left, somebody cleans the room.
/// struct CleanRoom;
///
/// impl Reaction for CleanRoom {
///     const NAME: &'static str = "clean-room";
///     type Event = StayEvent;
///     type Target = Room;
///
///     fn react(recorded: &Recorded<StayEvent>, _: Occasion) -> Vec<(StreamId, RoomCommand)> {
///         match &recorded.event {
///             StayEvent::CheckedIn { .. } => vec![],
///             StayEvent::CheckedOut { room } => vec![(room.clone(), RoomCommand::Clean)],
///         }
///     }
/// }
///
/// let room = StreamId::parse("room-7")?;
/// let left = Recorded {
///     stream: StreamId::parse("stay-1")?,
///     version: Version::new(2),
///     time: jiff::Timestamp::UNIX_EPOCH,
///     event: StayEvent::CheckedOut { room: room.clone() },
/// };
/// assert_eq!(CleanRoom::react(&left, Occasion::FirstDelivery), [(room, RoomCommand::Clean)]);
/// # Ok::<(), event_sourcing::Invalid>(())
/// ```
pub trait Reaction {
    /// The reaction's name, unique among the reactions of all aggregates' events: 1 to 64 visible ASCII characters. It is part of
    /// stored command ids. Under another name, an event that is delivered again takes effect again.
    const NAME: &'static str;

    /// The events that it reacts to.
    type Event: EventType;
    /// The aggregate that decides its commands.
    type Target: Aggregate;

    /// Returns the commands that follow from an event, each with its stream. They are carried out in this sequence.
    fn react(
        recorded: &Recorded<Self::Event>,
        occasion: Occasion,
    ) -> Vec<(StreamId, <Self::Target as Aggregate>::Command)>;
}

/// The occasion of a delivery. The number of a reminder is in the ids of the commands that follow, so each reminder may bring about
/// commands of its own. The header [`wire::REMINDER`](crate::wire::REMINDER) of a record tells it:
/// [`wire::occasion`](crate::wire::occasion).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Occasion {
    /// The event was published because it was recorded. The channel may deliver it several times.
    FirstDelivery,
    /// The event was published again because its outcome did not come: this is the number of the reminder, from 1.
    Reminder(NonZeroU32),
}

impl Occasion {
    /// Returns the number of the reminder; 0 for a first delivery.
    #[must_use]
    pub fn number(self) -> u32 {
        match self {
            Self::FirstDelivery => 0,
            Self::Reminder(number) => number.get(),
        }
    }
}

impl From<u32> for Occasion {
    fn from(number: u32) -> Self {
        NonZeroU32::new(number).map_or(Self::FirstDelivery, Self::Reminder)
    }
}
