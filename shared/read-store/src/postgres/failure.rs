//! What goes wrong with a server, and what of it is said.

use sqlx::error::DatabaseError;

use crate::{DropRefused, ReadStoreError, SwapRefused};

/// Why a piece of work was not done. Nothing of it was written, unless the connection broke at the commit itself.
#[derive(Debug)]
pub(super) enum Failed {
    /// The server or the way to it.
    Sql(sqlx::Error),
    /// Anything that the caller is told as it is.
    Store(ReadStoreError),
    /// Somebody else wrote first what was to be written, or the server broke a circle of waiting transactions at this one: to be
    /// done again, on what is there now.
    Overtaken,
}

impl Failed {
    pub(super) fn unavailable(why: &str) -> Self {
        Self::Store(ReadStoreError::Unavailable(why.to_owned()))
    }
}

impl From<sqlx::Error> for Failed {
    fn from(error: sqlx::Error) -> Self {
        // 40P01: a deadlock. Locks are taken in order, but whose insert waits for whose is the server's to say.
        if code(&error).as_deref() == Some("40P01") { Self::Overtaken } else { Self::Sql(error) }
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

/// Whether a table was not there. It may belong to a view that has been swapped since.
pub(super) fn is_missing_table(error: &sqlx::Error) -> bool {
    // XX000: it went while the statement waited for it ("could not open relation").
    matches!(code(error).as_deref(), Some("42P01" | "XX000"))
}

/// Whether the connection was cut, by the server or on the way.
pub(super) fn is_cut(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Protocol(_) => true,
        // 57P…: the server stops or starts, or somebody ended the session. 08…: the connection itself. 25P03: it was
        // silent within a transaction for too long.
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
        // The server's own words name the user.
        "28000" | "28P01" => {
            ReadStoreError::Unavailable("the server refuses this user or password".to_owned())
        }
        "XX001" | "XX002" => {
            ReadStoreError::Corrupt(format!("what PostgreSQL can't read: {}", error.message()))
        }
        code => ReadStoreError::Unavailable(format!("{} (SQLSTATE {code})", error.message())),
    }
}
