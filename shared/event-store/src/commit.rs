//! A commit: the result of one command on one stream. It is stored as one document, so it is atomic without a transaction.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use event_sourcing::{Aggregate, CommandId, EncodedEvent, EventType, Recorded, Snapshot, StreamId, Version};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The result of one command on one stream. Once written, it never changes, except that it is marked as published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// The stream.
    pub stream: StreamId,
    /// The version of the first event; (stream, version) is unique.
    pub version: Version,
    /// The command; (stream, command id) is unique.
    pub command_id: CommandId,
    /// The hash of the command's content. It tells apart another command under the same id.
    pub command_hash: CommandHash,
    /// The events, at least one, with consecutive versions.
    pub events: Vec<EncodedEvent>,
    /// True if the commit's last event awaits an outcome: another event, which another command of the stream adds.
    pub awaits_outcome: bool,
    /// The time of the decision. The stores keep whole microseconds, so the command handler rounds to them. Without that, the
    /// commit in memory would differ from the same commit when it is loaded.
    pub recorded_at: Timestamp,
    /// The origin of the commit.
    pub metadata: Metadata,
    /// True until the commit is known to be on the channel. The commit is its own outbox.
    pub unpublished: bool,
}

impl Commit {
    /// The version of the last event.
    #[must_use]
    pub fn last_version(&self) -> Version {
        self.version.plus(self.events.len() - 1)
    }

    /// Returns the events with their versions.
    pub fn versioned(&self) -> impl Iterator<Item = (Version, &EncodedEvent)> {
        self.events.iter().enumerate().map(|(index, event)| (self.version.plus(index), event))
    }

    /// Decodes the events, each with its stream, version and time.
    ///
    /// # Errors
    /// When this program does not know one of the events.
    pub fn recorded<E: EventType>(&self) -> Result<Vec<Recorded<E>>, UnreadableStream> {
        let decode = |(version, event): (Version, &EncodedEvent)| match event.decode() {
            Ok(event) => Ok(Recorded { stream: self.stream.clone(), version, time: self.recorded_at, event }),
            Err(problem) => {
                Err(UnreadableStream::new(self.stream.as_str(), &format!("version {version}: {problem}")))
            }
        };
        self.versioned().map(decode).collect()
    }
}

/// Folds a stream's commits, from the first on, into the aggregate's snapshot.
///
/// # Errors
/// When a commit does not follow the one before it, or this program does not know one of its events.
pub fn fold<'a, A: Aggregate>(
    stream: StreamId,
    commits: impl IntoIterator<Item = &'a Commit>,
) -> Result<Snapshot<A>, UnreadableStream> {
    fold_to(stream, commits, Version::new(Version::MAX))
}

/// Folds as [`fold`] does, up to this version. The result is the aggregate as it was then.
///
/// # Errors
/// As [`fold`].
pub fn fold_to<'a, A: Aggregate>(
    stream: StreamId,
    commits: impl IntoIterator<Item = &'a Commit>,
    last: Version,
) -> Result<Snapshot<A>, UnreadableStream> {
    fold_from(Snapshot::absent(stream), commits, last)
}

/// Folds as [`fold_to`] does, from a snapshot on. The first commit is the one right behind it.
pub(crate) fn fold_from<'a, A: Aggregate>(
    mut snapshot: Snapshot<A>,
    commits: impl IntoIterator<Item = &'a Commit>,
    last: Version,
) -> Result<Snapshot<A>, UnreadableStream> {
    for commit in commits.into_iter().take_while(|commit| commit.version <= last) {
        for Recorded { version, time, event, .. } in commit.recorded::<A::Event>()? {
            if version > last {
                return Ok(snapshot);
            }
            snapshot
                .apply(version, time, &event)
                .map_err(|gap| UnreadableStream::new(commit.stream.as_str(), &gap.to_string()))?;
        }
    }
    Ok(snapshot)
}

/// The origin of a commit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// The id that everything which follows from one request shares.
    pub correlation_id: String,
    /// The event (`stream@version`) that caused the command, if an event did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub causation_id: Option<String>,
    /// The request's trace (W3C Trace Context), if it had one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// The caller that sent the request, if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
}

/// The SHA-256 of a command's content.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct CommandHash(pub [u8; 32]);

impl fmt::Debug for CommandHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The time for which the store keeps the small record of a client's command without events.
pub const ANSWERED_KEPT: Duration = Duration::from_secs(24 * 60 * 60);

/// The small record of a command that yielded no event. It lets a late retry get the same answer. The store keeps a client's for
/// [`ANSWERED_KEPT`], and the system's for ever: the channel may deliver an event again after any time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandRecord {
    /// The command's stream.
    pub stream: StreamId,
    /// The command; (stream, command id) is unique among commits and these records together.
    pub command_id: CommandId,
    /// The hash of the command's content.
    pub command_hash: CommandHash,
    /// The stream's version in the answer.
    pub version: Version,
    /// The reason for which the command was rejected, as text; `None` if it was already true.
    pub rejection: Option<Arc<str>>,
    /// The time of the answer.
    pub recorded_at: Timestamp,
}

#[cfg(any(feature = "mongodb", feature = "postgres"))]
impl CommandRecord {
    /// Returns true if the store may delete the record after [`ANSWERED_KEPT`].
    pub(crate) fn expires(&self) -> bool {
        self.command_id.kind() == event_sourcing::CommandKind::Client
    }
}

/// One stream to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Load {
    /// The stream.
    pub stream: StreamId,
    /// Only commits whose first version is greater than this one are read. It must be the last version of a commit, or
    /// [`Version::NONE`] for the whole stream.
    pub after: Version,
    /// Only commits that begin within so many versions behind `after` are read, so there are at most so many. `None`: all.
    pub limit: Option<u64>,
    /// A command to look for, in the whole stream.
    pub command: Option<CommandId>,
}

impl Load {
    /// All commits of the stream.
    #[must_use]
    pub const fn whole(stream: StreamId) -> Self {
        Self::after(stream, Version::NONE)
    }

    /// The commits behind this version, which is the last of a commit.
    #[must_use]
    pub const fn after(stream: StreamId, after: Version) -> Self {
        Self { stream, after, limit: None, command: None }
    }

    /// The greatest first version of a commit that is read.
    pub(crate) fn until(&self) -> Version {
        let until = self.after.get().saturating_add(self.limit.unwrap_or(Version::MAX));
        Version::new(until.min(Version::MAX))
    }
}

/// The result of reading a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stream {
    /// The commits, by version, without a gap. Empty for a stream that does not exist.
    pub commits: Vec<Commit>,
    /// The answer to the command that the load names, if the stream has that command.
    pub answered: Option<AnsweredCommand>,
}

/// The error of a stream that this program can't read. The stream has a gap, an event of a newer program, or data that none of
/// our programs wrote.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the stream {stream} in the event store can't be read: {problem}")]
pub struct UnreadableStream {
    /// The stream's name. It may be invalid.
    pub stream: Arc<str>,
    /// The problem, with the version at which it is.
    pub problem: Arc<str>,
}

impl UnreadableStream {
    pub(crate) fn new(stream: &str, problem: &str) -> Self {
        Self { stream: stream.into(), problem: problem.into() }
    }
}

/// The answer to a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnsweredCommand {
    /// The hash of the command's content.
    pub command_hash: CommandHash,
    /// The stream's version in the answer: that of the commit's last event, or that of the small record.
    pub version: Version,
    /// The result of the command.
    pub result: CommandResult,
}

/// The result of a command that was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandResult {
    /// It yielded events.
    Events,
    /// It was already true.
    AlreadyTrue,
    /// It was rejected, for this reason.
    Rejected(Arc<str>),
}

impl CommandResult {
    /// Returns the result of a command that has a small record.
    pub(crate) fn without_events(rejection: Option<Arc<str>>) -> Self {
        rejection.map_or(Self::AlreadyTrue, Self::Rejected)
    }
}

/// The identity of a commit.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CommitId {
    /// Its stream.
    pub stream: StreamId,
    /// The version of its first event.
    pub version: Version,
}

/// A commit in a scan, with all that a fold needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScannedCommit<E> {
    /// The stream.
    pub stream: StreamId,
    /// The version of the first event.
    pub version: Version,
    /// The time of the decision.
    pub recorded_at: Timestamp,
    /// The events, at least one, with consecutive versions.
    pub events: Vec<E>,
}

/// A page of a scan, or of an export.
#[derive(Clone, Debug)]
pub struct Page<C> {
    /// The commits. Those of one stream come in order and without a gap, also across pages.
    pub commits: Vec<C>,
    /// Streams that can't be read. A scan names each of them once, and yields only their commits before the problem.
    pub unreadable: Vec<UnreadableStream>,
    /// The position at which the next page begins; `None` after the last page.
    pub next: Option<ScanPosition>,
}

/// The position of a scan. It is opaque, and it is text, so that a scan can go on in another process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ScanPosition(pub(crate) String);

/// The other processes on a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct OtherProcesses {
    /// The number of those that live.
    pub alive: u64,
    /// The number of young unpublished commits that are left to the processes that appended them.
    pub left_to_them: u64,
}

/// The unpublished commits, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// The number of commits.
    pub commits: u64,
    /// The earliest time at which one of them was recorded.
    pub oldest: Option<Timestamp>,
    /// The latest time at which one of them was recorded.
    pub newest: Option<Timestamp>,
}

impl Backlog {
    /// Returns the age of the oldest commit. A commit that is dated in the future had a wrong clock: its age is the time that it
    /// is ahead.
    #[must_use]
    pub fn age(&self, now: Timestamp) -> Duration {
        let apart = |time: Timestamp| now.duration_since(time).unsigned_abs();
        self.oldest.into_iter().chain(self.newest).map(apart).max().unwrap_or_default()
    }
}
