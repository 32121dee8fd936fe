//! The marks of published commits. Some of them set a reminder or end one.

use std::sync::Arc;

use event_sourcing::Version;
use event_store::{Commit, CommitId, Mark, ReminderPolicy};

/// The versions of a commit whose last event awaits an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AwaitingCommit {
    first: Version,
    last: Version,
}

impl AwaitingCommit {
    pub(crate) fn of(commit: &Commit) -> Option<Self> {
        let at = |commit: &Commit| Self { first: commit.version, last: commit.last_version() };
        commit.awaits_outcome.then(|| at(commit))
    }
}

/// The knowledge that this process has of a stream when some of its commits are marked.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct StreamTip {
    /// The stream's version.
    pub(crate) version: Version,
    /// The last of the stream's commits that awaits an outcome, or awaited one.
    pub(crate) awaiting: Option<AwaitingCommit>,
}

/// Returns the marks of a run, with their effect on reminders. A mark ends the reminder of the commit before it, if this process
/// knows that commit. Any other reminder ends when it is due: then the relay reads the stream, and finds that it has moved on.
pub(crate) fn marks(run: &[Arc<Commit>], known: StreamTip) -> Vec<Mark> {
    let mut before = known.awaiting;
    let marks = run.iter().map(|commit| {
        let ends = before.filter(|before| before.last.next() == commit.version).map(|before| before.first);
        before = AwaitingCommit::of(commit);
        // A stream that has moved on needs no reminder: its next commit is in the outbox.
        let remind = match before {
            Some(awaiting) if known.version <= awaiting.last => ReminderPolicy::UntilFollowed,
            _ => ReminderPolicy::Never,
        };
        Mark { commit: CommitId { stream: commit.stream.clone(), version: commit.version }, remind, ends }
    });
    marks.collect()
}

#[cfg(test)]
mod tests {
    use event_sourcing::testing::Event;
    use event_sourcing::{Aggregate, CommandId, EncodedEvent, StreamId, testing};
    use event_store::{CommandHash, Metadata};
    use jiff::Timestamp;

    use super::*;

    fn commit(version: u64, events: Vec<Event>) -> Arc<Commit> {
        Arc::new(Commit {
            stream: StreamId::parse("a").unwrap(),
            version: Version::new(version),
            command_id: CommandId::system("a-command").unwrap(),
            command_hash: CommandHash([0; 32]),
            awaits_outcome: events.last().is_some_and(testing::Task::awaits_outcome),
            events: events.iter().map(EncodedEvent::encode).collect(),
            recorded_at: Timestamp::UNIX_EPOCH,
            metadata: Metadata::default(),
            unpublished: true,
        })
    }

    fn of(run: &[Arc<Commit>], known: StreamTip) -> Vec<(ReminderPolicy, Option<u64>)> {
        marks(run, known).into_iter().map(|mark| (mark.remind, mark.ends.map(Version::get))).collect()
    }

    #[test]
    fn what_awaits_an_outcome_is_reminded_of_until_the_next_commit_is_marked() {
        let opened = Event::TaskOpened { title: "a lamp".to_owned() };
        let start = commit(1, vec![opened, Event::TaskStarted]);
        let outcome = commit(3, vec![Event::TaskFinished]);
        let at = |version| StreamTip { version: Version::new(version), awaiting: AwaitingCommit::of(&start) };
        assert_eq!(of(&[Arc::clone(&start)], at(2)), [(ReminderPolicy::UntilFollowed, None)]);
        assert_eq!(of(&[Arc::clone(&start)], StreamTip::default()), [(ReminderPolicy::UntilFollowed, None)]);
        assert_eq!(of(&[Arc::clone(&start)], at(3)), [(ReminderPolicy::Never, None)], "it has moved on");
        assert_eq!(of(&[Arc::clone(&outcome)], at(3)), [(ReminderPolicy::Never, Some(1))]);
        assert_eq!(of(&[Arc::clone(&outcome)], StreamTip::default()), [(ReminderPolicy::Never, None)]);
        let both = of(&[start, outcome], StreamTip::default());
        assert_eq!(
            both,
            [(ReminderPolicy::UntilFollowed, None), (ReminderPolicy::Never, Some(1))],
            "the store sees both"
        );
    }
}
