//! The scenarios of held events, and of the repair of single streams.

use read_store::{DropRefused, HeldId, HeldReason, RedriveCounts};

use super::{
    Shared, assert_rows, events, fold, id, incoming, not_known_yet, not_readable_yet, raw, version,
    version_of,
};

pub(crate) async fn held_events_are_shown_by_page_and_stream_with_all_that_is_known(shared: &Shared) {
    let store = shared.open().await;
    store.project(events("a", [3, 2])).await.unwrap();
    store.project(vec![raw(b"nonsense", "b", 77)]).await.unwrap();
    let all = store.held(None, None, 10).await.unwrap();
    let reasons: Vec<_> = all.iter().map(|held| held.reason).collect();
    assert_eq!(reasons, [HeldReason::Gap, HeldReason::Gap, HeldReason::Undecodable]);
    assert!(all.windows(2).all(|two| two[0].id < two[1].id));

    let first = store.held(None, None, 2).await.unwrap();
    assert_eq!(first, all[..2]);
    assert_eq!(store.held(None, Some(first[1].id), 2).await.unwrap(), all[2..]);
    assert_eq!(store.held(Some(&id("b")), None, 10).await.unwrap(), all[2..]);

    let shown = store.held_event(all[2].id).await.unwrap().unwrap();
    let record: super::Incoming = raw(b"nonsense", "b", 77);
    assert_eq!((shown.stream.as_ref(), shown.version), (Some(&id("b")), None));
    assert_eq!((&shown.origin, &shown.key, &shown.value), (&record.origin, &record.key, &record.value));
    assert_eq!(shown.held_at, record.received_at);
    assert!(shown.problem.starts_with("not an event: "), "{}", shown.problem);
    assert_eq!(store.held_event(HeldId(999)).await.unwrap(), None);
}

pub(crate) async fn a_redrive_applies_what_can_be_decoded_today(shared: &Shared) {
    let store = shared.open().await;
    let poison = raw(b"nonsense", "a", 50);
    let mut batch = events("a", [1]);
    batch.extend([not_known_yet("a", 2), incoming("a", 4), not_readable_yet("a", 3), poison]);
    batch.extend([not_readable_yet("a", 1), not_readable_yet("b", 1), not_readable_yet("c", 2)]);
    assert_eq!(store.project(batch).await.unwrap().held, 7);
    assert_rows(&store, &[("a", 1)]).await;

    let redriven = store.redrive(None).await.unwrap();
    assert_eq!(redriven, RedriveCounts { applied: 4, removed: 1, held: 2 });
    assert_rows(&store, &[("a", 4), ("b", 1)]).await;
    let held = store.held(None, None, 10).await.unwrap();
    let held: Vec<_> = held.iter().map(|held| (held.reason, held.stream.clone(), held.version)).collect();
    let expected =
        [(HeldReason::Undecodable, Some(id("a")), None), (HeldReason::Gap, Some(id("c")), Some(version(2)))];
    assert_eq!(held, expected, "each with its reason of today");
    assert_eq!(store.redrive(None).await.unwrap(), RedriveCounts { applied: 0, removed: 0, held: 2 });
    assert_eq!(store.project(events("c", [1])).await.unwrap().released, 1);
}

pub(crate) async fn a_redrive_of_one_stream_leaves_the_others(shared: &Shared) {
    let store = shared.open().await;
    store.project(vec![not_known_yet("a", 1), not_known_yet("b", 1)]).await.unwrap();
    let redriven = store.redrive(Some(&id("a"))).await.unwrap();
    assert_eq!(redriven, RedriveCounts { applied: 1, removed: 0, held: 0 });
    assert_eq!((version_of(&store, "a").await, version_of(&store, "b").await), (1, 0));
}

pub(crate) async fn a_redrive_goes_through_more_than_a_page(shared: &Shared) {
    let store = shared.open().await;
    let events = 1_300;
    let backwards = (1..=events).rev().map(|number| not_known_yet("a", number)).collect();
    store.project(backwards).await.unwrap();
    let redriven = store.redrive(None).await.unwrap();
    assert_eq!(redriven, RedriveCounts { applied: events, removed: 0, held: 0 });
    assert_rows(&store, &[("a", events)]).await;
}

pub(crate) async fn only_what_no_next_version_needs_is_dropped(shared: &Shared) {
    let store = shared.open().await;
    let mut batch = events("a", [1, 4]);
    batch.extend([not_known_yet("a", 2), raw(b"nonsense", "a", 50)]);
    store.project(batch).await.unwrap();
    let held = store.held(None, None, 10).await.unwrap();
    for needed in &held[..2] {
        let refused = store.drop_held(needed.id).await.unwrap_err();
        let DropRefused::Needed { id: held, stream, version: at, have } = refused else {
            panic!("{refused}")
        };
        assert_eq!((held, stream, Some(at), have), (needed.id, id("a"), needed.version, version(1)));
    }
    store.drop_held(held[2].id).await.unwrap();
    assert_eq!(store.held(None, None, 10).await.unwrap(), held[..2]);
    let again = store.drop_held(held[2].id).await.unwrap_err();
    assert!(matches!(again, DropRefused::NotHeld(_)), "{again}");
}

pub(crate) async fn a_repaired_row_goes_on_with_what_was_held(shared: &Shared) {
    let store = shared.open().await;
    let mut batch = events("a", [1, 4, 5, 7]);
    batch.push(not_known_yet("a", 2));
    store.project(batch).await.unwrap();
    assert_eq!(store.repair(vec![fold("a", 3), fold("b", 2)]).await.unwrap(), 2);
    assert_rows(&store, &[("a", 5), ("b", 2)]).await;
    let held = store.held(None, None, 10).await.unwrap();
    let versions: Vec<_> = held.iter().map(|held| held.version).collect();
    assert_eq!(versions, [Some(version(7))], "what the row has passed is not held any more");
}

pub(crate) async fn a_repair_leaves_a_later_row_alone(shared: &Shared) {
    let store = shared.open().await;
    store.project(events("a", 1..=3)).await.unwrap();
    assert_eq!(store.repair(vec![fold("a", 2)]).await.unwrap(), 0);
    let mut garbled = fold("a", 3);
    garbled.row = fold("a", 1).row;
    assert_eq!(store.repair(vec![garbled]).await.unwrap(), 1);
    assert_eq!(store.repair(vec![fold("a", 3)]).await.unwrap(), 1);
    assert_rows(&store, &[("a", 3)]).await;
}

pub(crate) async fn removed_streams_are_gone_with_what_was_held_for_them(shared: &Shared) {
    let store = shared.open().await;
    for stream in ["a", "b"] {
        store.project(events(stream, [1, 3])).await.unwrap();
    }
    assert_eq!(store.remove(vec![id("a"), id("x")]).await.unwrap(), 1);
    assert_eq!(store.get(&id("a")).await.unwrap(), None);
    let held = store.held(None, None, 10).await.unwrap();
    assert_eq!(held.iter().map(|held| held.stream.clone()).collect::<Vec<_>>(), [Some(id("b"))]);
}
