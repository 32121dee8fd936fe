//! One winner a version, no gap, no duplicate; each append has its own outcome.

use std::sync::Arc;

use event_sourcing::Version;
use event_store::{AppendError, Commit, EventStore, Metadata};
use futures_util::future::join_all;

use crate::build::{self, append, append_each, commit, commit_by, load, versions, wins};
use crate::stores::Stores;

pub(crate) async fn a_commit_is_loaded_as_it_was_appended(stores: &impl Stores) {
    let store = stores.open().await;
    let metadata = Metadata {
        correlation_id: "request".into(),
        causation_id: Some("other@3".into()),
        traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
        actor: Some("alice".into()),
    };
    let first = Commit { metadata, ..commit("a", 1, 5) };
    let second = commit("a", 6, 1);
    append(&store, first.clone()).await;
    append(&store, second.clone()).await;
    assert_eq!(load(&stores.open().await, "a").await, [first, second]);
}

pub(crate) async fn of_many_who_append_at_once_one_wins_each_version(stores: &impl Stores) {
    const WRITERS: usize = 16;
    const EACH: usize = 12;
    let handles = [stores.open().await, stores.open().await];
    let writers = (0..WRITERS).map(|writer| {
        let store = handles[writer % handles.len()].clone();
        tokio::spawn(async move {
            for number in 0..EACH {
                win_a_version(&store, &format!("{writer}-{number}")).await;
            }
        })
    });
    for writer in join_all(writers.collect::<Vec<_>>()).await {
        writer.unwrap();
    }

    let commits = load(&handles[0], "contested").await;
    let expected: Vec<u64> = (1..=(WRITERS * EACH) as u64).collect();
    assert_eq!(versions(&commits), expected);
    let mut winners: Vec<&str> = commits.iter().map(|commit| commit.command_id.as_str()).collect();
    winners.sort_unstable();
    winners.dedup();
    assert_eq!(winners.len(), WRITERS * EACH);
}

async fn win_a_version(store: &EventStore, command_id: &str) {
    loop {
        let next = load(store, "contested").await.last().map_or(Version::NONE, Commit::last_version).next();
        if wins(store, commit_by(command_id, "contested", next.get())).await {
            return;
        }
    }
}

pub(crate) async fn a_version_is_taken_once(stores: &impl Stores) {
    let (one, other) = (stores.open().await, stores.open().await);
    append(&one, commit_by("first", "a", 1)).await;
    for store in [&one, &other] {
        assert!(!wins(store, commit_by("second", "a", 1)).await);
    }
    let commits = load(&other, "a").await;
    assert_eq!(commits, [commit_by("first", "a", 1)]);
}

pub(crate) async fn a_version_in_the_middle_of_a_commit_is_taken(stores: &impl Stores) {
    let store = stores.open().await;
    append_each(&store, "a", 1..=2).await;
    append(&store, commit("a", 3, 2)).await;
    assert!(!wins(&store, commit("a", 4, 1)).await);
    assert!(!wins(&store, commit("a", 2, 3)).await);
    append(&store, commit("a", 5, 1)).await;
    assert_eq!(versions(&load(&store, "a").await), [1, 2, 3, 5]);
}

pub(crate) async fn commits_of_several_events_never_overlap(stores: &impl Stores) {
    let handles = [stores.open().await, stores.open().await];
    let writers = (0..12).map(|writer: u64| {
        let store = handles[writer as usize % handles.len()].clone();
        tokio::spawn(async move {
            let mut won = 0;
            for first in 1..=24 {
                // None of the writers looks first. Most attempts begin in the middle of another's commit, or after a gap.
                let command = format!("{writer}-{first}");
                let attempt =
                    Commit { command_id: build::command(&command), ..commit("a", first, 1 + writer % 3) };
                won += u64::from(wins(&store, attempt).await) * (1 + writer % 3);
            }
            won
        })
    });
    let mut won = 0;
    for writer in join_all(writers.collect::<Vec<_>>()).await {
        won += writer.unwrap();
    }
    // The load fails if there is a gap or an overlap.
    let commits = load(&handles[0], "a").await;
    assert_eq!(commits.last().unwrap().last_version(), Version::new(won));
    assert!(won >= 24, "{won}");
}

pub(crate) async fn a_commit_that_leaves_a_version_out_is_not_stored(stores: &impl Stores) {
    let store = stores.open().await;
    assert!(!wins(&store, commit("a", 2, 1)).await);
    append_each(&store, "a", [1]).await;
    assert!(!wins(&store, commit("a", 3, 1)).await);
    assert_eq!(versions(&load(&store, "a").await), [1]);
}

pub(crate) async fn a_commit_without_events_is_not_stored(stores: &impl Stores) {
    let store = stores.open().await;
    let nothing = store.append(Arc::new(commit("a", 1, 0))).await;
    assert!(matches!(nothing, Err(AppendError::Conflict)), "{nothing:?}");
    assert_eq!(load(&store, "a").await, []);
}

pub(crate) async fn of_a_batch_in_which_some_conflict_the_others_are_stored(stores: &impl Stores) {
    const STREAMS: u64 = 120;
    let store = stores.open().await;
    // In a third of the streams version 1 is taken already. In another third the command is about to come again.
    let named = |number: u64| format!("stream-{number}");
    for number in 0..STREAMS {
        match number % 3 {
            0 => {}
            1 => append(&store, commit_by("earlier", &named(number), 1)).await,
            _ => append(&store, commit_by("again", &named(number), 1)).await,
        }
    }
    let attempts = (0..STREAMS).map(|number| {
        let version = if number % 3 == 2 { 2 } else { 1 };
        wins(&store, commit_by("again", &named(number), version))
    });
    for (number, won) in (0..).zip(join_all(attempts).await) {
        assert_eq!(won, number % 3 == 0, "stream {number}");
        let commits = load(&store, &named(number)).await;
        let command_id = if number % 3 == 1 { "earlier" } else { "again" };
        assert_eq!(commits, [commit_by(command_id, &named(number), 1)]);
    }
}

pub(crate) async fn commits_that_follow_one_another_are_appended_as_one_write(stores: &impl Stores) {
    let store = stores.open().await;
    append_each(&store, "b", [1]).await;
    let published = Commit { unpublished: false, ..commit("a", 4, 1) };
    let appended = [commit("b", 2, 2), commit("a", 1, 3), published, commit("b", 4, 1), commit("a", 5, 1)];
    store.append_all(appended.iter().cloned().map(Arc::new).collect()).await.unwrap();
    let other = stores.open().await;
    assert_eq!(load(&other, "a").await, [&appended[1], &appended[2], &appended[4]].map(Clone::clone));
    assert_eq!(versions(&load(&other, "b").await), [1, 2, 4]);
    assert_eq!(store.backlog().await.unwrap().commits, 5);
    store.append_all(Vec::new()).await.unwrap();
    append_each(&store, "a", [6]).await;
}

pub(crate) async fn of_commits_appended_as_one_write_none_is_stored_behind_a_conflict(stores: &impl Stores) {
    let store = stores.open().await;
    for stream in ["version", "command", "gap"] {
        append_each(&store, stream, 1..=2).await;
    }
    let taken = Commit { command_id: build::command("command-command-1"), ..commit("command", 4, 1) };
    for commits in [
        vec![commit("version", 2, 1), commit("version", 3, 1)],
        vec![commit("command", 3, 1), taken, commit("command", 5, 1)],
        vec![commit("gap", 4, 1), commit("gap", 5, 1)],
        vec![commit("absent", 2, 1)],
        vec![Commit { events: Vec::new(), ..commit("absent", 1, 1) }],
    ] {
        let refused = store.append_all(commits.into_iter().map(Arc::new).collect()).await;
        assert!(matches!(refused, Err(AppendError::Conflict)), "{refused:?}");
    }
    assert_eq!(versions(&load(&store, "version").await), [1, 2]);
    assert_eq!(versions(&load(&store, "gap").await), [1, 2]);
    assert_eq!(versions(&load(&store, "absent").await), [] as [u64; 0]);
    let stored = versions(&load(&store, "command").await);
    assert!(stored == [1, 2] || stored == [1, 2, 3], "{stored:?}");
}
