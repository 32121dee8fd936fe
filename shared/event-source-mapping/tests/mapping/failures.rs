//! The handling of records that a function fails with.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use event_source_mapping::event::{BatchResponse, KafkaEvent};
use event_source_mapping::{
    DeadLetter, DiscardReason, InProcessTarget, InvokeError, Mapping, OnFailure, Target,
};
use tokio::time::Instant;

use crate::support::{Calls, Topic, failed, mapping, offsets, ok, start};

/// A function that answers by its event and the number of earlier invocations.
fn function(
    calls: &Calls,
    answer: impl Fn(usize, &KafkaEvent) -> Result<BatchResponse, &'static str> + Send + Sync + 'static,
) -> impl Target {
    let calls = calls.clone();
    InProcessTarget::new(move |event, _| {
        let answer = answer(calls.note(&event), &event);
        async move { answer }
    })
}

/// Fails while the record is in the batch.
fn poisoned(
    partition: i32,
    offset: i64,
) -> impl Fn(usize, &KafkaEvent) -> Result<BatchResponse, &'static str> {
    move |_, event| match offsets(event).get(&partition) {
        Some(offsets) if offsets.contains(&offset) => Err("poison"),
        _ => ok(),
    }
}

fn partial() -> Mapping {
    Mapping { report_batch_item_failures: true, ..mapping() }
}

#[derive(Clone, Default)]
struct DeadLetters(Arc<Mutex<Vec<DeadLetter>>>);

impl DeadLetters {
    fn destination(&self) -> OnFailure {
        let letters = self.clone();
        OnFailure::hand_over(move |discarded| {
            letters.0.lock().unwrap().push(discarded);
            async { Ok(()) }
        })
    }

    /// Partition, offsets, reason, attempts.
    fn all(&self) -> Vec<(i32, Vec<i64>, DiscardReason, u32)> {
        let of = |letter: &DeadLetter| {
            let offsets = letter.records.iter().map(|record| record.offset).collect();
            (letter.records[0].partition, offsets, letter.reason, letter.attempts)
        };
        self.0.lock().unwrap().iter().map(of).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_failed_as_a_whole_comes_again_and_nothing_of_it_is_committed_before() {
    let topic = Topic::with(&[(0, 5)]);
    let calls = Calls::default();
    let seen = topic.clone();
    let running = start(
        mapping(),
        &topic,
        function(&calls, move |call, _| {
            assert_eq!(seen.commits(), []);
            if call < 3 { Err("not yet") } else { ok() }
        }),
    );
    topic.until_committed(0, 5).await;
    running.stop().await;
    assert_eq!(calls.of(0), vec![vec![0, 1, 2, 3, 4]; 4]);
    assert_eq!(topic.commits(), [(0, 5)]);
}

#[tokio::test(start_paused = true)]
async fn retries_wait_longer_each_time_up_to_the_most() {
    let topic = Topic::with(&[(0, 1)]);
    let calls = Calls::default();
    let times = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&times);
    let running = start(
        mapping(),
        &topic,
        function(&calls, move |call, _| {
            noted.lock().unwrap().push(Instant::now());
            if call < 7 { Err("not yet") } else { ok() }
        }),
    );
    topic.until_committed(0, 1).await;
    running.stop().await;
    let times = times.lock().unwrap().clone();
    let waits: Vec<u128> = times.windows(2).map(|pair| (pair[1] - pair[0]).as_millis()).collect();
    for (wait, most) in waits.iter().zip([100, 200, 400, 800, 1000, 1000, 1000]) {
        assert!((most / 2..=most + 2).contains(wait), "waited {waits:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_partition_that_fails_does_not_hold_up_the_others() {
    let topic = Topic::with(&[(0, 3), (1, 50)]);
    let calls = Calls::default();
    let running = start(Mapping { batch_size: 10, ..mapping() }, &topic, function(&calls, poisoned(0, 1)));
    topic.until_committed(1, 50).await;
    running.stop().await;
    assert_eq!(topic.committed(0), 0);
}

#[tokio::test(start_paused = true)]
async fn a_partial_failure_commits_what_came_before_and_the_rest_comes_again() {
    let topic = Topic::with(&[(0, 5), (1, 2)]);
    let calls = Calls::default();
    let running = start(
        partial(),
        &topic,
        function(&calls, |call, _| match call {
            0 => Ok(failed(&[(0, 4), (0, 2)])),
            _ => ok(),
        }),
    );
    topic.until_committed(0, 5).await;
    running.stop().await;
    assert_eq!(
        calls.all(),
        [BTreeMap::from([(0, vec![0, 1, 2, 3, 4]), (1, vec![0, 1])]), BTreeMap::from([(0, vec![2, 3, 4])]),]
    );
    assert_eq!(topic.commits(), [(0, 2), (1, 2), (0, 5)]);
}

#[tokio::test(start_paused = true)]
async fn records_that_arrived_meanwhile_come_with_those_of_a_partial_failure() {
    let topic = Topic::with(&[(0, 2)]);
    let calls = Calls::default();
    let more = topic.clone();
    let running = start(
        partial(),
        &topic,
        function(&calls, move |call, _| {
            if call == 0 {
                more.write(0, 2);
                return Ok(failed(&[(0, 1)]));
            }
            ok()
        }),
    );
    topic.until_committed(0, 4).await;
    running.stop().await;
    assert_eq!(calls.of(0), [vec![0, 1], vec![1, 2, 3]]);
}

#[tokio::test(start_paused = true)]
async fn progress_resets_the_count_of_retries() {
    let topic = Topic::with(&[(0, 4)]);
    let (calls, letters) = (Calls::default(), DeadLetters::default());
    let mapping = Mapping { maximum_retry_attempts: Some(1), on_failure: letters.destination(), ..partial() };
    // Each record fails once.
    let once = |call, _: &KafkaEvent| if call < 4 { Ok(failed(&[(0, call as i64)])) } else { ok() };
    let running = start(mapping, &topic, function(&calls, once));
    topic.until_committed(0, 4).await;
    running.stop().await;
    assert_eq!(letters.all(), []);
}

#[tokio::test(start_paused = true)]
async fn of_a_partial_failure_only_the_record_that_was_named_is_given_up() {
    let topic = Topic::with(&[(0, 5)]);
    let (calls, letters) = (Calls::default(), DeadLetters::default());
    let mapping = Mapping { maximum_retry_attempts: Some(2), on_failure: letters.destination(), ..partial() };
    let running = start(
        mapping,
        &topic,
        function(&calls, |_, event| {
            Ok(if offsets(event)[&0].contains(&2) { failed(&[(0, 2)]) } else { BatchResponse::default() })
        }),
    );
    topic.until_committed(0, 5).await;
    running.stop().await;
    assert_eq!(letters.all(), [(0, vec![2], DiscardReason::RetriesExhausted, 3)]);
    assert_eq!(calls.of(0), [vec![0, 1, 2, 3, 4], vec![2, 3, 4], vec![2, 3, 4], vec![3, 4]]);
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_not_looked_at_when_the_mapping_does_not_say_so() {
    let topic = Topic::with(&[(0, 3)]);
    let calls = Calls::default();
    let running = start(mapping(), &topic, function(&calls, |_, _| Ok(failed(&[(0, 0)]))));
    topic.until_committed(0, 3).await;
    running.stop().await;
    assert_eq!(calls.all().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_names_what_was_not_in_the_batch_is_a_failure_of_the_whole() {
    for named in [(0, 3), (7, 0)] {
        let topic = Topic::with(&[(0, 3)]);
        let calls = Calls::default();
        let running = start(
            partial(),
            &topic,
            function(&calls, move |call, _| if call == 0 { Ok(failed(&[named, (0, 1)])) } else { ok() }),
        );
        topic.until_committed(0, 3).await;
        running.stop().await;
        assert_eq!(calls.of(0), [vec![0, 1, 2], vec![0, 1, 2]]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_failed_too_often_goes_to_the_failure_destination_and_is_committed_then() {
    let topic = Topic::with(&[(0, 3)]);
    let (calls, letters) = (Calls::default(), DeadLetters::default());
    let mapping = Mapping { maximum_retry_attempts: Some(2), on_failure: letters.destination(), ..mapping() };
    let running = start(mapping, &topic, function(&calls, poisoned(0, 1)));
    topic.until_committed(0, 3).await;
    topic.write(0, 1);
    topic.until_committed(0, 4).await;
    running.stop().await;
    assert_eq!(letters.all(), [(0, vec![0, 1, 2], DiscardReason::RetriesExhausted, 3)]);
    assert!(letters.0.lock().unwrap()[0].error.contains("poison"));
    assert_eq!(calls.of(0).len(), 4);
}

#[tokio::test(start_paused = true)]
async fn partitions_of_a_batch_that_failed_are_told_apart() {
    let topic = Topic::with(&[(0, 2), (1, 2), (2, 2)]);
    let (calls, letters) = (Calls::default(), DeadLetters::default());
    let mapping = Mapping { maximum_retry_attempts: Some(1), on_failure: letters.destination(), ..mapping() };
    let running = start(mapping, &topic, function(&calls, poisoned(1, 0)));
    for partition in 0..3 {
        topic.until_committed(partition, 2).await;
    }
    running.stop().await;
    assert_eq!(letters.all(), [(1, vec![0, 1], DiscardReason::RetriesExhausted, 2)]);
}

#[tokio::test(start_paused = true)]
async fn bisecting_finds_the_one_record_at_fault() {
    let topic = Topic::with(&[(0, 100), (1, 10)]);
    let (calls, letters) = (Calls::default(), DeadLetters::default());
    let mapping = Mapping {
        batch_size: 200,
        bisect_on_function_error: true,
        maximum_retry_attempts: Some(1),
        on_failure: letters.destination(),
        ..mapping()
    };
    let running = start(mapping, &topic, function(&calls, poisoned(0, 37)));
    topic.until_committed(0, 100).await;
    topic.until_committed(1, 10).await;
    running.stop().await;
    assert_eq!(letters.all(), [(0, vec![37], DiscardReason::RetriesExhausted, 2)]);
    let halves = calls.of(0);
    assert_eq!(halves[1], (0..100).collect::<Vec<_>>(), "first the partitions are parted");
    assert_eq!(halves[2], (0..50).collect::<Vec<_>>(), "then the records");
    assert!(halves.len() < 25, "{} invocations", halves.len());
}

#[tokio::test(start_paused = true)]
async fn bisecting_never_passes_a_record_before_an_earlier_one() {
    let topic = Topic::with(&[(0, 32)]);
    let (calls, letters) = (Calls::default(), DeadLetters::default());
    let mapping = Mapping {
        bisect_on_function_error: true,
        maximum_retry_attempts: Some(0),
        on_failure: letters.destination(),
        ..partial()
    };
    let done = Arc::new(Mutex::new(Vec::<i64>::new()));
    let noted = Arc::clone(&done);
    // Fails as a whole for some and in part for others.
    let running = start(
        mapping,
        &topic,
        function(&calls, move |_, event| {
            let offsets = offsets(event).remove(&0).unwrap();
            if offsets.iter().any(|offset| offset % 10 == 3) {
                return Err("poison");
            }
            let fine: Vec<i64> = offsets.iter().copied().take_while(|offset| offset % 10 != 7).collect();
            noted.lock().unwrap().extend(&fine);
            Ok(offsets.get(fine.len()).map(|offset| failed(&[(0, *offset)])).unwrap_or_default())
        }),
    );
    topic.until_committed(0, 32).await;
    running.stop().await;
    let lost: Vec<i64> = letters.all().into_iter().flat_map(|(_, offsets, ..)| offsets).collect();
    assert_eq!(lost, [3, 7, 13, 17, 23, 27]);
    let rest: Vec<i64> = (0..32).filter(|offset| !lost.contains(offset)).collect();
    assert_eq!(*done.lock().unwrap(), rest);
}

#[tokio::test(start_paused = true)]
async fn a_function_that_is_not_reached_is_tried_without_end_and_that_does_not_count() {
    #[derive(Clone)]
    struct UnreachableTarget(Calls);
    impl Target for UnreachableTarget {
        async fn invoke(
            &self,
            event: KafkaEvent,
            _: std::time::Instant,
        ) -> Result<BatchResponse, InvokeError> {
            match self.0.note(&event) {
                0..50 => Err(InvokeError::Transport("throttled".to_owned())),
                _ => Ok(BatchResponse::default()),
            }
        }
    }
    let topic = Topic::with(&[(0, 2)]);
    let (calls, letters) = (Calls::default(), DeadLetters::default());
    let mapping = Mapping {
        maximum_retry_attempts: Some(0),
        bisect_on_function_error: true,
        on_failure: letters.destination(),
        ..mapping()
    };
    let running = start(mapping, &topic, UnreachableTarget(calls.clone()));
    topic.until_committed(0, 2).await;
    running.stop().await;
    assert_eq!(letters.all(), []);
    assert_eq!(calls.of(0), vec![vec![0, 1]; 51]);
}

#[tokio::test(start_paused = true)]
async fn a_record_that_is_too_old_is_given_up_without_being_invoked() {
    let topic = Topic::default();
    topic.write_record(|record| record.timestamp = 1, 0);
    topic.write(0, 1);
    topic.write_record(|record| record.timestamp = 1, 0);
    let (calls, letters) = (Calls::default(), DeadLetters::default());
    let mapping = Mapping {
        maximum_record_age: Some(Duration::from_secs(3600)),
        on_failure: letters.destination(),
        ..mapping()
    };
    let running = start(Mapping { batch_size: 1, ..mapping }, &topic, function(&calls, |_, _| ok()));
    topic.until_committed(0, 3).await;
    running.stop().await;
    assert_eq!(calls.of(0), [vec![1]]);
    assert_eq!(
        letters.all(),
        [(0, vec![0], DiscardReason::TooOld, 0), (0, vec![2], DiscardReason::TooOld, 0)]
    );
}

#[tokio::test(start_paused = true)]
async fn a_record_that_is_too_old_behind_young_ones_is_given_up_in_its_turn() {
    let topic = Topic::default();
    for is_old in [false, false, true, true, false, true] {
        topic.write_record(|record| record.timestamp = if is_old { 1 } else { record.timestamp }, 0);
    }
    topic.write(1, 2);
    let (calls, letters) = (Calls::default(), DeadLetters::default());
    let (seen, given_up) = (topic.clone(), letters.clone());
    let mapping = Mapping {
        maximum_record_age: Some(Duration::from_secs(3600)),
        on_failure: letters.destination(),
        ..mapping()
    };
    let running = start(
        mapping,
        &topic,
        function(&calls, move |_, event| {
            if offsets(event).get(&0) == Some(&vec![4]) {
                // The records before it went first, to the function or to the failure destination.
                assert_eq!((seen.committed(0), given_up.all().len()), (4, 1));
            }
            ok()
        }),
    );
    topic.until_committed(0, 6).await;
    running.stop().await;
    assert_eq!(calls.of(0), [vec![0, 1], vec![4]]);
    assert_eq!(
        letters.all(),
        [(0, vec![2, 3], DiscardReason::TooOld, 0), (0, vec![5], DiscardReason::TooOld, 0)]
    );
}

#[tokio::test(start_paused = true)]
async fn of_a_batch_that_is_bisected_what_is_too_old_is_given_up_for_its_age() {
    let topic = Topic::default();
    topic.write(0, 4);
    let (calls, letters) = (Calls::default(), DeadLetters::default());
    let mapping = Mapping {
        maximum_record_age: Some(Duration::from_secs(3600)),
        bisect_on_function_error: true,
        maximum_retry_attempts: Some(0),
        on_failure: letters.destination(),
        ..mapping()
    };
    let more = topic.clone();
    let running = start(
        mapping,
        &topic,
        function(&calls, move |call, event| {
            if call == 0 {
                more.write_record(|record| record.timestamp = 1, 0);
            }
            poisoned(0, 1)(call, event)
        }),
    );
    topic.until_committed(0, 5).await;
    running.stop().await;
    assert_eq!(
        letters.all(),
        [(0, vec![1], DiscardReason::RetriesExhausted, 1), (0, vec![4], DiscardReason::TooOld, 0)]
    );
    assert_eq!(calls.of(0), [vec![0, 1, 2, 3], vec![0, 1], vec![0], vec![1], vec![2, 3]]);
}

#[tokio::test(start_paused = true)]
async fn what_the_failure_destination_does_not_take_is_not_committed() {
    let topic = Topic::with(&[(0, 2)]);
    let (calls, attempts) = (Calls::default(), Arc::new(Mutex::new(0)));
    let (seen, counted) = (topic.clone(), Arc::clone(&attempts));
    let on_failure = OnFailure::hand_over(move |_| {
        assert_eq!(seen.commits(), []);
        let mut attempts = counted.lock().unwrap();
        *attempts += 1;
        let answer = if *attempts < 4 { Err("not now".to_owned()) } else { Ok(()) };
        async { answer }
    });
    let mapping = Mapping { maximum_retry_attempts: Some(0), on_failure, ..mapping() };
    let running = start(mapping, &topic, function(&calls, |_, _| Err("always")));
    topic.until_committed(0, 2).await;
    running.stop().await;
    assert_eq!((calls.all().len(), *attempts.lock().unwrap()), (1, 4));
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_the_function_is_a_failure_and_nothing_more() {
    let topic = Topic::with(&[(0, 2)]);
    let (calls, letters) = (Calls::default(), DeadLetters::default());
    let mapping = Mapping { maximum_retry_attempts: Some(1), on_failure: letters.destination(), ..mapping() };
    let running = start(
        mapping,
        &topic,
        function(&calls, |call, _| {
            assert!(call > 1, "on purpose");
            ok()
        }),
    );
    topic.until_committed(0, 2).await;
    topic.write(0, 1);
    topic.until_committed(0, 3).await;
    running.stop().await;
    assert_eq!(letters.all(), [(0, vec![0, 1], DiscardReason::RetriesExhausted, 2)]);
    assert!(letters.0.lock().unwrap()[0].error.contains("it panicked: on purpose"));
}

#[tokio::test(start_paused = true)]
async fn an_invocation_that_takes_too_long_is_a_failure() {
    let topic = Topic::with(&[(0, 1)]);
    let calls = Calls::default();
    let noted = calls.clone();
    let target = InProcessTarget::new(move |event: KafkaEvent, deadline: std::time::Instant| {
        let call = noted.note(&event);
        let given = deadline - Instant::now().into_std();
        async move {
            assert_eq!(given, Duration::from_secs(30));
            if call == 0 {
                std::future::pending::<()>().await;
            }
            ok()
        }
    });
    let running = start(mapping(), &topic, target);
    topic.until_committed(0, 1).await;
    running.stop().await;
    assert_eq!(calls.all().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_fails_is_asked_again() {
    let topic = Topic::with(&[(0, 3)]);
    let calls = Calls::default();
    topic.fail(3);
    let failing = topic.clone();
    let running = start(
        mapping(),
        &topic,
        function(&calls, move |_, _| {
            // The commit that follows fails.
            failing.fail(2);
            ok()
        }),
    );
    topic.until_committed(0, 3).await;
    running.stop().await;
    assert_eq!(calls.of(0), [vec![0, 1, 2]], "a commit that failed is made later; nothing is invoked again");
}

#[tokio::test(start_paused = true)]
async fn nothing_of_a_revoked_partition_is_committed_or_tried_again() {
    let topic = Topic::with(&[(0, 2), (1, 2)]);
    let calls = Calls::default();
    let revoking = topic.clone();
    let mapping = Mapping { batch_size: 3, concurrency: 2, ..partial() };
    let running = start(
        mapping,
        &topic,
        function(&calls, move |call, _| {
            match call {
                0 => revoking.revoke(0),
                1 => revoking.write(1, 1),
                _ => {}
            }
            if call == 0 { Ok(failed(&[(0, 1)])) } else { ok() }
        }),
    );
    topic.until_committed(1, 2).await;
    running.stop().await;
    let of_the_revoked: Vec<i64> =
        topic.commits().into_iter().filter(|(partition, _)| *partition == 0).map(|(_, next)| next).collect();
    assert!(of_the_revoked.iter().all(|next| *next <= 1), "{of_the_revoked:?}");
}
