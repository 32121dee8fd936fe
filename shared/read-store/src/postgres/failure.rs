//! The failures of a server, and their descriptions for callers.

use runtime::postgres::{self, code, describe, is_deadlock, refusal};

use crate::{DropRefused, ReadStoreError, SwapRefused};

/// The reason why a piece of work was not done. Nothing of it was written, unless the connection broke at the commit itself.
#[derive(Debug)]
pub(super) enum Failure {
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

impl Failure {
    pub(super) fn unavailable(why: &str) -> Self {
        Self::Store(ReadStoreError::Unavailable(why.to_owned()))
    }
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        // Locks are taken in order, but the server decides which insert waits for which.
        if is_deadlock(&error) {
            return Self::Overtaken;
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

impl From<ReadStoreError> for Failure {
    fn from(error: ReadStoreError) -> Self {
        Self::Store(error)
    }
}

impl From<Failure> for ReadStoreError {
    fn from(failed: Failure) -> Self {
        match failed {
            Failure::Sql(error) => in_store(&error),
            Failure::Store(error) => error,
            Failure::Refused(why) => Self::Refused(why),
            Failure::Overtaken => Self::Unavailable("rows changed while they were written".to_owned()),
        }
    }
}

impl From<Failure> for SwapRefused {
    fn from(failed: Failure) -> Self {
        ReadStoreError::from(failed).into()
    }
}

impl From<Failure> for DropRefused {
    fn from(failed: Failure) -> Self {
        Self::Store(failed.into())
    }
}

/// Returns true if a table was missing. It may belong to a view that a swap has deleted since.
pub(super) fn is_missing_table(error: &sqlx::Error) -> bool {
    // XX000: the table was deleted while the statement waited for it ("could not open relation").
    matches!(code(error).as_deref(), Some("42P01" | "XX000"))
}

fn in_store(error: &sqlx::Error) -> ReadStoreError {
    match (error, code(error).as_deref()) {
        (sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_), _) => {
            ReadStoreError::Corrupt(format!("a value that no program of ours wrote: {error}"))
        }
        (_, Some("XX001" | "XX002")) => {
            ReadStoreError::Corrupt(format!("what PostgreSQL can't read: {}", describe(error)))
        }
        _ => ReadStoreError::Unavailable(describe(error)),
    }
}
