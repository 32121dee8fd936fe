//! The failures of a server, and their descriptions for callers.

use sqlx::error::DatabaseError;

use crate::StoreError;

/// The reason why a statement was not done. Nothing of it was written, unless the connection broke before the answer.
#[derive(Debug)]
pub(super) enum Failed {
    /// The server failed, or the connection to it.
    Sql(sqlx::Error),
    /// An error that the caller gets as it is.
    Store(StoreError),
    /// The server refuses a value, in these words.
    Refused(String),
}

impl Failed {
    pub(super) fn unavailable(why: &str) -> Self {
        Self::Store(unavailable(why))
    }
}

impl From<sqlx::Error> for Failed {
    fn from(error: sqlx::Error) -> Self {
        match code(&error).as_deref() {
            Some(code) if is_refusal(code) => {
                let message = error.as_database_error().map_or("", DatabaseError::message);
                Self::Refused(format!("PostgreSQL says: {message} (SQLSTATE {code})"))
            }
            _ => Self::Sql(error),
        }
    }
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<Failed> for StoreError {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Sql(error) => describe(&error),
            Failed::Store(error) => error,
            Failed::Refused(why) => unavailable(&format!("it can't be written: {why}")),
        }
    }
}

pub(super) fn unavailable(why: &str) -> StoreError {
    StoreError::Unavailable(why.replace('\n', " ").into())
}

/// The description of a server that takes no writes.
pub(super) const READ_ONLY: &str =
    "the server takes no writes: it is a standby, or was the primary before a failover";

/// Returns true if the server refuses a value, today and always: one that its type does not have (class 22), that breaks a
/// constraint (23), or that is beyond a limit of the server, such as the size of an index's entry (54).
fn is_refusal(code: &str) -> bool {
    ["22", "23", "54"].iter().any(|class| code.starts_with(class))
}

/// Returns true if the server broke a deadlock by ending this statement. Nothing of it was written, so it may be done again.
pub(super) fn is_deadlock(error: &sqlx::Error) -> bool {
    code(error).as_deref() == Some("40P01")
}

/// Returns true if other connections to this server would fail as well, until one is opened and checked anew: a table is missing,
/// or the server takes no writes.
pub(super) fn needs_a_check(error: &sqlx::Error) -> bool {
    matches!(code(error).as_deref(), Some("42P01" | "25006"))
}

/// Returns true if the connection was cut, by the server or on the way.
pub(super) fn is_cut(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Protocol(_) => true,
        // - 57P…: the server stops or starts, or somebody ended the session.
        // - 08…: the connection itself failed.
        sqlx::Error::Database(_) => {
            code(error).is_some_and(|code| code.starts_with("57P") || code.starts_with("08"))
        }
        _ => false,
    }
}

fn code(error: &sqlx::Error) -> Option<String> {
    error.as_database_error()?.code().map(|code| code.into_owned())
}

fn describe(error: &sqlx::Error) -> StoreError {
    let sqlx::Error::Database(answer) = error else { return unavailable(&error.to_string()) };
    match answer.code().as_deref().unwrap_or_default() {
        // The server's own message names the user.
        "28000" | "28P01" => unavailable("the server refuses this user or password"),
        "25006" => unavailable(READ_ONLY),
        code => unavailable(&format!("{} (SQLSTATE {code})", answer.message())),
    }
}
