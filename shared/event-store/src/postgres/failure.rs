//! The failures of a server, and their descriptions for callers.

use runtime::postgres::{self, code, describe, refusal};

use crate::StoreError;

/// The reason why a statement was not done. Nothing of it was written, unless the connection broke before the answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// The server failed, or the connection to it.
    Sql(sqlx::Error),
    /// An error that the caller gets as it is.
    Store(StoreError),
    /// The server refuses a value, in these words.
    Refused(String),
    /// A key is taken.
    Taken,
}

impl Failure {
    pub(super) fn unavailable(why: &str) -> Self {
        Self::Store(unavailable(why))
    }
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        // A key is taken.
        if code(&error).as_deref() == Some("23505") {
            return Self::Taken;
        }
        refusal(&error).map_or(Self::Sql(error), Self::Refused)
    }
}

impl From<postgres::Error> for Failure {
    fn from(error: postgres::Error) -> Self {
        match error {
            postgres::Error::Sql(error) => error.into(),
            error => Self::unavailable(&error.to_string()),
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<Failure> for StoreError {
    fn from(failed: Failure) -> Self {
        match failed {
            Failure::Sql(error) => unavailable(&describe(&error)),
            Failure::Store(error) => error,
            Failure::Taken => unavailable("a key is taken"),
            Failure::Refused(why) => unavailable(&format!("it can't be written: {why}")),
        }
    }
}

pub(super) fn unavailable(why: &str) -> StoreError {
    StoreError::Unavailable(why.replace('\n', " ").into())
}

/// Returns true if other connections to this server would fail as well, until one is opened and checked anew: a table is missing,
/// or the server takes no writes.
pub(super) fn needs_a_check(error: &sqlx::Error) -> bool {
    matches!(code(error).as_deref(), Some("42P01" | "25006"))
}
