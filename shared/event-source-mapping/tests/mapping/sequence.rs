//! Order and completeness, whatever fails.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use event_source_mapping::event::{BatchResponse, KafkaEvent};
use event_source_mapping::{InProcessTarget, Mapping, OnFailure};
use proptest::prelude::*;

use crate::support::{Topic, failed, mapping, offsets, start};

/// The function's behaviour in an invocation.
#[derive(Clone, Debug)]
enum Behaviour {
    Succeeds,
    Fails,
    Panics,
    /// Names the record at this index, counted over all of the batch.
    Names(usize),
    Waits(u64),
}

fn behaviour() -> impl Strategy<Value = Behaviour> {
    prop_oneof![
        4 => Just(Behaviour::Succeeds),
        2 => Just(Behaviour::Fails),
        1 => Just(Behaviour::Panics),
        3 => (0usize..20).prop_map(Behaviour::Names),
        2 => (0u64..2_000).prop_map(Behaviour::Waits),
    ]
}

/// The records that are done, in order, and the partitions in an invocation.
#[derive(Default)]
struct Ledger {
    calls: usize,
    done: BTreeMap<i32, Vec<i64>>,
    running: BTreeSet<i32>,
    broken: Vec<String>,
}

impl Ledger {
    fn begin(&mut self, call: &BTreeMap<i32, Vec<i64>>) {
        for (partition, offsets) in call {
            if !self.running.insert(*partition) {
                self.broken.push(format!("partition {partition} is in two invocations"));
            }
            let expected = self.done.get(partition).map_or(0, |done| done.len() as i64);
            let in_sequence: Vec<i64> = (expected..).take(offsets.len()).collect();
            if *offsets != in_sequence {
                self.broken.push(format!("partition {partition}: {offsets:?} came, not {in_sequence:?}"));
            }
        }
    }

    /// Notes that everything before the record that failed is done.
    fn end(&mut self, call: &BTreeMap<i32, Vec<i64>>, first_failed: Option<(i32, i64)>) {
        for (partition, offsets) in call {
            self.running.remove(partition);
            let is_done =
                |offset: &&i64| first_failed.is_none_or(|(failed, at)| failed != *partition || **offset < at);
            self.done.entry(*partition).or_default().extend(offsets.iter().take_while(is_done));
        }
    }

    fn abort(&mut self, call: &BTreeMap<i32, Vec<i64>>) {
        call.keys().for_each(|partition| {
            self.running.remove(partition);
        });
    }
}

async fn invoke(
    ledger: Arc<Mutex<Ledger>>,
    event: KafkaEvent,
    behaviours: Arc<Vec<Behaviour>>,
) -> Result<BatchResponse, &'static str> {
    let call = offsets(&event);
    let behaviour = {
        let mut ledger = ledger.lock().unwrap();
        ledger.begin(&call);
        ledger.calls += 1;
        behaviours.get(ledger.calls - 1).cloned().unwrap_or(Behaviour::Succeeds)
    };
    if let Behaviour::Waits(milliseconds) = behaviour {
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
    }
    tokio::task::yield_now().await;
    let mut ledger = ledger.lock().unwrap();
    match behaviour {
        Behaviour::Fails => {
            ledger.abort(&call);
            Err("on purpose")
        }
        Behaviour::Panics => {
            ledger.abort(&call);
            drop(ledger);
            panic!("on purpose");
        }
        Behaviour::Names(place) => {
            let all: Vec<(i32, i64)> = call
                .iter()
                .flat_map(|(partition, offsets)| offsets.iter().map(|offset| (*partition, *offset)))
                .collect();
            let named = all[place % all.len()];
            ledger.end(&call, Some(named));
            Ok(failed(&[named]))
        }
        Behaviour::Succeeds | Behaviour::Waits(_) => {
            ledger.end(&call, None);
            Ok(BatchResponse::default())
        }
    }
}

/// Runs a mapping over `counts` records a partition. Returns the topic and the ledger.
async fn play(mapping: Mapping, counts: Vec<i64>, behaviours: Vec<Behaviour>) -> (Topic, Arc<Mutex<Ledger>>) {
    let partitions: Vec<(i32, i64)> = (0..).zip(counts.iter().copied()).collect();
    let topic = Topic::with(&partitions);
    let ledger = Arc::new(Mutex::new(Ledger::default()));
    let (noted, behaviours) = (Arc::clone(&ledger), Arc::new(behaviours));
    let target =
        InProcessTarget::new(move |event, _| invoke(Arc::clone(&noted), event, Arc::clone(&behaviours)));
    let running = start(mapping, &topic, target);
    for (partition, count) in partitions {
        topic.until_committed(partition, count).await;
    }
    running.stop().await;
    (topic, ledger)
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(future)
}

fn rising(commits: &[(i32, i64)]) -> bool {
    let mut last: BTreeMap<i32, i64> = BTreeMap::new();
    commits.iter().all(|(partition, next)| last.insert(*partition, *next).is_none_or(|before| before < *next))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(150) })]

    #[test]
    fn each_partition_is_done_in_sequence_and_whole_whatever_fails(
        counts in proptest::collection::vec(1i64..40, 1..5),
        behaviours in proptest::collection::vec(behaviour(), 0..40),
        batch_size in 1usize..20,
        concurrency in 1usize..4,
        bisect_on_function_error in any::<bool>(),
        window in prop_oneof![Just(0u64), Just(300)],
    ) {
        let mapping = Mapping {
            batch_size,
            concurrency,
            bisect_on_function_error,
            window: Duration::from_millis(window),
            report_batch_item_failures: true,
            ..mapping()
        };
        let (topic, ledger) = block_on(play(mapping, counts.clone(), behaviours));
        let ledger = ledger.lock().unwrap();
        prop_assert!(ledger.broken.is_empty(), "{:?}", ledger.broken);
        for (partition, count) in (0..).zip(counts) {
            prop_assert_eq!(&ledger.done[&partition], &(0..count).collect::<Vec<_>>());
        }
        prop_assert!(rising(&topic.commits()), "{:?}", topic.commits());
    }

    #[test]
    fn every_record_is_done_with_or_given_up_and_none_is_both(
        counts in proptest::collection::vec(1i64..30, 1..4),
        behaviours in proptest::collection::vec(behaviour(), 0..60),
        batch_size in 1usize..12,
        maximum_retry_attempts in 0u32..3,
        bisect_on_function_error in any::<bool>(),
    ) {
        let given_up: Arc<Mutex<Vec<(i32, i64)>>> = Arc::default();
        let letters = Arc::clone(&given_up);
        let mapping = Mapping {
            batch_size,
            bisect_on_function_error,
            maximum_retry_attempts: Some(maximum_retry_attempts),
            report_batch_item_failures: true,
            on_failure: OnFailure::hand_over(move |discarded| {
                let places = discarded.records.iter().map(|record| (record.partition, record.offset));
                letters.lock().unwrap().extend(places);
                async { Ok(()) }
            }),
            ..mapping()
        };
        let (_, ledger) = block_on(play(mapping, counts.clone(), behaviours));
        let given_up = given_up.lock().unwrap().clone();
        let done = ledger.lock().unwrap().done.clone();
        for (partition, count) in (0..).zip(counts) {
            let mut all: Vec<i64> = done.get(&partition).cloned().unwrap_or_default();
            prop_assert!(all.is_sorted(), "in sequence: {:?}", all);
            all.extend(given_up.iter().filter(|(of, _)| *of == partition).map(|(_, offset)| offset));
            all.sort_unstable();
            prop_assert_eq!(all, (0..count).collect::<Vec<_>>());
        }
    }
}
