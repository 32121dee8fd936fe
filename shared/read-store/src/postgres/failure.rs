//! The failures of a server, and their descriptions for callers.

use runtime::postgres::{self, code, describe, is_deadlock, refusal};

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
        // Locks are taken in order, but the server decides which insert waits for which.
        if is_deadlock(&error) {
            return Self::Overtaken;
        }
        refusal(&error).map_or(Self::Sql(error), Self::Refused)
    }
}

impl From<postgres::Error> for Failed {
    fn from(error: postgres::Error) -> Self {
        match error {
            postgres::Error::Sql(error) => error.into(),
            error => Self::unavailable(&error.to_string()),
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
            Failed::Sql(error) => in_store(&error),
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
