//! Scans of all commits in pages, also while others write.

use std::collections::BTreeMap;

use event_sourcing::testing::Event;
use event_sourcing::{StreamId, Version};
use event_store::{EventStore, Heads, ScanPosition, ScannedCommit, StoreError};
use futures_util::future::join_all;

use crate::build::{append, append_each, commit, id};
use crate::loads::expect_unreadable;
use crate::stores::Stores;

/// Scans all pages. No page has more commits than asked for, and every page before the last has some.
async fn scan(store: &EventStore, limit: usize) -> Vec<ScannedCommit<Event>> {
    let mut scanned = Vec::new();
    let mut after = None;
    loop {
        let page = store.scan::<Event>(after.take(), limit).await.unwrap();
        assert!(page.commits.len() <= limit);
        assert!(page.next.is_none() || !page.commits.is_empty());
        scanned.extend(page.commits);
        match page.next {
            Some(next) => after = Some(next),
            None => return scanned,
        }
    }
}

/// Returns the number of events of each stream. The commits of a stream must come in order, without a gap.
fn lengths(scanned: &[ScannedCommit<Event>]) -> BTreeMap<StreamId, Version> {
    let mut lengths = BTreeMap::new();
    for commit in scanned {
        let length: &mut Version = lengths.entry(commit.stream.clone()).or_default();
        assert_eq!(commit.version, length.next(), "{}", commit.stream);
        *length = length.plus(commit.events.len());
    }
    lengths
}

pub(crate) async fn an_empty_store_has_an_empty_page(stores: &impl Stores) {
    let page = stores.open().await.scan::<Event>(None, 10).await.unwrap();
    assert_eq!((page.commits, page.next), (Vec::new(), None));
}

pub(crate) async fn a_scan_sees_every_commit_once_whatever_the_page(stores: &impl Stores) {
    let store = stores.open().await;
    let mut appended = Vec::new();
    // One name begins with another, and the versions have a different order as text.
    for (stream, commits) in [("a", 12), ("a.b", 3), ("ab", 1), ("a~", 2), ("B", 4)] {
        for number in 0..commits {
            let commit = commit(stream, 1 + number * 2, 2);
            append(&store, commit.clone()).await;
            appended.push(commit);
        }
    }
    for limit in [1, 2, 5, 21, 22, 23, 1_000] {
        let scanned = scan(&store, limit).await;
        assert_eq!(scanned.len(), appended.len());
        lengths(&scanned);
        for commit in &appended {
            let whole = ScannedCommit {
                stream: commit.stream.clone(),
                version: commit.version,
                recorded_at: commit.recorded_at,
                events: commit.events.iter().map(|event| event.decode().unwrap()).collect(),
            };
            assert!(scanned.contains(&whole), "{commit:?} in pages of {limit}");
        }
    }
}

pub(crate) async fn a_scan_sees_what_was_there_before_while_others_write(stores: &impl Stores) {
    const STREAMS: usize = 60;
    let (store, other) = (stores.open().await, stores.open().await);
    let names: Vec<String> = (0..STREAMS).map(|number| format!("stream-{number:02}")).collect();
    for version in 1..=5 {
        join_all(names.iter().map(|name| append(&store, commit(name, version, 1)))).await;
    }

    let mut scanned = Vec::new();
    let mut after: Option<ScanPosition> = None;
    let mut version = 5;
    loop {
        let page = store.scan::<Event>(after.take(), 7).await.unwrap();
        scanned.extend(page.commits);
        // Between two pages every stream grows, through another handle. New streams appear before and behind all others.
        version += 1;
        join_all(names.iter().map(|name| append(&other, commit(name, version, 1)))).await;
        append_each(&other, &format!("a-{version}"), [1]).await;
        append_each(&other, &format!("z-{version}"), [1]).await;
        match page.next {
            // The scan would never end if the streams kept growing as fast, so the writers stop after some time.
            Some(next) if version < 40 => after = Some(next),
            Some(next) => break scanned.extend(rest(&store, next).await),
            None => break,
        }
    }
    let lengths = lengths(&scanned);
    for name in &names {
        assert!(lengths[&id(name)] >= Version::new(5), "{name}");
    }
}

async fn rest(store: &EventStore, from: ScanPosition) -> Vec<ScannedCommit<Event>> {
    let mut scanned = Vec::new();
    let mut after = Some(from);
    while let Some(position) = after {
        let page = store.scan::<Event>(Some(position), 100).await.unwrap();
        scanned.extend(page.commits);
        after = page.next;
    }
    scanned
}

pub(crate) async fn heads_tell_how_far_each_stream_is_whatever_the_page(stores: &impl Stores) {
    let store = stores.open().await;
    assert_eq!(store.heads(None, 10).await.unwrap(), Heads::default());
    let mut expected = BTreeMap::new();
    for (stream, commits) in [("a", 12), ("a.b", 3), ("ab", 1), ("a~", 2), ("B", 4)] {
        for number in 0..commits {
            append(&store, commit(stream, 1 + number * 2, 2)).await;
        }
        expected.insert(id(stream), Version::new(commits * 2));
    }
    for limit in [2, 3, 5, 12, 13, 22, 1_000] {
        let (mut heads, mut after) = (Vec::new(), None);
        loop {
            let page = store.heads(after.as_deref(), limit).await.unwrap();
            heads.extend(page.streams);
            match page.next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        assert_eq!(heads.len(), expected.len(), "each once: {heads:?}");
        assert_eq!(heads.into_iter().collect::<BTreeMap<_, _>>(), expected, "{limit}");
    }
}

pub(crate) async fn a_scan_goes_on_in_another_process(stores: &impl Stores) {
    let store = stores.open().await;
    append_each(&store, "a", 1..=3).await;
    append_each(&store, "b", 1..=3).await;
    let first = store.scan::<Event>(None, 2).await.unwrap();
    let text = serde_json::to_string(&first.next.unwrap()).unwrap();
    drop(store);
    let position: ScanPosition = serde_json::from_str(&text).unwrap();
    let mut scanned = first.commits;
    scanned.extend(rest(&stores.open().await, position).await);
    assert_eq!(lengths(&scanned).into_values().collect::<Vec<_>>(), [Version::new(3), Version::new(3)]);
}

pub(crate) async fn a_position_of_another_store_is_refused(stores: &impl Stores) {
    let store = stores.open().await;
    append_each(&store, "a", [1]).await;
    for text in ["", "a", "@1", "a@", "a@-1", "@"] {
        let position: ScanPosition = serde_json::from_value(text.into()).unwrap();
        let refused = store.scan::<Event>(Some(position), 10).await;
        assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{text:?}: {refused:?}");
    }
}

pub(crate) async fn a_scan_names_what_it_cant_read_and_goes_on_whatever_the_page(stores: &impl Stores) {
    let store = stores.open().await;
    for name in ["a", "gap", "newer", "start", "z"] {
        append_each(&store, name, 1..=4).await;
    }
    stores.lose(&id("gap"), Version::new(2)).await;
    stores.lose(&id("start"), Version::new(1)).await;
    let unknown = r#"[{"type":"TaskEaten","schema":1,"data":{}}]"#;
    stores.overwrite_events(&id("newer"), Version::new(3), unknown).await;
    let newer = ("newer", "version 3: unknown event type");
    for limit in [1, 2, 3, 5, 100] {
        let (mut commits, mut unreadable, mut after) = (Vec::new(), Vec::new(), None);
        loop {
            let page = store.scan::<Event>(after.take(), limit).await.unwrap();
            commits.extend(page.commits);
            unreadable.extend(page.unreadable);
            match page.next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        for (found, (stream, problem)) in
            unreadable.iter().zip([("gap", "version 3"), newer, ("start", "version 2")])
        {
            expect_unreadable(found, stream, problem);
        }
        assert_eq!(unreadable.len(), 3, "{unreadable:?} in pages of {limit}");
        let lengths: Vec<_> =
            lengths(&commits).into_iter().map(|(stream, length)| (stream, length.get())).collect();
        assert_eq!(
            lengths,
            [("a", 4), ("gap", 1), ("newer", 2), ("z", 4)].map(|(stream, length)| (id(stream), length))
        );
    }
}
