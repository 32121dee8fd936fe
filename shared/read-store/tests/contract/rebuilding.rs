//! The scenarios of a rebuild, blue/green.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use event_sourcing::Version;
use read_store::{BehindStream, Filter, HeldReason, ReadStoreError, SwapRefused};

use super::{
    ReadStore, Shared, assert_rows, events, fold, id, incoming, raw, recorded, unknown, until, version,
    version_of,
};

const STREAMS: u64 = 20;

fn name(number: u64) -> String {
    format!("stream-{number:02}")
}

async fn backfill(
    store: &ReadStore,
    view: read_store::ViewId,
    stream: &str,
    numbers: impl Iterator<Item = u64>,
) {
    let page = numbers.map(|number| recorded(stream, number)).collect();
    store.backfill(view, page).await.unwrap();
}

fn behind(refused: SwapRefused) -> (u64, BehindStream) {
    let SwapRefused::Behind { streams, first } = refused else { panic!("{refused}") };
    (streams, first)
}

/// Asks for every stream again and again, also through lists, and never sees one go back.
async fn watch(store: ReadStore, stop: Arc<AtomicBool>) -> u64 {
    let mut seen = vec![Version::NONE; usize::try_from(STREAMS).unwrap()];
    let mut looks = 0;
    while !stop.load(Ordering::Relaxed) {
        for (number, seen) in (0..).zip(&mut seen) {
            let row = store.get(&id(&name(number))).await.unwrap();
            let now = row.map_or(Version::NONE, |row| row.version);
            assert!(now >= *seen, "{} went from {seen} to {now}", name(number));
            *seen = now;
        }
        let page = store.list(Filter::first(500)).await.unwrap();
        let there = seen.iter().filter(|seen| **seen > Version::NONE).count();
        assert!(page.entries.len() >= there);
        looks += 1;
    }
    looks
}

/// Brings every stream one version further, again and again. Returns the last version.
async fn project(store: ReadStore, mut version: u64, stop: Arc<AtomicBool>) -> u64 {
    while !stop.load(Ordering::Relaxed) {
        version += 1;
        // In two batches, so that streams are at different versions.
        for half in [0..STREAMS / 2, STREAMS / 2..STREAMS] {
            let batch = half.map(|number| incoming(&name(number), version)).collect();
            store.project(batch).await.unwrap();
        }
    }
    version
}

pub(crate) async fn a_rebuild_while_events_come_ends_in_the_fold_and_no_query_goes_back(shared: &Shared) {
    let (server, tool) = (shared.open().await, shared.open().await);
    let stop = Arc::new(AtomicBool::new(false));
    let projecting = tokio::spawn(project(server.clone(), 0, Arc::clone(&stop)));
    until(|| async { version_of(&server, &name(STREAMS - 1)).await >= 3 }).await;
    let watching = tokio::spawn(watch(server.clone(), Arc::clone(&stop)));

    let view = tool.begin_rebuild().await.unwrap();
    // The scan reads each stream at some moment after the registration, and so also events that were projected since.
    for number in 0..STREAMS {
        let stream = name(number);
        let length = version_of(&server, &stream).await;
        backfill(&tool, view, &stream, 1..=length).await;
    }
    tool.swap(view).await.unwrap();
    let swapped_at = version_of(&server, &name(0)).await;
    until(|| async { version_of(&server, &name(0)).await > swapped_at }).await;
    stop.store(true, Ordering::Relaxed);
    let last = projecting.await.unwrap();
    assert!(watching.await.unwrap() > 0);
    for number in 0..STREAMS {
        assert_rows(&server, &[(&name(number), last)]).await;
    }
    assert_eq!(server.held_summary().await.unwrap(), []);
    let again = tool.swap(view).await.unwrap_err();
    assert!(matches!(again, SwapRefused::NotBuilding(_)), "{again}");
}

pub(crate) async fn a_swap_is_refused_while_a_stream_is_behind(shared: &Shared) {
    let (server, tool) = (shared.open().await, shared.open().await);
    for stream in ["a", "b", "c"] {
        server.project(events(stream, 1..=3)).await.unwrap();
    }
    let view = tool.begin_rebuild().await.unwrap();
    backfill(&tool, view, "a", 1..=3).await;
    backfill(&tool, view, "b", 1..=2).await;
    let (streams, first) = behind(tool.swap(view).await.unwrap_err());
    assert_eq!(streams, 2);
    assert_eq!(first, BehindStream { stream: id("b"), active: version(3), building: version(2) });
    backfill(&tool, view, "b", 3..=3).await;
    backfill(&tool, view, "c", 1..=3).await;
    tool.swap(view).await.unwrap();
    assert_rows(&server, &[("a", 3), ("b", 3), ("c", 3)]).await;
}

pub(crate) async fn what_the_event_store_cant_tell_is_taken_over_from_the_active_view(shared: &Shared) {
    let (server, tool) = (shared.open().await, shared.open().await);
    for stream in ["a", "b", "c"] {
        server.project(events(stream, 1..=3)).await.unwrap();
    }
    let view = tool.begin_rebuild().await.unwrap();
    // The scan reads `a` in part and `b` only behind its beginning, and `c` goes on meanwhile.
    backfill(&tool, view, "a", 1..=2).await;
    backfill(&tool, view, "b", 3..=4).await;
    backfill(&tool, view, "c", 1..=3).await;
    server.project(events("c", [4])).await.unwrap();
    tool.take_over(view, vec![fold("a", 3), fold("b", 3), fold("c", 3)]).await.unwrap();
    tool.swap(view).await.unwrap();
    assert_rows(&server, &[("a", 3), ("b", 4), ("c", 4)]).await;
    assert_eq!(server.held_summary().await.unwrap(), []);
    let again = tool.take_over(view, vec![fold("a", 3)]).await.unwrap_err();
    assert!(again.to_string().contains("is not being built"), "{again}");
}

pub(crate) async fn a_swap_is_refused_at_a_gap_and_done_when_it_healed(shared: &Shared) {
    let (server, tool) = (shared.open().await, shared.open().await);
    server.project(events("a", 1..=2)).await.unwrap();
    let view = tool.begin_rebuild().await.unwrap();
    server.project(events("a", [3])).await.unwrap();
    backfill(&tool, view, "a", 1..=1).await;
    // A stream that the active view does not have yet.
    backfill(&tool, view, "b", 2..=2).await;
    let (streams, first) = behind(tool.swap(view).await.unwrap_err());
    assert_eq!(streams, 2);
    assert_eq!(first, BehindStream { stream: id("a"), active: version(3), building: version(1) });
    backfill(&tool, view, "a", 2..=2).await;
    let (streams, first) = behind(tool.swap(view).await.unwrap_err());
    assert_eq!((streams, first.stream), (1, id("b")));
    server.project(events("b", [1])).await.unwrap();
    tool.swap(view).await.unwrap();
    assert_rows(&server, &[("a", 3), ("b", 2)]).await;
    assert_eq!(server.held_summary().await.unwrap(), []);
}

pub(crate) async fn a_stream_that_is_stopped_in_both_views_stops_no_swap(shared: &Shared) {
    let (server, tool) = (shared.open().await, shared.open().await);
    server.project(vec![incoming("a", 1), unknown("a", 2)]).await.unwrap();
    let view = tool.begin_rebuild().await.unwrap();
    backfill(&tool, view, "a", [1, 3].into_iter()).await;
    tool.swap(view).await.unwrap();
    let held = server.held(None, None, 10).await.unwrap();
    let mut held: Vec<_> = held.iter().map(|held| (held.reason, held.version)).collect();
    held.sort_unstable();
    let expected = [(HeldReason::Gap, Some(version(3))), (HeldReason::UnknownType, Some(version(2)))];
    assert_eq!(held, expected);
    assert_rows(&server, &[("a", 1)]).await;
    server.repair(vec![fold("a", 2)]).await.unwrap();
    assert_rows(&server, &[("a", 3)]).await;
}

pub(crate) async fn what_was_held_is_carried_over_with_its_number(shared: &Shared) {
    let (server, tool) = (shared.open().await, shared.open().await);
    let early = vec![incoming("a", 1), unknown("a", 2), raw(b"nonsense", "a", 50), incoming("b", 2)];
    server.project(early).await.unwrap();
    let before = server.held(None, None, 10).await.unwrap();
    let view = tool.begin_rebuild().await.unwrap();
    // Held in both views, and shown once.
    server.project(vec![raw(b"more nonsense", "a", 51), raw(b"nonsense", "a", 50)]).await.unwrap();
    backfill(&tool, view, "a", 1..=1).await;
    backfill(&tool, view, "b", 1..=2).await;
    tool.swap(view).await.unwrap();
    let after = server.held(None, None, 10).await.unwrap();
    let of = |text: &[u8]| after.iter().filter(|held| held.value.as_deref() == Some(text)).count();
    assert_eq!((of(b"nonsense"), of(b"more nonsense")), (1, 1));
    assert!(after.contains(&before[0]), "the event of a type that is not known");
    assert!(
        !after.iter().any(|held| held.stream == Some(id("b"))),
        "what the new row has passed is not needed"
    );
    assert_eq!(after.len(), 3);
}

pub(crate) async fn an_unfinished_rebuild_is_deleted_by_the_next(shared: &Shared) {
    let (server, tool) = (shared.open().await, shared.open().await);
    server.project(events("a", 1..=2)).await.unwrap();
    let unfinished = tool.begin_rebuild().await.unwrap();
    backfill(&tool, unfinished, "a", [1, 3].into_iter()).await;
    drop(tool);

    let tool = shared.open().await;
    let view = tool.begin_rebuild().await.unwrap();
    let late = tool.backfill(unfinished, vec![recorded("a", 2)]).await.unwrap_err();
    assert!(matches!(late, ReadStoreError::NotBuilding(late) if late == unfinished), "{late}");
    let late = tool.swap(unfinished).await.unwrap_err();
    assert!(matches!(late, SwapRefused::NotBuilding(_)), "{late}");
    backfill(&tool, view, "a", 1..=2).await;
    tool.swap(view).await.unwrap();
    assert_rows(&server, &[("a", 2)]).await;
    assert_eq!(server.held_summary().await.unwrap(), []);
}
