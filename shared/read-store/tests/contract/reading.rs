//! The scenarios of queries.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use event_sourcing::testing::{BY_STAGE, BY_TITLE, Event, Stage, TaskRow};
use event_sourcing::{Recorded, StreamId};
use read_store::Filter;

use super::{ReadStore, Shared, events, fold, id, not_known_yet, raw, recorded, until, version, version_of};

type Lookup = read_store::Lookup<TaskRow>;

const LONG: Duration = Duration::from_secs(30);

/// A stream for which nothing is held.
fn well(stream: &str, events: u64) -> Lookup {
    Lookup { entry: Some(fold(stream, events)), held: false }
}

/// A stream for which an event is held.
fn behind(stream: &str, events: u64) -> Lookup {
    Lookup { held: true, ..well(stream, events) }
}

async fn page_ids(store: &ReadStore, filter: &Filter) -> Vec<String> {
    let (mut ids, mut filter) = (Vec::new(), filter.clone());
    loop {
        let page = store.list(filter.clone()).await.unwrap();
        assert!(page.entries.len() <= filter.limit);
        ids.extend(page.entries.iter().map(|entry| entry.id.to_string()));
        filter.after = page.entries.last().map(|entry| entry.id.clone());
        if !page.more {
            return ids;
        }
    }
}

fn sorted(ids: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut ids: Vec<_> = ids.into_iter().collect();
    ids.sort_unstable();
    ids
}

pub(crate) async fn pages_by_each_filter_have_what_it_says_and_no_more(shared: &Shared) {
    let store = shared.open().await;
    let (mut all, mut running) = (Vec::new(), Vec::new());
    for number in 0..23_u64 {
        // Upper and lower case and marks: the order of pages is that of the bytes.
        let stream = format!("{}{number}", ["A", "a", "~", "_"][usize::try_from(number % 4).unwrap()]);
        store.project(events(&stream, 1..=1 + number % 3)).await.unwrap();
        if number % 3 == 1 {
            running.push(stream.clone());
        }
        all.push(stream);
    }
    let (all, running) = (sorted(all), sorted(running));
    for limit in [1, 4, 23, 500] {
        let filter = Filter::first(limit);
        assert_eq!(page_ids(&store, &filter).await, all);
        let by_stage = filter.clone().equal(BY_STAGE, &Stage::Running);
        assert_eq!(page_ids(&store, &by_stage).await, running);
        let by_title = filter.equal(BY_TITLE, &"title of a1".to_owned());
        assert_eq!(page_ids(&store, &by_title).await, ["a1"]);
        let both = by_title.clone().equal(BY_STAGE, &Stage::Running);
        assert_eq!(page_ids(&store, &both).await, ["a1"]);
        let neither = by_title.equal(BY_STAGE, &Stage::Finished);
        assert_eq!(page_ids(&store, &neither).await, Vec::<String>::new());
    }
}

pub(crate) async fn pages_repeat_and_miss_nothing_while_others_write(shared: &Shared) {
    let (store, other) = (shared.open().await, shared.open().await);
    let throughout: Vec<_> = (0..60).map(|number| format!("stream-{number:03}")).collect();
    for stream in &throughout {
        store.project(events(stream, [1, 2])).await.unwrap();
    }
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let writing = tokio::spawn(async move {
        let mut number = 0;
        while !stopped.load(Ordering::Relaxed) {
            let new = format!("stream-{:03}-{number}", (number * 37) % 60);
            other.project(events(&new, 1..=2)).await.unwrap();
            number += 1;
        }
        number
    });
    until(|| async { version_of(&store, "stream-000-0").await == 2 }).await;
    for filter in [Filter::first(7), Filter::first(7).equal(BY_STAGE, &Stage::Running)] {
        let found = page_ids(&store, &filter).await;
        assert!(found.windows(2).all(|two| two[0] < two[1]), "by id, and none twice");
        assert!(throughout.iter().all(|stream| found.contains(stream)), "none is missed");
    }
    stop.store(true, Ordering::Relaxed);
    assert!(writing.await.unwrap() > 0);
}

pub(crate) async fn many_streams_are_read_at_once_and_absent_ones_left_out(shared: &Shared) {
    let store = shared.open().await;
    store.project(events("a", [1, 2])).await.unwrap();
    store.project(events("b", [1])).await.unwrap();
    let mut found = store.get_many(vec![id("b"), id("x"), id("a")]).await.unwrap();
    found.sort_unstable_by(|a, b| a.id.cmp(&b.id));
    assert_eq!(found, [fold("a", 2), fold("b", 1)]);
    assert_eq!(store.get(&id("x")).await.unwrap(), None);
}

pub(crate) async fn a_version_is_waited_for_and_not_longer_than_patience(shared: &Shared) {
    let store = shared.open().await;
    store.project(events("a", [1, 2])).await.unwrap();
    for there in [1, 2] {
        let seen = store.wait_for(&id("a"), version(there), LONG).await.unwrap();
        assert_eq!(seen, well("a", 2), "what is there needs no wait");
    }
    let waiting: Vec<_> = (0..8)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move { store.wait_for(&id("a"), version(4), LONG).await.unwrap() })
        })
        .collect();
    let started = Instant::now();
    store.project(events("a", [3])).await.unwrap();
    store.project(events("a", [4])).await.unwrap();
    for row in waiting {
        assert_eq!(row.await.unwrap(), well("a", 4));
    }
    assert!(started.elapsed() < LONG);

    let patience = Duration::from_millis(30);
    let started = Instant::now();
    let late = store.wait_for(&id("a"), version(9), patience).await.unwrap();
    assert_eq!(late, well("a", 4), "what is there when patience ends");
    assert!(started.elapsed() >= patience);
    assert_eq!(store.wait_for(&id("x"), version(1), patience).await.unwrap(), Lookup::default());
}

pub(crate) async fn a_version_that_another_handle_writes_is_seen_too(shared: &Shared) {
    let (store, other) = (shared.open().await, shared.open().await);
    let waiting = tokio::spawn(async move { store.wait_for(&id("a"), version(2), LONG).await.unwrap() });
    other.project(events("a", [1])).await.unwrap();
    other.project(events("a", [2])).await.unwrap();
    assert_eq!(waiting.await.unwrap(), well("a", 2));
}

pub(crate) async fn a_stream_whose_events_make_nothing_of_it_is_in_no_list(shared: &Shared) {
    let store = shared.open().await;
    let stream: StreamId = id("a");
    let value = Recorded { event: Event::TaskFinished, ..recorded("a", 1) }.encode();
    let taken = store.project(vec![raw(&value, "a", 1)]).await.unwrap();
    assert_eq!(taken.applied, 1, "its version goes on all the same");
    let entry = store.get(&stream).await.unwrap().unwrap();
    assert_eq!((entry.row, entry.version), (None, version(1)));
    assert_eq!(page_ids(&store, &Filter::first(5)).await, Vec::<String>::new());
}

pub(crate) async fn a_stream_is_seen_with_whether_anything_is_held_for_it(shared: &Shared) {
    let store = shared.open().await;
    let see = async |stream: &str| store.see(&id(stream)).await.unwrap();
    let mut batch: Vec<_> =
        ["gap", "unknown", "keyed", "well"].iter().flat_map(|stream| events(stream, [1])).collect();
    store.project(batch).await.unwrap();
    assert_eq!(see("gap").await, well("gap", 1));
    batch = events("gap", [3]);
    batch.extend([
        not_known_yet("unknown", 2),
        raw(b"nonsense", "keyed", 50),
        raw(b"nonsense", "no id!", 51),
    ]);
    batch.extend([not_known_yet("never", 1), raw(b"nonsense", "nobody", 52)]);
    store.project(batch).await.unwrap();
    for stream in ["gap", "unknown", "keyed"] {
        assert_eq!(see(stream).await, behind(stream, 1));
    }
    assert_eq!(see("well").await, well("well", 1));
    for stream in ["never", "nobody"] {
        assert_eq!(see(stream).await, Lookup { entry: None, held: true });
        assert_eq!(store.get(&id(stream)).await.unwrap(), None);
    }
    assert_eq!(see("other").await, Lookup::default());

    let page = async |after: &str, limit| {
        let filter = Filter::first(limit).after(Some(id(after)));
        let page = store.list(filter).await.unwrap();
        (page.entries.iter().map(|entry| entry.id.to_string()).collect::<Vec<_>>(), page.held)
    };
    assert_eq!(page("keyed", 5).await, (vec!["unknown".to_owned(), "well".to_owned()], true));
    assert_eq!(page("keyed", 1).await, (vec!["unknown".to_owned()], true));
    assert_eq!(page("unknown", 5).await, (vec!["well".to_owned()], false), "of this page's streams alone");

    store.project(events("gap", [2])).await.unwrap();
    assert_eq!(see("gap").await, well("gap", 3), "a gap that healed");
    store.redrive(None).await.unwrap();
    assert_eq!((see("unknown").await, see("keyed").await), (well("unknown", 2), behind("keyed", 1)));
}

pub(crate) async fn who_waited_is_told_what_is_held_too(shared: &Shared) {
    let store = shared.open().await;
    let told = async |stream: &'static str, at, records| {
        let waiting = {
            let store = store.clone();
            tokio::spawn(async move { store.wait_for(&id(stream), version(at), LONG).await.unwrap() })
        };
        store.project(records).await.unwrap();
        waiting.await.unwrap()
    };
    store
        .project([events("a", [1]), vec![raw(b"nonsense", "b", 50)]].into_iter().flatten().collect())
        .await
        .unwrap();
    assert_eq!(told("a", 2, events("a", [2, 4])).await, behind("a", 2));
    assert_eq!(told("a", 4, events("a", [3])).await, well("a", 4));
    assert_eq!(told("b", 1, events("b", [1])).await, behind("b", 1), "held before");
    let mut together = events("c", [1]);
    together.push(raw(b"nonsense", "c", 60));
    assert_eq!(told("c", 1, together).await, behind("c", 1), "held with the same batch");
}
