//! The failures of a server, and their descriptions for callers.

use sqlx::error::DatabaseError;

use crate::{DropRefused, ReadStoreError, SwapRefused};

/// The reason why a piece of work was not done. Nothing of it was written, unless the connection broke at the commit itself.
#[derive(Debug)]
pub(super) enum Failed {
    /// The server failed, or the connection to it.
    Sql(sqlx::Error),
    /// An error that the caller gets as it is.
    Store(ReadStoreError),
    /// The server refuses a value, in these words.
    Refused(String),
    /// Another transaction was first to write what this one was to write, or the server chose this one to end a deadlock. The
    /// work is to be done again, on the rows as they are now.
    Overtaken,
}

impl Failed {
    pub(super) fn unavailable(why: &str) -> Self {
        Self::Store(ReadStoreError::Unavailable(why.to_owned()))
    }
}

impl From<sqlx::Error> for Failed {
    fn from(error: sqlx::Error) -> Self {
        // 40P01: a deadlock. Locks are taken in order, but the server decides which insert waits for which.
        match code(&error).as_deref() {
            Some("40P01") => Self::Overtaken,
            Some(code) if is_refusal(code) => Self::Refused(in_words(&error, code)),
            _ => Self::Sql(error),
        }
    }
}

impl From<ReadStoreError> for Failed {
    fn from(error: ReadStoreError) -> Self {
        Self::Store(error)
    }
}

impl From<Failed> for ReadStoreError {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Sql(error) => describe(&error),
            Failed::Store(error) => error,
            Failed::Refused(why) => Self::Refused(why),
            Failed::Overtaken => Self::Unavailable("rows changed while they were written".to_owned()),
        }
    }
}

impl From<Failed> for SwapRefused {
    fn from(failed: Failed) -> Self {
        ReadStoreError::from(failed).into()
    }
}

impl From<Failed> for DropRefused {
    fn from(failed: Failed) -> Self {
        Self::Store(failed.into())
    }
}

/// Returns true if the server refuses a value, today and always: one that its type does not have (class 22), that breaks a
/// constraint (23), or that is beyond a limit of the server, such as the size of an index's entry (54).
fn is_refusal(code: &str) -> bool {
    ["22", "23", "54"].iter().any(|class| code.starts_with(class))
}

fn in_words(error: &sqlx::Error, code: &str) -> String {
    let message = error.as_database_error().map_or("", DatabaseError::message);
    format!("PostgreSQL says: {message} (SQLSTATE {code})")
}

/// Returns true if a table was missing. It may belong to a view that a swap has deleted since.
pub(super) fn is_missing_table(error: &sqlx::Error) -> bool {
    // XX000: the table was deleted while the statement waited for it ("could not open relation").
    matches!(code(error).as_deref(), Some("42P01" | "XX000"))
}

/// Returns true if the connection was cut, by the server or on the way.
pub(super) fn is_cut(error: &sqlx::Error) -> bool {
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

fn code(error: &sqlx::Error) -> Option<String> {
    error.as_database_error()?.code().map(|code| code.into_owned())
}

fn describe(error: &sqlx::Error) -> ReadStoreError {
    match error {
        sqlx::Error::Database(error) => describe_answer(error.as_ref()),
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => {
            ReadStoreError::Corrupt(format!("a value that no program of ours wrote: {error}"))
        }
        other => ReadStoreError::Unavailable(other.to_string()),
    }
}

fn describe_answer(error: &dyn DatabaseError) -> ReadStoreError {
    let code = error.code();
    match code.as_deref().unwrap_or_default() {
        // The server's own message names the user.
        "28000" | "28P01" => {
            ReadStoreError::Unavailable("the server refuses this user or password".to_owned())
        }
        "XX001" | "XX002" => {
            ReadStoreError::Corrupt(format!("what PostgreSQL can't read: {}", error.message()))
        }
        code => ReadStoreError::Unavailable(format!("{} (SQLSTATE {code})", error.message())),
    }
}
