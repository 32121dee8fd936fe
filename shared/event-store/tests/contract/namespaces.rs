//! Namespaces in one store: each has all that a store has, and nothing of another.

use std::sync::Arc;
use std::time::Duration;

use event_sourcing::testing::Event;
use event_store::{EventStore, Mark, Namespace, ReminderPolicy, Reminders};
use futures_util::future::{join, join_all};

use crate::build::{answer, append, append_each, commit, load, namespace, place, record, second, versions};
use crate::stores::Stores;

/// Streams that each writer appends to, and commits of each stream.
const STREAMS: usize = 8;
const COMMITS: u64 = 50;

fn other() -> Namespace {
    Namespace::parse("tasks_labelset").unwrap()
}

/// Returns the streams in a scan and in a page of heads.
async fn streams(store: &EventStore) -> (Vec<String>, Vec<String>) {
    let page = store.scan::<Event>(None, 100).await.unwrap();
    let mut scanned: Vec<String> = page.commits.iter().map(|commit| commit.stream.to_string()).collect();
    let heads = store.heads(None, 100).await.unwrap();
    let mut heads: Vec<String> = heads.streams.iter().map(|(stream, _)| stream.to_string()).collect();
    scanned.sort();
    heads.sort();
    (scanned, heads)
}

pub(crate) async fn namespaces_side_by_side_never_see_each_other(stores: &impl Stores) {
    let one = stores.open().await;
    let other = stores.open_namespace(&other()).await;
    append_each(&one, "a", 1..=2).await;
    append(&one, commit("b", 1, 1)).await;
    // The same places and the same command ids are free.
    append(&other, commit("a", 1, 1)).await;
    one.remember(record("no-op", "a", 2)).await.unwrap();
    other.remember(record("no-op", "a", 1)).await.unwrap();
    assert_eq!(versions(&load(&one, "a").await), [1, 2]);
    assert_eq!(versions(&load(&other, "a").await), [1]);
    assert_eq!(answer(&other, "a", "no-op").await.unwrap().version.get(), 1);
    assert!(answer(&other, "a", "a-command-2").await.is_none());
    assert!(load(&other, "b").await.is_empty());
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    assert_eq!(streams(&one).await, (names(&["a", "a", "b"]), names(&["a", "b"])));
    assert_eq!(streams(&other).await, (names(&["a"]), names(&["a"])));

    // A mark, and with it a reminder, belongs to its namespace.
    let mark = Mark { remind: ReminderPolicy::UntilFollowed, ..Mark::from(place("a", 1)) };
    other.mark_published(vec![mark]).await.unwrap();
    assert_eq!((one.backlog().await.unwrap().commits, other.backlog().await.unwrap().commits), (3, 0));
    let young = second(1_000)..=second(1_000);
    assert!(other.outstanding(young.clone(), 10).await.unwrap().is_empty());
    assert_eq!(one.outstanding(young, 10).await.unwrap().len(), 2);
    let waiting = async |store: &EventStore| {
        Reminders::new(store.clone(), Duration::from_secs(900)).count().await.unwrap().waiting
    };
    assert_eq!((waiting(&one).await, waiting(&other).await), (0, 1));
    for store in [&one, &other] {
        store.ping().await.unwrap();
    }
}

/// Both write as fast as they can. On a file they have a writer each, and the file has one lock.
pub(crate) async fn namespaces_that_are_written_at_once_wait_for_each_other(stores: &impl Stores) {
    let one = stores.open_namespace(&namespace()).await;
    let other = stores.open_namespace(&other()).await;
    let write = async |store: &EventStore| {
        let streams = (0..STREAMS).map(async |stream| {
            for version in 1..=COMMITS {
                let commit = Arc::new(commit(&format!("stream-{stream}"), version, 1));
                store.append(commit).await.unwrap();
                store.mark_published(vec![place(&format!("stream-{stream}"), version)]).await.unwrap();
            }
        });
        join_all(streams).await;
    };
    join(write(&one), write(&other)).await;
    for store in [&one, &other] {
        for stream in 0..STREAMS {
            assert_eq!(load(store, &format!("stream-{stream}")).await.len() as u64, COMMITS);
        }
        assert_eq!(store.backlog().await.unwrap().commits, 0);
    }
}
