//! A command id yields one outcome in a stream, and a later load finds that outcome again.

use event_sourcing::testing::Event;
use event_sourcing::{CommandId, Version};
use event_store::{AnsweredCommand, AppendError, CommandRecord, CommandResult, Commit};
use futures_util::future::join_all;

use crate::build::{
    answer, answer_to, append, append_each, commit, commit_by, hash, load, record, second, versions, wins,
};
use crate::stores::Stores;

pub(crate) async fn a_repeated_command_conflicts_and_its_answer_is_found(stores: &impl Stores) {
    let store = stores.open().await;
    append(&store, Commit { command_hash: hash(1), ..commit("a", 1, 2) }).await;
    append_each(&store, "a", [3]).await;
    for repeated in [1, 2] {
        let again = Commit { command_hash: hash(repeated), version: Version::new(4), ..commit("a", 1, 1) };
        assert!(!wins(&store, again).await);
    }
    // The hash of the first attempt tells the caller if the command is the same.
    let (version, result) = (Version::new(2), CommandResult::Events);
    let answered = AnsweredCommand { command_hash: hash(1), version, result };
    assert_eq!(answer(&store, "a", "a-command-1").await, Some(answered));
    assert_eq!(answer(&store, "a", "unheard-of").await, None);
    assert_eq!(versions(&load(&store, "a").await), [1, 3]);
}

pub(crate) async fn a_command_id_is_free_in_another_stream(stores: &impl Stores) {
    let store = stores.open().await;
    append(&store, commit_by("same", "a", 1)).await;
    append(&store, commit_by("same", "b", 1)).await;
    store.remember(record("same", "c", 0)).await.unwrap();
    assert_eq!(answer(&store, "d", "same").await, None);
}

pub(crate) async fn a_command_without_events_is_remembered(stores: &impl Stores) {
    let store = stores.open().await;
    append_each(&store, "a", 1..=2).await;
    store.remember(record("no-op", "a", 2)).await.unwrap();
    append_each(&store, "a", [3]).await;
    let (version, result) = (Version::new(2), CommandResult::AlreadyTrue);
    let answered = AnsweredCommand { command_hash: hash(9), version, result };
    assert_eq!(answer(&stores.open().await, "a", "no-op").await, Some(answered));
    // The record is no commit.
    assert_eq!(versions(&load(&store, "a").await), [1, 2, 3]);
    assert_eq!(store.scan::<Event>(None, 10).await.unwrap().commits.len(), 3);
}

pub(crate) async fn a_command_id_is_unique_among_commits_and_small_records_together(stores: &impl Stores) {
    let store = stores.open().await;
    append(&store, commit_by("changed", "a", 1)).await;
    store.remember(record("unchanged", "a", 1)).await.unwrap();
    for taken in ["changed", "unchanged"] {
        let remembered = store.remember(record(taken, "a", 1)).await;
        assert!(matches!(remembered, Err(AppendError::Conflict)), "{taken}: {remembered:?}");
        assert!(!wins(&store, commit_by(taken, "a", 2)).await, "{taken}");
    }
    assert_eq!(answer(&store, "a", "changed").await.unwrap().result, CommandResult::Events);
    assert_eq!(answer(&store, "a", "unchanged").await.unwrap().result, CommandResult::AlreadyTrue);
    append(&store, commit_by("new", "a", 2)).await;
}

pub(crate) async fn of_many_with_one_command_id_one_is_written(stores: &impl Stores) {
    let handles = [stores.open().await, stores.open().await];
    append_each(&handles[0], "a", [1]).await;
    let attempts = (0..40).map(|number| {
        let store = &handles[number / 2 % 2];
        async move {
            match number % 2 {
                0 => wins(store, commit_by("contested", "a", 2)).await,
                _ => store.remember(record("contested", "a", 1)).await.is_ok(),
            }
        }
    });
    let written = join_all(attempts).await;
    assert_eq!(written.iter().filter(|written| **written).count(), 1);
    let won_with_events = written.iter().position(|written| *written).unwrap() % 2 == 0;
    let answered = answer(&handles[1], "a", "contested").await.unwrap();
    assert_eq!(answered.result == CommandResult::Events, won_with_events);
}

pub(crate) async fn small_records_are_forgotten_when_they_are_old(stores: &impl Stores) {
    let store = stores.open().await;
    append(&store, commit_by("commit", "a", 1)).await;
    for age in 0..4 {
        let kept = CommandRecord { recorded_at: second(age), ..record(&format!("no-op-{age}"), "a", 1) };
        store.remember(kept).await.unwrap();
    }
    // A server that deletes records by itself uses its own clock, and answers 0.
    let forgotten = store.forget_answered(second(2)).await.unwrap();
    assert!([0, 2].contains(&forgotten), "{forgotten}");
    assert_eq!(store.forget_answered(second(2)).await.unwrap(), 0);
    for kept in ["no-op-2", "no-op-3", "commit"] {
        assert!(answer(&store, "a", kept).await.is_some(), "{kept}");
    }
    if forgotten == 2 {
        assert_eq!(answer(&store, "a", "no-op-1").await, None);
        store.remember(record("no-op-1", "a", 1)).await.unwrap();
    }
}

pub(crate) async fn a_rejection_is_remembered_with_its_reason(stores: &impl Stores) {
    let store = stores.open().await;
    let id = || CommandId::system("reaction").unwrap();
    // The rejected command may be the first of its stream.
    for (stream, version, reason) in [("a", 0, "es gibt sie nicht \"☃\""), ("b", 2, "")] {
        append_each(&store, stream, 1..=version).await;
        let rejection = Some(reason.into());
        let rejected = CommandRecord { command_id: id(), rejection, ..record("any", stream, version) };
        store.remember(rejected.clone()).await.unwrap();
        append_each(&store, stream, [version + 1]).await;
        let answered = AnsweredCommand {
            command_hash: hash(9),
            version: Version::new(version),
            result: CommandResult::Rejected(reason.into()),
        };
        assert_eq!(answer_to(&stores.open().await, stream, id()).await, Some(answered));
        // Neither an acceptance nor another rejection takes its place.
        let accepted = Commit { command_id: id(), ..commit(stream, version + 2, 1) };
        assert!(!wins(&store, accepted).await);
        assert!(matches!(store.remember(rejected).await, Err(AppendError::Conflict)));
    }
}

pub(crate) async fn small_records_of_the_system_are_never_forgotten(stores: &impl Stores) {
    let store = stores.open().await;
    let id = |name| CommandId::system(name).unwrap();
    for (name, rejection) in [("no-op", None), ("rejected", Some("no".into()))] {
        let kept = CommandRecord { command_id: id(name), rejection, ..record("any", "a", 0) };
        store.remember(kept).await.unwrap();
    }
    store.remember(record("no-op", "a", 0)).await.unwrap();
    stores.expire_records().await;
    assert_eq!(answer(&store, "a", "no-op").await, None);
    for name in ["no-op", "rejected"] {
        assert!(answer_to(&store, "a", id(name)).await.is_some(), "{name}");
    }
}
