//! The reasons why a store did not do what it was asked.

use event_sourcing::{StreamId, Version};
use runtime::SecretUrl;
use runtime::batcher::NoWorker;
use thiserror::Error;

use crate::types::{BehindStream, HeldId, ViewId};

/// The store can't be opened by its URL.
#[derive(Debug, Error)]
pub enum OpenError {
    /// This program has no store with the URL's scheme.
    #[error("the read store {url:?} has an unknown scheme; allowed: {allowed}")]
    UnknownScheme {
        /// The URL.
        url: SecretUrl,
        /// The allowed schemes.
        allowed: String,
    },
    /// The scheme is known, but the rest of the URL is wrong, or the file that it names can't be used.
    #[error("the read store can't be opened: {0}")]
    Refused(String),
}

/// The store did not carry out a call.
#[derive(Clone, Debug, Error)]
pub enum ReadStoreError {
    /// The store can't be reached, is full or is closed. The same call may succeed later.
    #[error("the read store is not available: {0}")]
    Unavailable(String),
    /// The store holds a value that no program of ours wrote, or is damaged.
    #[error("the read store holds {0}")]
    Corrupt(String),
    /// The database refuses a value of an entry that the caller gave. (If an event makes such a value, the event is held.)
    #[error("the read store refuses a value: {0}")]
    Refused(String),
    /// The view is not being built: another rebuild has begun since, or the view is active already.
    #[error("view {} is not being built (any more)", .0.0)]
    NotBuilding(ViewId),
}

/// Why the views were not swapped.
#[derive(Clone, Debug, Error)]
pub enum SwapRefused {
    /// Streams are behind in the new view, or wait for a missing event there but not in the active view.
    #[error("{streams} streams in the new view are behind, such as {first:?}")]
    Behind {
        /// The number of these streams.
        streams: u64,
        /// The first of them, by id.
        first: BehindStream,
    },
    /// The view is not being built.
    #[error("view {0:?} is not being built")]
    NotBuilding(ViewId),
    /// The store failed.
    #[error(transparent)]
    Store(ReadStoreError),
}

impl From<ReadStoreError> for SwapRefused {
    fn from(error: ReadStoreError) -> Self {
        match error {
            ReadStoreError::NotBuilding(view) => Self::NotBuilding(view),
            other => Self::Store(other),
        }
    }
}

/// Why a held event was not dropped.
#[derive(Clone, Debug, Error)]
pub enum DropRefused {
    /// There is no such held event (any more).
    #[error("there is no held event {0}")]
    NotHeld(HeldId),
    /// The stream does not have the event's version yet: dropping the event would stop the stream for ever.
    #[error("held event {id} is needed: it is version {version} of stream {stream}, which is at {have}")]
    Needed {
        /// The held event.
        id: HeldId,
        /// Its stream.
        stream: StreamId,
        /// Its version.
        version: Version,
        /// The stream's version in the view.
        have: Version,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] ReadStoreError),
}

impl From<NoWorker> for ReadStoreError {
    fn from(error: NoWorker) -> Self {
        Self::Unavailable(error.to_string())
    }
}
