//! Places in streams: what must follow what, and where a scan has come to. The same for every variant.

use domain::{OrderId, Version};

use crate::{ScanPosition, Scanned, StoreError};

/// The version of a commit, if it is the one after `last`.
pub(crate) fn follows(stream: &OrderId, last: Version, found: i64) -> Result<Version, StoreError> {
    let next = last.next();
    if i64::try_from(next.get()) == Ok(found) {
        return Ok(next);
    }
    Err(corrupt(stream, format!("version {found} comes after version {last}")))
}

pub(crate) fn corrupt_at(stream: &OrderId, version: Version, problem: &str) -> StoreError {
    corrupt(stream, format!("version {version}: {problem}"))
}

pub(crate) fn corrupt(stream: &OrderId, problem: String) -> StoreError {
    StoreError::Corrupt { stream: stream.clone(), problem: problem.into() }
}

/// A stream's name that is none can't be named as [`StoreError::Corrupt`] wants it.
pub(crate) fn known_stream(text: &str) -> Result<OrderId, StoreError> {
    OrderId::parse(text).map_err(|error| StoreError::Unavailable(format!("a stream's {error}").into()))
}

/// Where a scan is: after this version, the last of a commit, of this stream.
pub(crate) struct Place {
    pub(crate) stream: OrderId,
    pub(crate) version: Version,
}

impl Place {
    pub(crate) fn end_of(commit: &Scanned) -> Self {
        Self { stream: commit.stream.clone(), version: commit.version.plus(commit.events.len() - 1) }
    }

    pub(crate) fn position(self) -> ScanPosition {
        ScanPosition(format!("{}@{}", self.stream, self.version))
    }

    pub(crate) fn parse(position: &ScanPosition) -> Result<Self, StoreError> {
        let parse = |text: &str| {
            let (stream, version) = text.split_once('@')?;
            Some(Self { stream: OrderId::parse(stream).ok()?, version: Version::parse(version).ok()? })
        };
        parse(&position.0).ok_or_else(|| {
            StoreError::Unavailable(format!("{:?} is no position of a scan of this store", position.0).into())
        })
    }

    /// The stream by its name, and the version that a commit of it must come after; a stream that the scan has not come to
    /// begins at its first.
    pub(crate) fn before(place: Option<&Self>, stream: &str) -> Result<(OrderId, Version), StoreError> {
        match place {
            Some(place) if place.stream.as_str() == stream => Ok((place.stream.clone(), place.version)),
            _ => Ok((known_stream(stream)?, Version::NONE)),
        }
    }
}
