//! A commit is its own outbox: it is unpublished until it is marked, and relays find it until then.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use event_sourcing::Version;
use event_store::{Backlog, Commit, CommitId, EventStore};
use futures_util::future::join_all;
use jiff::Timestamp;

use crate::build::{append, append_each, commit, load, place, second};
use crate::stores::Stores;

/// A time later than any commit of these scenarios.
fn now() -> Timestamp {
    second(1_000_000)
}

/// A range of young times that holds no commit.
fn all() -> RangeInclusive<Timestamp> {
    now()..=now()
}

/// Returns the outstanding commits of streams with a commit that was recorded before this time.
async fn outstanding(store: &EventStore, before: Timestamp) -> Vec<CommitId> {
    outstanding_but(store, before..=now()).await
}

async fn outstanding_but(store: &EventStore, young: RangeInclusive<Timestamp>) -> Vec<CommitId> {
    let mut found = store.outstanding(young, 1_000).await.unwrap();
    found.sort();
    found
}

async fn unpublished(store: &EventStore, stream: &str) -> Vec<bool> {
    load(store, stream).await.iter().map(|commit| commit.unpublished).collect()
}

pub(crate) async fn a_commit_is_unpublished_until_it_is_marked(stores: &impl Stores) {
    let store = stores.open().await;
    append_each(&store, "a", 1..=3).await;
    store.mark_published(vec![place("a", 1), place("a", 3)]).await.unwrap();
    assert_eq!(unpublished(&stores.open().await, "a").await, [false, true, false]);
    assert_eq!(outstanding(&store, now()).await, [place("a", 2)]);
    // A commit that was already published when it was appended is never outstanding.
    append(&store, Commit { unpublished: false, ..commit("b", 1, 1) }).await;
    assert_eq!(unpublished(&store, "b").await, [false]);
    assert_eq!(outstanding(&store, now()).await, [place("a", 2)]);
}

pub(crate) async fn marks_may_be_repeated_and_may_miss(stores: &impl Stores) {
    let handles = [stores.open().await, stores.open().await];
    append_each(&handles[0], "a", 1..=2).await;
    append(&handles[0], commit("b", 1, 3)).await;
    let marks = vec![place("a", 1), place("nowhere", 1), place("a", 9), place("b", 2), place("a", 1)];
    let repeated = (0..10).map(|number| handles[number % 2].mark_published(marks.clone()));
    for marked in join_all(repeated).await {
        marked.unwrap();
    }
    handles[0].mark_published(Vec::<CommitId>::new()).await.unwrap();
    assert_eq!(unpublished(&handles[0], "a").await, [false, true]);
    // Version 2 is in the middle of this commit, so no commit begins there and the mark misses.
    assert_eq!(unpublished(&handles[0], "b").await, [true]);
}

pub(crate) async fn what_a_crash_left_unmarked_is_outstanding(stores: &impl Stores) {
    let store = stores.open().await;
    append(&store, commit("a", 1, 2)).await;
    drop(store);
    let after = stores.open().await;
    let commits = load(&after, "a").await;
    assert_eq!(commits, [commit("a", 1, 2)]);
    assert!(commits[0].unpublished);
    assert_eq!(outstanding(&after, now()).await, [place("a", 1)]);
    after.mark_published(vec![place("a", 1)]).await.unwrap();
    assert_eq!(outstanding(&stores.open().await, now()).await, []);
}

pub(crate) async fn the_oldest_of_each_stream_is_outstanding(stores: &impl Stores) {
    let store = stores.open().await;
    append_each(&store, "a", 1..=3).await;
    append_each(&store, "b", 1..=12).await;
    append_each(&store, "c", 1..=2).await;
    store.mark_published((1..=9).map(|version| place("b", version)).collect()).await.unwrap();
    store.mark_published(vec![place("c", 1), place("c", 2)]).await.unwrap();
    assert_eq!(outstanding(&store, now()).await, [place("a", 1), place("b", 10)]);
}

pub(crate) async fn what_is_too_young_is_not_outstanding(stores: &impl Stores) {
    let store = stores.open().await;
    // A commit's version is also the second of its time.
    append_each(&store, "a", 1..=3).await;
    append_each(&store, "b", 1..=9).await;
    store.mark_published((1..=6).map(|version| place("b", version)).collect()).await.unwrap();
    assert_eq!(outstanding(&store, second(1)).await, []);
    assert_eq!(outstanding(&store, second(2)).await, [place("a", 1)]);
    assert_eq!(outstanding(&store, second(7)).await, [place("a", 1)]);
    assert_eq!(outstanding(&store, second(8)).await, [place("a", 1), place("b", 7)]);
    // The clock went back: the second commit is old enough. The store names the first, which must be published before it.
    append(&store, Commit { recorded_at: second(90), ..commit("c", 1, 1) }).await;
    append(&store, Commit { recorded_at: second(0), ..commit("c", 2, 1) }).await;
    assert_eq!(outstanding(&store, second(1)).await, [place("c", 1)]);
}

pub(crate) async fn what_is_dated_in_the_future_is_outstanding(stores: &impl Stores) {
    let store = stores.open().await;
    let young = second(5)..=second(10);
    for (stream, seconds) in [
        ("ahead", &[11, 12][..]),
        ("both", &[4, 11]),
        ("late", &[5, 9, 99]),
        ("marked", &[7, 11]),
        ("young", &[5, 10]),
    ] {
        for (version, recorded_at) in (1..).zip(seconds) {
            append(&store, Commit { recorded_at: second(*recorded_at), ..commit(stream, version, 1) }).await;
        }
    }
    store.mark_published(vec![place("marked", 2)]).await.unwrap();
    assert_eq!(outstanding_but(&store, young).await, [place("ahead", 1), place("both", 1), place("late", 1)]);
    // By a clock that was corrected, all of them are ahead.
    let all = ["ahead", "both", "late", "marked", "young"].map(|stream| place(stream, 1));
    assert_eq!(outstanding_but(&store, second(-9)..=second(0)).await, all);
}

pub(crate) async fn no_more_streams_are_outstanding_than_asked_for(stores: &impl Stores) {
    let store = stores.open().await;
    for name in ["a", "b", "c", "d", "e"] {
        append_each(&store, name, 1..=2).await;
    }
    for limit in 0..=6 {
        let found = store.outstanding(all(), limit).await.unwrap();
        let streams: BTreeSet<_> = found.iter().map(|commit| commit.stream.clone()).collect();
        assert_eq!((found.len(), streams.len()), (limit.min(5), limit.min(5)));
        assert!(found.iter().all(|commit| commit.version == Version::new(1)));
    }
}

pub(crate) async fn relays_see_outstanding_streams_shuffled(stores: &impl Stores) {
    let store = stores.open().await;
    let names: Vec<String> = (0..100).map(|number| format!("stream-{number}")).collect();
    join_all(names.iter().map(|name| append(&store, commit(name, 1, 1)))).await;
    // Two draws of 10 out of 100 are equal only once in 10^19 times.
    let one = store.outstanding(all(), 10).await.unwrap();
    let other = store.outstanding(all(), 10).await.unwrap();
    assert_ne!(one, other);
}

pub(crate) async fn the_backlog_is_what_is_not_marked(stores: &impl Stores) {
    let store = stores.open().await;
    assert_eq!(store.backlog().await.unwrap(), Backlog::default());
    append_each(&store, "a", 1..=3).await;
    append(&store, Commit { recorded_at: second(-5), ..commit("b", 1, 2) }).await;
    let all = Backlog { commits: 4, oldest: Some(second(-5)), newest: Some(second(3)) };
    assert_eq!(stores.open().await.backlog().await.unwrap(), all);
    store.mark_published(vec![place("b", 1), place("a", 1)]).await.unwrap();
    let rest = Backlog { commits: 2, oldest: Some(second(2)), newest: Some(second(3)) };
    assert_eq!(store.backlog().await.unwrap(), rest);
    for (now, age) in [(2, 1), (3, 1), (10, 8), (0, 3), (-60, 63)] {
        assert_eq!(rest.age(second(now)), Duration::from_secs(age), "at {now}");
    }
    assert_eq!(Backlog::default().age(second(9)), Duration::ZERO);
}
