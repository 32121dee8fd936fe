//! Snapshots: states of aggregates, stored every so many events, so that a long stream need not be folded from its first event.
//!
//! Nothing depends on a snapshot. It is made of commits that were read from the store, behind the answers of commands. It counts
//! only if its digest is right, and if the stream still has the commit that it ends with. Otherwise the events are folded from the
//! first on.

use std::fmt::Write;

use event_sourcing::{Aggregate, CommandId, Snapshot, StreamId, Version};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::commit::fold_from;
use crate::load::FIRST_PAGE;
use crate::{AnsweredCommand, Commit, EventStore, Load, StoreError, Stream, UnreadableStream, on_store};

/// The number of events between two snapshots of a stream. A shorter stream has none, and its load does not look for one.
pub const SNAPSHOT_EVERY: u64 = FIRST_PAGE;

/// The most snapshots that are stored at a time.
const BATCH: usize = 100;

/// A snapshot as the stores keep it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SnapshotRow {
    pub(crate) stream: StreamId,
    /// [`Aggregate::REVISION`].
    pub(crate) revision: u32,
    /// The version of the last event in the state.
    pub(crate) version: Version,
    /// A digest of all else, a space, and the state with its times as JSON.
    pub(crate) content: String,
}

/// What a snapshot has besides its key.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content<A> {
    /// The first version of the commit that it ends with.
    commit: Version,
    created_at: Timestamp,
    updated_at: Timestamp,
    state: A,
}

/// A stream as it was loaded, to be folded.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadedStream<A> {
    /// The aggregate as a snapshot has it; absent if the stream has none that counts.
    pub base: Snapshot<A>,
    /// The commits from the one that ends at the base on. All commits before them were published when the snapshot was made.
    pub commits: Vec<Commit>,
    /// The answer to the command that was looked for, wherever in the stream it is.
    pub answered: Option<AnsweredCommand>,
}

impl<A: Aggregate> LoadedStream<A> {
    /// Folds the stream into the aggregate.
    ///
    /// # Errors
    /// When this program does not know one of the events.
    pub fn fold(&self) -> Result<Snapshot<A>, UnreadableStream> {
        self.fold_to(Version::new(Version::MAX))
    }

    /// Folds up to this version, which is not before the base.
    ///
    /// # Errors
    /// As [`LoadedStream::fold`].
    pub fn fold_to(&self, last: Version) -> Result<Snapshot<A>, UnreadableStream> {
        let behind = self.commits.iter().filter(|commit| commit.version > self.base.version);
        fold_from(self.base.clone(), behind, last)
    }
}

impl SnapshotRow {
    fn of<A: Aggregate>(snapshot: &Snapshot<A>, commit: Version) -> Result<Self, StoreError> {
        let Snapshot { id, state, version, created_at, updated_at } = snapshot;
        let content = Content { commit, created_at: *created_at, updated_at: *updated_at, state };
        let content = serde_json::to_string(&content).map_err(|error| {
            StoreError::Unavailable(format!("a snapshot can't be written: {error}").into())
        })?;
        let row = Self { stream: id.clone(), revision: A::REVISION, version: *version, content };
        Ok(Self { content: format!("{} {}", row.digest::<A>(&row.content), row.content), ..row })
    }

    /// Returns the snapshot, and the first version of the commit that it ends with. An error says that somebody else wrote it, or
    /// that it is damaged.
    fn read<A: Aggregate>(self) -> Result<(Snapshot<A>, Version), String> {
        let (digest, content) = self.content.split_once(' ').ok_or("it has no digest")?;
        if self.revision != A::REVISION || digest != self.digest::<A>(content) {
            return Err("its digest is wrong".to_owned());
        }
        let Content { commit, created_at, updated_at, state } =
            serde_json::from_str(content).map_err(|error| error.to_string())?;
        if commit == Version::NONE || commit > self.version {
            return Err("it ends with no commit".to_owned());
        }
        Ok((Snapshot { id: self.stream, state, version: self.version, created_at, updated_at }, commit))
    }

    fn digest<A: Aggregate>(&self, content: &str) -> String {
        let Self { stream, revision, version, .. } = self;
        let digest = Sha256::digest(format!("{} {stream} {revision} {version} {content}", A::KIND));
        digest.iter().fold(String::with_capacity(64), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
}

impl EventStore {
    /// Loads a stream from its last snapshot on, and looks for a command in the whole of it.
    ///
    /// # Errors
    /// [`StoreError::Unreadable`] when the stream can't be read.
    pub async fn load_stream<A: Aggregate>(
        &self,
        stream: StreamId,
        command: Option<CommandId>,
    ) -> Result<LoadedStream<A>, StoreError> {
        let whole = Load { command, ..Load::whole(stream.clone()) };
        let (Stream { mut commits, answered }, goes_on) = self.load_first_page(&whole).await?;
        if goes_on {
            if let Some(found) = self.load_from_snapshot(&stream, Version::new(Version::MAX)).await? {
                return Ok(LoadedStream { answered, ..found });
            }
            let read = commits.last().map_or(Version::NONE, Commit::last_version);
            commits.extend(self.load(Load::after(stream.clone(), read)).await?.commits);
        }
        Ok(LoadedStream { base: Snapshot::absent(stream), commits, answered })
    }

    /// Returns the aggregate as it was at this version, or at its last one if that is lower.
    ///
    /// # Errors
    /// As [`EventStore::load_stream`].
    pub async fn state_at<A: Aggregate>(
        &self,
        stream: StreamId,
        version: Version,
    ) -> Result<Snapshot<A>, StoreError> {
        if version.get() > SNAPSHOT_EVERY
            && let Some(found) = self.load_from_snapshot::<A>(&stream, version).await?
        {
            return Ok(found.fold_to(version)?);
        }
        let load = Load { limit: Some(version.get()), ..Load::whole(stream.clone()) };
        Ok(crate::fold_to(stream, &self.load(load).await?.commits, version)?)
    }

    /// Stores the snapshots that a stream lacks behind its last one. It is for a caller that nobody waits for.
    ///
    /// Guarantee: all commits of a snapshot are marked as published. So whoever begins with it can publish what comes behind it, and
    /// leaves no earlier commit out.
    ///
    /// # Errors
    /// As [`EventStore::load_stream`].
    pub async fn add_snapshots<A: Aggregate>(&self, stream: StreamId) -> Result<(), StoreError> {
        let last = Version::new(Version::MAX);
        let (mut snapshot, commits) = match self.load_from_snapshot::<A>(&stream, last).await? {
            Some(found) => (found.base, found.commits),
            None => (Snapshot::absent(stream.clone()), self.load(Load::whole(stream)).await?.commits),
        };
        let base = snapshot.version;
        let mut due = base.plus(SNAPSHOT_EVERY as usize);
        let mut rows = Vec::new();
        let published = commits.iter().take_while(|commit| !commit.unpublished);
        for commit in published.filter(|commit| commit.version > base) {
            snapshot = fold_from(snapshot, [commit], last)?;
            if snapshot.version >= due {
                rows.push(SnapshotRow::of(&snapshot, commit.version)?);
                due = snapshot.version.plus(SNAPSHOT_EVERY as usize);
            }
        }
        while !rows.is_empty() {
            let rest = rows.split_off(rows.len().min(BATCH));
            self.put_snapshots(std::mem::replace(&mut rows, rest)).await?;
        }
        Ok(())
    }

    /// Loads a stream from the last snapshot that is not behind this version, up to the version. Returns `None` if no snapshot
    /// counts.
    async fn load_from_snapshot<A: Aggregate>(
        &self,
        stream: &StreamId,
        last: Version,
    ) -> Result<Option<LoadedStream<A>>, StoreError> {
        let Some(row) = self.snapshot(stream, A::REVISION, last).await? else { return Ok(None) };
        let version = row.version;
        let refuse = |problem: &str| {
            tracing::warn!(%stream, %version, problem, "a snapshot does not count; the events are folded from the first on");
            Ok(None)
        };
        let (base, commit) = match row.read::<A>() {
            Ok(found) => found,
            Err(problem) => return refuse(&problem),
        };
        let before = Version::new(commit.get() - 1);
        let load = Load { limit: Some(last.get() - before.get()), ..Load::after(stream.clone(), before) };
        let commits = self.load(load).await?.commits;
        // Guarantee: a snapshot counts only if the stream has the commit that the snapshot ends with.
        match commits.first() {
            Some(commit) if commit.last_version() == version => {
                Ok(Some(LoadedStream { base, commits, answered: None }))
            }
            _ => refuse("the stream has no commit that ends there"),
        }
    }

    /// Returns the last snapshot of this revision that is not behind this version.
    async fn snapshot(
        &self,
        stream: &StreamId,
        revision: u32,
        last: Version,
    ) -> Result<Option<SnapshotRow>, StoreError> {
        on_store!(self, store => store.snapshot(stream, revision, last).await)
    }

    /// Stores snapshots, in place of those that are there.
    async fn put_snapshots(&self, rows: Vec<SnapshotRow>) -> Result<(), StoreError> {
        on_store!(self, store => store.put_snapshots(rows).await)
    }
}
