//! A commit: what one command did to one stream, as one document, so that it is atomic without a transaction.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use event_sourcing::{Aggregate, CommandId, EncodedEvent, EventType, Recorded, Snapshot, StreamId, Version};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// What one command did to one stream. Never changed once written, save that it is marked published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// The stream.
    pub stream: StreamId,
    /// The version of the first event; (stream, version) is unique.
    pub version: Version,
    /// The command; (stream, command id) is unique.
    pub command_id: CommandId,
    /// What the command asked, so that another command under the same id is told apart.
    pub command_hash: CommandHash,
    /// The events, at least one, with consecutive versions.
    pub events: Vec<EncodedEvent>,
    /// Whether its last event asks for another, which somebody else brings about.
    pub awaits_outcome: bool,
    /// When it was decided. Stores keep whole microseconds, so whoever decides rounds to them; else the commit in hand and the
    /// same commit loaded would differ.
    pub recorded_at: Timestamp,
    /// Where it came from.
    pub metadata: Metadata,
    /// Not yet known to be on the channel: the commit is its own outbox.
    pub unpublished: bool,
}

impl Commit {
    /// The version of the last event.
    #[must_use]
    pub fn last_version(&self) -> Version {
        self.version.plus(self.events.len() - 1)
    }

    /// The events with their versions.
    pub fn versioned(&self) -> impl Iterator<Item = (Version, &EncodedEvent)> {
        self.events.iter().enumerate().map(|(index, event)| (self.version.plus(index), event))
    }

    /// The events decoded, each with its place.
    ///
    /// # Errors
    /// When this program does not know one of them.
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

/// What a stream's commits make of the aggregate, from the first on.
///
/// # Errors
/// When one does not follow the one before it, or this program does not know one of its events.
pub fn fold<'a, A: Aggregate>(
    stream: StreamId,
    commits: impl IntoIterator<Item = &'a Commit>,
) -> Result<Snapshot<A>, UnreadableStream> {
    fold_to(stream, commits, Version::new(Version::MAX))
}

/// As [`fold`], up to this version: the aggregate as it was then.
///
/// # Errors
/// As [`fold`].
pub fn fold_to<'a, A: Aggregate>(
    stream: StreamId,
    commits: impl IntoIterator<Item = &'a Commit>,
    last: Version,
) -> Result<Snapshot<A>, UnreadableStream> {
    let mut snapshot = Snapshot::absent(stream);
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

/// Where a commit came from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// What all that follows from one request shares.
    pub correlation_id: String,
    /// The event (`stream@version`) that caused the command, where one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub causation_id: Option<String>,
    /// The request's trace (W3C Trace Context), where it had one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// Who asked, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
}

/// SHA-256 over what a command asks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct CommandHash(pub [u8; 32]);

impl fmt::Debug for CommandHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The small record of a command under a client's key that yielded no event, so that a late retry is answered the same.
/// Kept for [`crate::ANSWERED_KEPT`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoEvent {
    /// The stream that it was for.
    pub stream: StreamId,
    /// The command; (stream, command id) is unique among commits and these records together.
    pub command_id: CommandId,
    /// What it asked.
    pub command_hash: CommandHash,
    /// The stream's version that it was answered with.
    pub version: Version,
    /// When.
    pub recorded_at: Timestamp,
}

/// What is to be read of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Load {
    /// The stream.
    pub stream: StreamId,
    /// Only commits whose first version is after this one, which is the last of a commit; [`Version::NONE`] for all.
    pub after: Version,
    /// A command to look for in the whole stream.
    pub command: Option<CommandId>,
}

/// What was read of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stream {
    /// The commits, by version, without a gap. Empty for a stream that does not exist.
    pub commits: Vec<Commit>,
    /// How the command was answered, if it is known.
    pub answered: Option<Answered>,
}

/// A stream can't be read by this program: it has a gap, an event that a newer program wrote, or data that none of ours wrote.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the stream {stream} in the event store can't be read: {problem}")]
pub struct UnreadableStream {
    /// Its name, which may be none that is valid.
    pub stream: Arc<str>,
    /// The problem, with the version where it is.
    pub problem: Arc<str>,
}

impl UnreadableStream {
    pub(crate) fn new(stream: &str, problem: &str) -> Self {
        Self { stream: stream.into(), problem: problem.into() }
    }
}

/// How a command was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answered {
    /// What it asked.
    pub command_hash: CommandHash,
    /// The stream's version in the answer: of a commit's last event, or as the small record says.
    pub version: Version,
    /// Whether it yielded events.
    pub with_events: bool,
}

/// A commit by its place.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CommitId {
    /// Its stream.
    pub stream: StreamId,
    /// The version of its first event.
    pub version: Version,
}

/// What a scan yields of a commit: all that a fold needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scanned<E> {
    /// The stream.
    pub stream: StreamId,
    /// The version of the first event.
    pub version: Version,
    /// When it was decided.
    pub recorded_at: Timestamp,
    /// The events, at least one, with consecutive versions.
    pub events: Vec<E>,
}

/// A page of a scan.
#[derive(Clone, Debug)]
pub struct Page<E> {
    /// The commits; those of one stream come in order and without a gap, also across pages.
    pub commits: Vec<Scanned<E>>,
    /// Streams that can't be read, each once in a scan. Only commits before the problem are in the pages.
    pub unreadable: Vec<UnreadableStream>,
    /// Where the next page begins; `None` after the last.
    pub next: Option<ScanPosition>,
}

/// Where a scan has come to. Opaque, and kept as text so that a scan can go on in another process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ScanPosition(pub(crate) String);

/// What waits to be published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// How many commits.
    pub commits: u64,
    /// The earliest time at which one of them was recorded.
    pub oldest: Option<Timestamp>,
    /// The latest.
    pub newest: Option<Timestamp>,
}

impl Backlog {
    /// The age of the oldest, now. A commit that is dated in the future counts as old as it is ahead: its clock was wrong.
    #[must_use]
    pub fn age(&self, now: Timestamp) -> Duration {
        let apart = |time: Timestamp| now.duration_since(time).unsigned_abs();
        self.oldest.into_iter().chain(self.newest).map(apart).max().unwrap_or_default()
    }
}
