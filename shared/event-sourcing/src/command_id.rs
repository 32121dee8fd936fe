//! The identity of a command. A command that is sent again has the same identity.

use std::sync::Arc;

use crate::reaction::{Occasion, Reaction};
use crate::values::{IdempotencyKey, Invalid, visible};
use crate::wire::Recorded;

/// The origin of a command's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandKind {
    /// A client's key, or an id made for a client's request that has none.
    Client,
    /// An id derived from the cause of the command: an event, or an imported document.
    System,
}

impl CommandKind {
    /// Returns the kind's name in stores and answers.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::System => "system",
        }
    }
}

/// The identity of a command, unique within a stream. Cheap to clone.
///
/// Guarantee: no client writes into the system's space, and no caller into another's. Kind, id and caller form one text, which
/// stores keep unique: `client KEY`, `client KEY ACTOR` or `system ID`. Neither a key nor an id has a space, so the text has only
/// one meaning.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommandId(Arc<str>);

impl CommandId {
    /// Creates the id of a client's command from its key. A known caller is part of the identity: two callers may use the same
    /// key.
    #[must_use]
    pub fn client(key: &IdempotencyKey, caller: Option<&str>) -> Self {
        let kind = CommandKind::Client.name();
        Self(match caller {
            None => format!("{kind} {key}").into(),
            Some(caller) => format!("{kind} {key} {caller}").into(),
        })
    }

    /// Creates an id of the system's own.
    ///
    /// # Errors
    /// When the id is empty, too long or has a character that is not visible ASCII.
    pub fn system(id: &str) -> Result<Self, Invalid> {
        let id = visible(id, "command id")?;
        Ok(Self(format!("{} {id}", CommandKind::System.name()).into()))
    }

    /// Returns the id of a reaction's command: `system reaction:NAME:STREAM@VERSION:OCCASION:INDEX`. It follows from the event, the
    /// reaction's name, the occasion and the command's place among those of the event. So a repeat of the delivery has the same id.
    ///
    /// The name must have 1 to 64 visible ASCII characters. With any other name the program does not compile.
    #[must_use]
    pub fn reaction<R: Reaction>(recorded: &Recorded<R::Event>, occasion: Occasion, index: usize) -> Self {
        const { assert!(is_name(R::NAME.as_bytes()), "a reaction's name has 1 to 64 visible ASCII characters") };
        // A stream's name has neither `:` nor `@`, so each id has one meaning. It has 255 characters at most.
        let (kind, name) = (CommandKind::System.name(), R::NAME);
        let Recorded { stream, version, .. } = recorded;
        Self(format!("{kind} reaction:{name}:{stream}@{version}:{}:{index}", occasion.number()).into())
    }

    /// Parses the text that [`CommandId::as_str`] returned.
    ///
    /// # Errors
    /// When the text has no kind, or no id.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let refuse = || Invalid {
            what: "command id",
            problem: format!("is {text:?}"),
            allowed: "client KEY, client KEY ACTOR, system ID",
        };
        let (kind, rest) = text.split_once(' ').ok_or_else(refuse)?;
        let id = match kind {
            "client" => rest.split_once(' ').map_or(rest, |(key, _)| key),
            "system" => rest,
            _ => return Err(refuse()),
        };
        visible(id, "command id")?;
        Ok(Self(text.into()))
    }

    /// Returns the whole identity, as stores keep it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the id's origin.
    #[must_use]
    pub fn kind(&self) -> CommandKind {
        if self.0.starts_with(CommandKind::System.name()) { CommandKind::System } else { CommandKind::Client }
    }

    /// Returns the client's key, or the system's id.
    #[must_use]
    pub fn id(&self) -> &str {
        self.0.split(' ').nth(1).unwrap_or_default()
    }
}

const fn is_name(name: &[u8]) -> bool {
    let mut index = 0;
    while index < name.len() {
        if !name[index].is_ascii_graphic() {
            return false;
        }
        index += 1;
    }
    !name.is_empty() && name.len() <= 64
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::testing::{Command, Event, OpenSuccessor, Task};
    use crate::{StreamId, Version};

    fn finished(stream: &str, version: u64) -> Recorded<Event> {
        let stream = StreamId::parse(stream).unwrap();
        let time = Timestamp::UNIX_EPOCH;
        Recorded { stream, version: Version::new(version), time, event: Event::TaskFinished }
    }

    #[test]
    fn the_id_of_a_reactions_command_is_the_systems_and_follows_from_event_occasion_and_place() {
        let id = |event, occasion, index| CommandId::reaction::<OpenSuccessor>(&event, occasion, index);
        let first = id(finished("a", 3), Occasion::FirstDelivery, 0);
        assert_eq!(first.as_str(), "system reaction:open-successor:a@3:0:0");
        assert_eq!(first, id(finished("a", 3), Occasion::FirstDelivery, 0));
        assert_eq!(
            (first.kind(), CommandId::parse(first.as_str())),
            (CommandKind::System, Ok(first.clone()))
        );
        for other in [
            id(finished("b", 3), Occasion::FirstDelivery, 0),
            id(finished("a", 4), Occasion::FirstDelivery, 0),
            id(finished("a", 3), Occasion::from(1), 0),
            id(finished("a", 3), Occasion::FirstDelivery, 1),
            CommandId::reaction::<Reopen>(&finished("a", 3), Occasion::FirstDelivery, 0),
        ] {
            assert_ne!(first, other);
        }
    }

    struct Reopen;

    impl Reaction for Reopen {
        const NAME: &'static str = "a-name-of-64-characters-----------------------------------------";
        type Event = Event;
        type Target = Task;

        fn react(_: &Recorded<Event>, _: Occasion) -> Vec<(StreamId, Command)> {
            vec![]
        }
    }

    #[test]
    fn the_longest_id_of_a_reactions_command_is_one_that_stores_take() {
        let event = finished(&"a".repeat(128), Version::MAX);
        let longest = CommandId::reaction::<Reopen>(&event, Occasion::from(u32::MAX), usize::MAX);
        assert_eq!(CommandId::parse(longest.as_str()), Ok(longest));
    }
}
