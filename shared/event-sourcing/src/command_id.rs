//! The identity of a command. A command that is sent again has the same identity.

use std::sync::Arc;

use crate::values::{IdempotencyKey, Invalid, visible};

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
