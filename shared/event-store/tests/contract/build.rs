//! Short builders of commits and loads for scenarios.

use std::sync::Arc;

use event_sourcing::testing::{Event, Task};
use event_sourcing::{Aggregate, CommandId, EncodedEvent, IdempotencyKey, StreamId, Version};
use event_store::{
    AnsweredCommand, AppendError, CommandHash, CommandRecord, Commit, CommitId, EventStore, Load, Metadata,
    Namespace, Stream,
};
use jiff::Timestamp;

/// The namespace of all scenarios that need one alone.
pub(crate) fn namespace() -> Namespace {
    Namespace::of::<Task>("tasks").unwrap()
}

pub(crate) fn id(stream: &str) -> StreamId {
    StreamId::parse(stream).unwrap()
}

pub(crate) fn command(id: &str) -> CommandId {
    CommandId::client(&IdempotencyKey::parse(id).unwrap(), None)
}

pub(crate) fn hash(byte: u8) -> CommandHash {
    CommandHash([byte; 32])
}

/// A time: this many seconds after a fixed moment.
pub(crate) fn second(number: i64) -> Timestamp {
    Timestamp::from_second(1_790_000_000 + number).unwrap()
}

/// An event that depends on its version alone. The store does not check that a task's life makes sense.
pub(crate) fn event(version: u64) -> Event {
    match version % 5 {
        1 => Event::TaskOpened { title: format!("läwp \"{version}\" ☃") },
        2 => Event::TaskStarted,
        3 => Event::TaskRenamed { title: "out of stock \\ again".to_owned() },
        4 => Event::TaskFinished,
        _ => Event::TaskStopped,
    }
}

/// A commit of this many events at a version, by a command of its own. The number of its version is also the second of its time.
pub(crate) fn commit(stream: &str, version: u64, events: u64) -> Commit {
    Commit {
        stream: id(stream),
        version: Version::new(version),
        command_id: command(&format!("{stream}-command-{version}")),
        command_hash: hash(7),
        events: (version..version + events).map(|version| EncodedEvent::encode(&event(version))).collect(),
        awaits_outcome: Task::awaits_outcome(&event(version + events - 1)),
        recorded_at: second(i64::try_from(version).unwrap()),
        metadata: Metadata { correlation_id: format!("request-{version}"), ..Metadata::default() },
        unpublished: true,
    }
}

/// A commit of one event by the command of this id.
pub(crate) fn commit_by(command_id: &str, stream: &str, version: u64) -> Commit {
    Commit { command_id: command(command_id), ..commit(stream, version, 1) }
}

pub(crate) fn record(command_id: &str, stream: &str, version: u64) -> CommandRecord {
    CommandRecord {
        stream: id(stream),
        command_id: command(command_id),
        command_hash: hash(9),
        version: Version::new(version),
        rejection: None,
        recorded_at: second(0),
    }
}

pub(crate) fn place(stream: &str, version: u64) -> CommitId {
    CommitId { stream: id(stream), version: Version::new(version) }
}

pub(crate) async fn append(store: &EventStore, commit: Commit) {
    store.append(Arc::new(commit)).await.unwrap();
}

/// Appends commits of one event at these versions.
pub(crate) async fn append_each(store: &EventStore, stream: &str, versions: impl IntoIterator<Item = u64>) {
    for version in versions {
        append(store, commit(stream, version, 1)).await;
    }
}

/// Appends a commit. Returns true if it was written, and false for a conflict. A failure of the store fails the test.
pub(crate) async fn wins(store: &EventStore, commit: Commit) -> bool {
    match store.append(Arc::new(commit)).await {
        Ok(()) => true,
        Err(AppendError::Conflict) => false,
        Err(AppendError::Store(error)) => panic!("{error}"),
    }
}

pub(crate) fn whole(stream: &str) -> Load {
    Load::whole(id(stream))
}

pub(crate) async fn load(store: &EventStore, stream: &str) -> Vec<Commit> {
    store.load(whole(stream)).await.unwrap().commits
}

pub(crate) async fn answer(store: &EventStore, stream: &str, command_id: &str) -> Option<AnsweredCommand> {
    answer_to(store, stream, command(command_id)).await
}

pub(crate) async fn answer_to(
    store: &EventStore,
    stream: &str,
    command: CommandId,
) -> Option<AnsweredCommand> {
    let asked = Load { command: Some(command), ..whole(stream) };
    let Stream { answered, .. } = store.load(asked).await.unwrap();
    answered
}

/// The first versions of commits.
pub(crate) fn versions(commits: &[Commit]) -> Vec<u64> {
    commits.iter().map(|commit| commit.version.get()).collect()
}
