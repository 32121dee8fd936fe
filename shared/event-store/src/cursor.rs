//! Positions in streams: the version that must come next, and the cursor of a scan. All variants share this code.

use event_sourcing::{StreamId, Version};

use crate::{Commit, CommitId, Page, ScanPosition, ScannedCommit, StoreError, UnreadableStream};

/// The version of a commit, if it is the one after `last`.
pub(crate) fn follows(stream: &StreamId, last: Version, found: i64) -> Result<Version, UnreadableStream> {
    let next = last.next();
    if i64::try_from(next.get()) == Ok(found) {
        return Ok(next);
    }
    Err(unreadable(stream, &format!("version {found} comes after version {last}")))
}

pub(crate) fn unreadable_at(stream: &StreamId, version: Version, problem: &str) -> UnreadableStream {
    unreadable(stream, &format!("version {version}: {problem}"))
}

pub(crate) fn unreadable(stream: &StreamId, problem: &str) -> UnreadableStream {
    UnreadableStream::new(stream.as_str(), problem)
}

/// Returns an outstanding commit. A commit that none of our programs wrote is skipped, so that it keeps a relay from no other.
pub(crate) fn outstanding(stream: &str, version: Result<i64, String>) -> Option<CommitId> {
    let named = StreamId::parse(stream).map_err(|error| error.to_string());
    match named.and_then(|named| Ok((named, version?))) {
        Ok((stream, version)) => Some(CommitId { stream, version: Version::new(version.unsigned_abs()) }),
        Err(problem) => {
            tracing::error!(stream, problem, "an unpublished or waiting commit can't be read");
            None
        }
    }
}

/// The cursor of a scan: the scan goes on after this version of this stream. The version is the last of a commit.
pub(crate) struct Cursor {
    pub(crate) stream: String,
    pub(crate) version: Version,
}

/// The cursor's version for an unreadable stream. It is behind every commit, so the scan skips the rest of the stream.
const END: Version = Version::new(Version::MAX);

impl Cursor {
    fn position(&self) -> ScanPosition {
        ScanPosition(format!("{}@{}", self.stream, self.version))
    }

    pub(crate) fn parse(position: &ScanPosition) -> Result<Self, StoreError> {
        let parse = |text: &str| {
            let (stream, version) = text.rsplit_once('@').filter(|(stream, _)| !stream.is_empty())?;
            Some(Self { stream: stream.to_owned(), version: Version::parse(version).ok()? })
        };
        parse(&position.0).ok_or_else(|| {
            StoreError::Unavailable(format!("{:?} is no position of a scan of this store", position.0).into())
        })
    }
}

/// A commit in a page.
pub(crate) trait PagedCommit {
    fn stream(&self) -> &StreamId;
    fn last_version(&self) -> Version;
}

impl<E> PagedCommit for ScannedCommit<E> {
    fn stream(&self) -> &StreamId {
        &self.stream
    }

    fn last_version(&self) -> Version {
        self.version.plus(self.events.len() - 1)
    }
}

impl PagedCommit for Commit {
    fn stream(&self) -> &StreamId {
        &self.stream
    }

    fn last_version(&self) -> Version {
        self.last_version()
    }
}

/// A page of a scan or an export under construction.
pub(crate) struct PageOfRows<C> {
    cursor: Option<Cursor>,
    rows: usize,
    page: Page<C>,
}

impl<C: PagedCommit> PageOfRows<C> {
    pub(crate) fn after(cursor: Option<Cursor>) -> Self {
        Self { cursor, rows: 0, page: Page { commits: Vec::new(), unreadable: Vec::new(), next: None } }
    }

    /// Takes the next row, which belongs to the stream `name`. `read` reads the commit that follows a version.
    pub(crate) fn take(
        &mut self,
        name: &str,
        read: impl FnOnce(&StreamId, Version) -> Result<C, StoreError>,
    ) -> Result<(), StoreError> {
        self.rows += 1;
        let version = match &self.cursor {
            Some(cursor) if cursor.stream == name => cursor.version,
            _ => Version::NONE,
        };
        // Skip the rest of a stream that can't be read.
        if version == END {
            return Ok(());
        }
        match self.stream(name).map_err(StoreError::from).and_then(|stream| read(&stream, version)) {
            Ok(commit) => {
                self.come_to(name, commit.last_version());
                self.page.commits.push(commit);
            }
            Err(StoreError::Unreadable(problem)) => {
                self.come_to(name, END);
                self.page.unreadable.push(problem);
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Returns the page. `limit` is the number of rows that was asked for; a full page has a next one.
    pub(crate) fn finish(self, limit: usize) -> Page<C> {
        let next = self.cursor.filter(|_| self.rows == limit).map(|cursor| cursor.position());
        Page { next, ..self.page }
    }

    fn stream(&self, name: &str) -> Result<StreamId, UnreadableStream> {
        match self.page.commits.last() {
            Some(commit) if commit.stream().as_str() == name => Ok(commit.stream().clone()),
            _ => StreamId::parse(name).map_err(|error| UnreadableStream::new(name, &error.to_string())),
        }
    }

    fn come_to(&mut self, name: &str, version: Version) {
        match &mut self.cursor {
            Some(cursor) if cursor.stream == name => cursor.version = version,
            cursor => *cursor = Some(Cursor { stream: name.to_owned(), version }),
        }
    }
}
