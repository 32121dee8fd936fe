//! The reasons why a store did not do what it was asked.

use std::sync::Arc;

use runtime::SecretUrl;
use runtime::batcher::NoWorker;
use thiserror::Error;

use crate::UnreadableStream;

/// The store can't be opened from its URL.
#[derive(Debug, Error)]
pub enum OpenError {
    /// This program has no variant for the URL's scheme.
    #[error("the event store {url:?} has an unknown scheme; allowed: {allowed}")]
    UnknownScheme {
        /// The URL.
        url: SecretUrl,
        /// The allowed schemes, with an example each.
        allowed: String,
    },
    /// The scheme is known, but the rest of the URL can't be used.
    #[error("the event store can't be opened: {0}")]
    Refused(String),
}

/// The error of a call to the store.
#[derive(Clone, Debug, Error)]
pub enum StoreError {
    /// The store can't be reached, is full or is closed. The same call may succeed later. It is not known if a write took place,
    /// so the caller repeats it under the same command id.
    #[error("the event store is not available: {0}")]
    Unavailable(Arc<str>),
    /// One stream can't be read. All others can be read.
    #[error(transparent)]
    Unreadable(#[from] UnreadableStream),
}

/// The error of a write.
#[derive(Clone, Debug, Error)]
pub enum AppendError {
    /// The version or the command id is taken. Load the stream again, look for the command id first, then decide again.
    #[error("the version or the command id is taken")]
    Conflict,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<NoWorker> for StoreError {
    fn from(_: NoWorker) -> Self {
        Self::Unavailable("it is closed".into())
    }
}
