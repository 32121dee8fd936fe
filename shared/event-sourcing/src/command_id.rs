//! The identity of a command: when it is sent again, it is the same command.

use std::sync::Arc;

use crate::values::{IdempotencyKey, Invalid, visible};

/// The origin of a command's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandKind {
    /// A client's key, or an id made for a client's request that has none.
    Client,
    /// An id that follows from what caused the command: an event, or a document that is imported.
    System,
}

impl CommandKind {
    /// The word for it in stores and answers.
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
/// Guarantee: no client writes into the system's space, and no caller into another's. Kind, id and caller are one text, which is
/// what stores keep unique: `client KEY`, `client KEY ACTOR` or `system ID`. Neither a key nor an id has a space, so the text
/// can be read in one way only.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommandId(Arc<str>);

impl CommandId {
    /// A client's key. The caller, where it is known, is part of the identity: two callers may use the same key.
    #[must_use]
    pub fn client(key: &IdempotencyKey, caller: Option<&str>) -> Self {
        let kind = CommandKind::Client.name();
        Self(match caller {
            None => format!("{kind} {key}").into(),
            Some(caller) => format!("{kind} {key} {caller}").into(),
        })
    }

    /// An id of the system's own.
    ///
    /// # Errors
    /// When the id is empty, too long or has a character that is not visible ASCII.
    pub fn system(id: &str) -> Result<Self, Invalid> {
        let id = visible(id, "command id")?;
        Ok(Self(format!("{} {id}", CommandKind::System.name()).into()))
    }

    /// Reads what [`CommandId::as_str`] gave.
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

    /// The whole identity: as stores keep it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its origin.
    #[must_use]
    pub fn kind(&self) -> CommandKind {
        if self.0.starts_with(CommandKind::System.name()) { CommandKind::System } else { CommandKind::Client }
    }

    /// The client's key, or the system's id.
    #[must_use]
    pub fn id(&self) -> &str {
        self.0.split(' ').nth(1).unwrap_or_default()
    }
}
