//! The records that are invoked together, and the time of the invocation.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use event_source_mapping::event::KafkaEvent;
use event_source_mapping::{FilterCriteria, InProcessTarget, Mapping};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;

use crate::support::{Calls, Topic, mapping, ok, start};

/// A function that notes what it gets and waits for a permit each time.
fn gated(calls: &Calls, gate: &Arc<Semaphore>) -> impl event_source_mapping::Target {
    let (calls, gate) = (calls.clone(), Arc::clone(gate));
    InProcessTarget::new(move |event, _| {
        calls.note(&event);
        let gate = Arc::clone(&gate);
        async move {
            gate.acquire().await.unwrap().forget();
            ok()
        }
    })
}

fn noting(calls: &Calls) -> impl event_source_mapping::Target {
    let calls = calls.clone();
    InProcessTarget::new(move |event, _| {
        calls.note(&event);
        async { ok() }
    })
}

#[tokio::test(start_paused = true)]
async fn a_batch_has_no_more_records_than_the_batch_size() {
    let topic = Topic::with(&[(0, 25)]);
    let calls = Calls::default();
    let running = start(Mapping { batch_size: 10, ..mapping() }, &topic, noting(&calls));
    topic.until_committed(0, 25).await;
    running.stop().await;
    assert!(calls.of(0).iter().all(|offsets| offsets.len() <= 10));
    assert_eq!(calls.of(0).concat(), (0..25).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn what_gathered_during_an_invocation_is_the_next_batch_and_may_be_of_several_partitions() {
    let topic = Topic::with(&[(0, 1)]);
    let (calls, gate) = (Calls::default(), Arc::new(Semaphore::new(0)));
    let running = start(mapping(), &topic, gated(&calls, &gate));
    while calls.all().is_empty() {
        tokio::task::yield_now().await;
    }
    topic.write(0, 2);
    topic.write(1, 3);
    while topic.position(1) < 3 {
        tokio::task::yield_now().await;
    }
    gate.add_permits(2);
    topic.until_committed(1, 3).await;
    topic.until_committed(0, 3).await;
    running.stop().await;
    assert_eq!(
        calls.all(),
        [BTreeMap::from([(0, vec![0])]), BTreeMap::from([(0, vec![1, 2]), (1, vec![0, 1, 2])])]
    );
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_shared_by_the_partitions_that_wait() {
    let topic = Topic::with(&[(9, 1)]);
    let (calls, gate) = (Calls::default(), Arc::new(Semaphore::new(0)));
    let running = start(Mapping { batch_size: 12, ..mapping() }, &topic, gated(&calls, &gate));
    while calls.all().is_empty() {
        tokio::task::yield_now().await;
    }
    for (partition, count) in [(0, 2), (1, 100), (2, 100)] {
        topic.write(partition, count);
    }
    while [(0, 2), (1, 5), (2, 5)].iter().any(|&(partition, count)| topic.position(partition) < count) {
        tokio::task::yield_now().await;
    }
    gate.add_permits(100);
    topic.until_committed(1, 100).await;
    topic.until_committed(2, 100).await;
    running.stop().await;
    let second: BTreeMap<i32, usize> =
        calls.all()[1].iter().map(|(partition, offsets)| (*partition, offsets.len())).collect();
    assert_eq!(second, BTreeMap::from([(0, 2), (1, 5), (2, 5)]), "what one leaves goes to the others");
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_no_larger_than_the_payload_limit_and_a_record_that_is_goes_alone() {
    let topic = Topic::default();
    for length in [100, 5_000, 5_000, 40_000, 100, 100] {
        topic.write_record(|record| record.value = Some(vec![b'x'; length].into()), 0);
    }
    let (sizes, mut received) = mpsc::unbounded_channel();
    let target = InProcessTarget::new(move |event: KafkaEvent, _| {
        let records: usize = event.records.values().map(Vec::len).sum();
        sizes.send((records, serde_json::to_vec(&event).unwrap().len())).unwrap();
        async { ok() }
    });
    let running = start(Mapping { payload_limit: 10_000, ..mapping() }, &topic, target);
    topic.until_committed(0, 6).await;
    running.stop().await;
    let mut counts = Vec::new();
    while let Some((records, bytes)) = received.recv().await {
        assert!(bytes <= 10_000 || records == 1, "{records} records in {bytes} bytes");
        counts.push(records);
    }
    assert_eq!(counts, [2, 1, 1, 2]);
}

#[tokio::test(start_paused = true)]
async fn what_waits_is_bounded_however_many_partitions_are_behind() {
    let partitions: Vec<(i32, i64)> = (0..40).map(|partition| (partition, 100)).collect();
    let topic = Topic::with(&partitions);
    let (calls, gate) = (Calls::default(), Arc::new(Semaphore::new(0)));
    let running = start(Mapping { batch_size: 100, ..mapping() }, &topic, gated(&calls, &gate));
    // All partitions are paused but the one whose records are with the function.
    while topic.paused() < partitions.len() - 1 {
        tokio::task::yield_now().await;
    }
    let read: usize = partitions.iter().map(|&(partition, _)| topic.position(partition)).sum();
    // One batch is with the function and two wait. Or each partition has its share of these two, which was larger while fewer
    // partitions were known.
    assert!(read <= 10 * 100, "{read} records are in memory, of {} partitions", partitions.len());
    gate.add_permits(1_000);
    for (partition, count) in partitions {
        topic.until_committed(partition, count).await;
    }
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_batch_gathers_from_its_first_record_until_the_window_ends() {
    let topic = Topic::with(&[(0, 1)]);
    let calls = Calls::default();
    let begun = Instant::now();
    let mapping = Mapping { window: Duration::from_millis(500), ..mapping() };
    let running = start(mapping, &topic, noting(&calls));
    while topic.position(0) == 0 {
        tokio::task::yield_now().await;
    }
    tokio::time::advance(Duration::from_millis(300)).await;
    topic.write(1, 2);
    topic.until_committed(1, 2).await;
    assert_eq!(begun.elapsed().as_millis() / 10, 50, "500 ms after the first record, not after the last");
    running.stop().await;
    assert_eq!(calls.all(), [BTreeMap::from([(0, vec![0]), (1, vec![0, 1])])]);
}

#[tokio::test(start_paused = true)]
async fn a_full_batch_does_not_wait_for_its_window() {
    let topic = Topic::with(&[(0, 6), (1, 4)]);
    let calls = Calls::default();
    let begun = Instant::now();
    let mapping = Mapping { window: Duration::from_secs(300), batch_size: 10, ..mapping() };
    let running = start(mapping, &topic, noting(&calls));
    topic.until_committed(1, 4).await;
    assert!(begun.elapsed() < Duration::from_secs(1));
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn records_that_the_filter_refuses_are_not_invoked_and_are_committed_in_sequence() {
    let topic = Topic::default();
    for kind in ["no", "yes", "no", "no", "yes", "no"] {
        topic.write_record(|record| record.value = Some(format!(r#"{{"kind":"{kind}"}}"#).into()), 0);
    }
    topic.write_record(|record| record.value = None, 0);
    let (calls, gate) = (Calls::default(), Arc::new(Semaphore::new(0)));
    let filter = FilterCriteria::parse([r#"{"value": {"kind": ["yes"]}}"#]).unwrap();
    let running = start(Mapping { filter, batch_size: 1, ..mapping() }, &topic, gated(&calls, &gate));
    topic.until_committed(0, 1).await;
    assert_eq!(topic.commits(), [(0, 1)], "nothing after the first that is with the function");
    gate.add_permits(1);
    topic.until_committed(0, 4).await;
    assert_eq!(topic.committed(0), 4, "up to the second that is with the function");
    gate.add_permits(1);
    topic.until_committed(0, 7).await;
    running.stop().await;
    assert_eq!(calls.of(0), [vec![1], vec![4]]);
}

#[tokio::test(start_paused = true)]
async fn a_partition_that_is_behind_is_paused_and_the_others_are_read_on() {
    let topic = Topic::with(&[(0, 1000)]);
    let (calls, gate) = (Calls::default(), Arc::new(Semaphore::new(0)));
    let mapping = Mapping { batch_size: 10, concurrency: 2, ..mapping() };
    let running = start(mapping, &topic, gated(&calls, &gate));
    while topic.pauses() == 0 {
        tokio::task::yield_now().await;
    }
    topic.write(1, 3);
    while calls.of(1).is_empty() {
        tokio::task::yield_now().await;
    }
    assert!(topic.position(0) <= 40, "{} records of a stuck partition are in memory", topic.position(0));
    gate.add_permits(1000);
    topic.until_committed(0, 1000).await;
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn partitions_are_invoked_side_by_side_as_far_as_the_concurrency_goes() {
    let topic = Topic::with(&[(0, 1)]);
    let (calls, gate) = (Calls::default(), Arc::new(Semaphore::new(0)));
    let running = start(Mapping { concurrency: 2, ..mapping() }, &topic, gated(&calls, &gate));
    for partition in [1, 2] {
        while calls.all().len() < partition as usize {
            tokio::task::yield_now().await;
        }
        topic.write(partition, 1);
        while topic.position(partition) == 0 {
            tokio::task::yield_now().await;
        }
    }
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(calls.all().len(), 2, "the third partition waits for a slot");
    gate.add_permits(3);
    topic.until_committed(2, 1).await;
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_full_batch_leaves_the_other_partitions_to_those_beside_it() {
    let topic = Topic::with(&[(0, 20), (1, 10), (2, 3)]);
    let (calls, gate) = (Calls::default(), Arc::new(Semaphore::new(0)));
    let mapping = Mapping { batch_size: 10, concurrency: 3, ..mapping() };
    let running = start(mapping, &topic, gated(&calls, &gate));
    while calls.all().len() < 3 {
        tokio::task::yield_now().await;
    }
    let first = |count: i64| (0..count).collect::<Vec<_>>();
    for (call, partition, count) in [(0, 0, 10), (1, 1, 10), (2, 2, 3)] {
        assert_eq!(calls.all()[call], BTreeMap::from([(partition, first(count))]));
    }
    gate.add_permits(100);
    topic.until_committed(0, 20).await;
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn nothing_less_than_a_full_batch_is_invoked_beside_others_where_that_is_asked_for() {
    let topic = Topic::with(&[(9, 1)]);
    let (calls, gate) = (Calls::default(), Arc::new(Semaphore::new(0)));
    let mapping = Mapping { batch_size: 10, concurrency: 2, full_beside_others: true, ..mapping() };
    let running = start(mapping, &topic, gated(&calls, &gate));
    while calls.all().is_empty() {
        tokio::task::yield_now().await;
    }
    topic.write(0, 4);
    topic.write(1, 5);
    while topic.position(1) < 5 {
        tokio::task::yield_now().await;
    }
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(calls.all().len(), 1, "one record is missing");
    topic.write(2, 1);
    while calls.all().len() < 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(calls.all()[1].values().map(Vec::len).sum::<usize>(), 10);
    gate.add_permits(2);
    topic.until_committed(2, 1).await;
    running.stop().await;
}
