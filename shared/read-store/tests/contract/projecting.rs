//! The scenarios of the projector.

use event_sourcing::testing::{Event, REFUSED_TITLE};
use event_sourcing::{Recorded, Version};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use read_store::{HeldReason, ProjectionCounts};

use super::{
    Incoming, ReadStore, Shared, assert_rows, events, fold, id, incoming, raw, recorded, unknown, version_of,
};

const STREAMS: [&str; 12] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];
const EVENTS: u64 = 7;

fn all() -> Vec<(&'static str, u64)> {
    STREAMS.iter().flat_map(|stream| (1..=EVENTS).map(move |version| (*stream, version))).collect()
}

/// Cuts deliveries into batches of 1 to 20 records.
fn batches(deliveries: &[(&str, u64)], random: &mut StdRng) -> Vec<Vec<Incoming>> {
    let (mut rest, mut batches) = (deliveries, Vec::new());
    while !rest.is_empty() {
        let (batch, later) = rest.split_at(random.random_range(1..=20).min(rest.len()));
        batches.push(batch.iter().map(|(stream, version)| incoming(stream, *version)).collect());
        rest = later;
    }
    batches
}

async fn assert_all_folded(store: &ReadStore) {
    assert_rows(store, &STREAMS.map(|stream| (stream, EVENTS))).await;
    assert_eq!(store.held_summary().await.unwrap(), []);
}

pub(crate) async fn duplicates_redelivery_and_any_batches_end_in_the_fold(shared: &Shared) {
    let store = shared.open().await;
    let mut random = StdRng::seed_from_u64(1);
    let mut deliveries = [all(), all(), all()].concat();
    deliveries.shuffle(&mut random);
    let mut effects = 0;
    for batch in batches(&deliveries, &mut random) {
        let size = batch.len();
        let taken = store.project(batch).await.unwrap();
        assert_eq!(taken.applied + taken.ignored + taken.held, size);
        effects += taken.applied + taken.released;
    }
    assert_eq!(effects, all().len());
    assert_all_folded(&store).await;
}

pub(crate) async fn batches_through_two_handles_at_once_apply_each_event_once(shared: &Shared) {
    let mut tasks = Vec::new();
    for seed in 0..2 {
        let store = shared.open().await;
        tasks.push(tokio::spawn(async move {
            let mut random = StdRng::seed_from_u64(seed);
            let mut deliveries = all();
            deliveries.shuffle(&mut random);
            let mut effects = 0;
            for batch in batches(&deliveries, &mut random) {
                let taken = store.project(batch).await.unwrap();
                effects += taken.applied + taken.released;
            }
            effects
        }));
    }
    let mut effects = 0;
    for task in tasks {
        effects += task.await.unwrap();
    }
    assert_eq!(effects, all().len());
    assert_all_folded(&shared.open().await).await;
}

pub(crate) async fn a_gap_is_held_and_heals_through_another_handle(shared: &Shared) {
    let (one, other) = (shared.open().await, shared.open().await);
    let taken = one.project(events("a", [1, 3, 4, 3])).await.unwrap();
    assert_eq!(taken, ProjectionCounts { applied: 1, ignored: 1, held: 2, released: 0 });
    assert_rows(&other, &[("a", 1)]).await;
    let held = other.held(None, None, 10).await.unwrap();
    let versions: Vec<_> = held.iter().map(|held| (held.reason, held.version)).collect();
    assert_eq!(versions, [3, 4].map(|v| (HeldReason::Gap, Some(Version::new(v)))));

    let taken = other.project(events("a", [2])).await.unwrap();
    assert_eq!(taken, ProjectionCounts { applied: 1, ignored: 0, held: 0, released: 2 });
    assert_rows(&one, &[("a", 4)]).await;
    assert_eq!(one.held_summary().await.unwrap(), []);
}

pub(crate) async fn poison_of_each_kind_touches_its_stream_only(shared: &Shared) {
    let store = shared.open().await;
    let no_stream = br#"{"type":"TaskOpened","schema":1,"stream":"a/b","version":1,"time":"2026-01-01T00:00:00Z","data":{}}"#;
    let poison = || {
        vec![
            raw(b"not JSON", "b", 10),
            raw(&[0xff, 0x00], "no id at all", 11),
            raw(no_stream, "c", 12),
            unknown("d", 2),
        ]
    };
    let mut batch = poison();
    for stream in ["a", "b", "c", "d"] {
        batch.extend(events(stream, [1]));
    }
    batch.extend(poison());
    batch.extend(events("d", [3]));
    for stream in ["a", "b", "c"] {
        batch.extend(events(stream, [2]));
    }
    let taken = store.project(batch).await.unwrap();
    assert_eq!(taken, ProjectionCounts { applied: 7, ignored: 4, held: 5, released: 0 });
    assert_rows(&store, &[("a", 2), ("b", 2), ("c", 2), ("d", 1)]).await;

    let taken = store.project(poison()).await.unwrap();
    assert_eq!(
        taken,
        ProjectionCounts { ignored: 4, ..ProjectionCounts::default() },
        "a redelivery is held once"
    );
    let summary = store.held_summary().await.unwrap();
    let mut summary: Vec<_> = summary.iter().map(|s| (s.reason, s.events, s.streams)).collect();
    summary.sort_unstable();
    let expected = [
        (HeldReason::Gap, 1, 1),
        (HeldReason::Undecodable, 2, 1),
        (HeldReason::UnknownType, 1, 1),
        (HeldReason::NoValidStream, 1, 1),
    ];
    assert_eq!(summary, expected);
}

pub(crate) async fn what_the_fold_refuses_is_held_and_goes_on_after_a_repair(shared: &Shared) {
    let store = shared.open().await;
    let refused = |number| {
        let event = Event::TaskRenamed { title: REFUSED_TITLE.to_owned() };
        let value = Recorded { event, ..recorded("a", number) }.encode();
        raw(&value, "a", i64::try_from(number).unwrap())
    };
    let batch = || vec![incoming("a", 1), refused(2), refused(4), incoming("a", 5), incoming("b", 1)];
    let taken = store.project(batch()).await.unwrap();
    assert_eq!(taken, ProjectionCounts { applied: 2, ignored: 0, held: 3, released: 0 });
    assert_rows(&store, &[("a", 1), ("b", 1)]).await;
    assert!(store.see(&id("a")).await.unwrap().held);
    assert_eq!(store.project(batch()).await.unwrap().ignored, 5, "a redelivery is held once");
    let reasons = async || {
        let held = store.held(None, None, 10).await.unwrap();
        held.iter().map(|held| (held.version.unwrap().get(), held.reason)).collect::<Vec<_>>()
    };
    let (gap, refused) = (HeldReason::Gap, HeldReason::Refused);
    assert_eq!(reasons().await, [(2, refused), (4, gap), (5, gap)]);
    store.redrive(None).await.unwrap();
    assert_eq!(reasons().await, [(2, refused), (4, gap), (5, gap)], "it is refused today as well");

    store.repair(vec![fold("a", 3)]).await.unwrap();
    assert_rows(&store, &[("a", 3)]).await;
    assert_eq!(reasons().await, [(4, refused), (5, gap)], "what was at a gap is refused when it is next");
    store.repair(vec![fold("a", 4)]).await.unwrap();
    assert_rows(&store, &[("a", 5)]).await;
    assert_eq!(store.held_summary().await.unwrap(), []);
}

pub(crate) async fn calls_at_the_same_time_get_their_own_counts(shared: &Shared) {
    let store = shared.open().await;
    let calls: Vec<_> = (1..=40)
        .map(|number| {
            let (store, stream) = (store.clone(), format!("o{number}"));
            tokio::spawn(async move { store.project(events(&stream, 1..=number)).await.unwrap() })
        })
        .collect();
    for (call, number) in calls.into_iter().zip(1..) {
        assert_eq!(call.await.unwrap(), ProjectionCounts { applied: number, ..ProjectionCounts::default() });
    }
    assert_eq!(version_of(&store, "o40").await, 40);
}

pub(crate) async fn what_was_answered_is_there_after_a_restart(shared: &Shared) {
    let store = shared.open().await;
    store.project(events("a", [1, 2, 4])).await.unwrap();
    drop(store);
    let store = shared.open().await;
    assert_eq!(store.get(&id("a")).await.unwrap(), Some(fold("a", 2)));
    assert_eq!(store.project(events("a", [3])).await.unwrap().released, 1);
    store.ping().await.unwrap();
}
