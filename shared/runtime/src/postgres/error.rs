//! The errors of a server, and their descriptions.

use std::borrow::Cow;
use std::time::Duration;

use thiserror::Error as ThisError;

use crate::secrets::note_refused_login;

/// The server can't be used now. The same call may succeed later.
#[derive(Debug, ThisError)]
pub enum Error {
    /// Other tasks have all connections.
    #[error("all its connections are busy")]
    Busy,
    /// The work took longer than this limit. It is not known if it took place.
    #[error("no answer within {} s", .0.as_secs())]
    NoAnswer(Duration),
    /// The process is shutting down.
    #[error("connecting was broken off")]
    BrokenOff,
    /// The server takes no writes.
    #[error("{READ_ONLY}")]
    ReadOnly,
    /// A newer program has migrated the tables.
    #[error("its tables were made by a newer program (schema {found}); this one knows {known}")]
    Newer {
        /// The number of migrations that were run.
        found: usize,
        /// The number of migrations that this program has.
        known: usize,
    },
    /// The server failed, or the connection to it.
    #[error("{}", describe(.0))]
    Sql(#[from] sqlx::Error),
}

/// The description of a server that takes no writes.
pub const READ_ONLY: &str =
    "the server takes no writes: it is a standby, or was the primary before a failover";

/// Returns the SQLSTATE of a server's answer.
#[must_use]
pub fn code(error: &sqlx::Error) -> Option<Cow<'_, str>> {
    error.as_database_error()?.code()
}

/// Returns true if the connection was cut, by the server or on the way.
#[must_use]
pub fn is_cut(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Protocol(_) => true,
        // - 57P…: the server stops or starts, or somebody ended the session.
        // - 08…: the connection itself failed.
        // - 25P03: the session was silent within a transaction for too long.
        sqlx::Error::Database(_) => code(error)
            .is_some_and(|code| code.starts_with("57P") || code.starts_with("08") || code == "25P03"),
        _ => false,
    }
}

/// Returns true if the server broke a deadlock by ending this statement. Nothing of its transaction was written, so it may be done
/// again.
#[must_use]
pub fn is_deadlock(error: &sqlx::Error) -> bool {
    code(error).as_deref() == Some("40P01")
}

/// Returns the server's words if it refuses a value, today and always: one that its type does not have (class 22), that breaks a
/// constraint (23), or that is beyond a limit of the server, such as the size of an index's entry (54).
#[must_use]
pub fn refusal(error: &sqlx::Error) -> Option<String> {
    let answer = error.as_database_error()?;
    let code = answer.code()?;
    let refuses = ["22", "23", "54"].iter().any(|class| code.starts_with(class));
    refuses.then(|| format!("PostgreSQL says: {} (SQLSTATE {code})", answer.message()))
}

/// Describes an error for callers, without the name of the user.
#[must_use]
pub fn describe(error: &sqlx::Error) -> String {
    let Some(answer) = error.as_database_error() else { return error.to_string() };
    match answer.code().as_deref().unwrap_or_default() {
        // The server's own message names the user.
        "28000" | "28P01" => {
            note_refused_login();
            "the server refuses this user or password".to_owned()
        }
        "25006" => READ_ONLY.to_owned(),
        code => format!("{} (SQLSTATE {code})", answer.message()),
    }
}
