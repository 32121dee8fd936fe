//! The end of a mapping.

use std::sync::Arc;
use std::time::Duration;

use event_source_mapping::event::KafkaEvent;
use event_source_mapping::{InProcessTarget, Mapping, Target, run};
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use crate::support::{Calls, Topic, mapping, ok, start};

/// A function whose invocations end when they get a permit.
fn gated(calls: &Calls, gate: &Arc<Semaphore>) -> impl Target {
    let (calls, gate) = (calls.clone(), Arc::clone(gate));
    InProcessTarget::new(move |event: KafkaEvent, _| {
        calls.note(&event);
        let gate = Arc::clone(&gate);
        async move {
            gate.acquire().await.unwrap().forget();
            ok()
        }
    })
}

async fn until_called(calls: &Calls) {
    while calls.all().is_empty() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_runs_at_the_shutdown_ends_and_is_committed_and_nothing_more_is_invoked() {
    let topic = Topic::with(&[(0, 30)]);
    let (calls, gate) = (Calls::default(), Arc::new(Semaphore::new(0)));
    let running = start(Mapping { batch_size: 10, ..mapping() }, &topic, gated(&calls, &gate));
    until_called(&calls).await;
    running.ask_to_stop();
    tokio::time::advance(Duration::from_secs(1)).await;
    gate.add_permits(10);
    running.stopped().await;
    assert_eq!(calls.of(0), [(0..10).collect::<Vec<_>>()]);
    assert_eq!(topic.commits(), [(0, 10)]);
}

#[tokio::test(start_paused = true)]
async fn what_does_not_end_in_time_is_left_uncommitted() {
    let topic = Topic::with(&[(0, 5)]);
    let (calls, gate) = (Calls::default(), Arc::new(Semaphore::new(0)));
    let mapping = Mapping { drain: Duration::from_secs(3), ..mapping() };
    let running = start(mapping, &topic, gated(&calls, &gate));
    until_called(&calls).await;
    let asked = Instant::now();
    running.stop().await;
    assert_eq!(asked.elapsed().as_secs(), 3);
    assert_eq!(topic.commits(), []);
}

#[tokio::test(start_paused = true)]
async fn a_mapping_that_waits_stops_at_once() {
    let topic = Topic::with(&[(0, 5)]);
    let mapping = Mapping { window: Duration::from_secs(300), ..mapping() };
    let asked = Instant::now();
    start(mapping, &topic, InProcessTarget::new(|_, _| async { ok() })).stop().await;
    assert!(asked.elapsed() < Duration::from_secs(1));
    assert_eq!(topic.commits(), []);
}

#[tokio::test(start_paused = true)]
async fn a_mapping_stops_when_nobody_is_left_to_stop_it() {
    let (stop, stopped) = watch::channel(false);
    drop(stop);
    let function = InProcessTarget::new(|_, _| async { ok() });
    run(mapping(), Topic::default(), function, stopped).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_mapping_that_is_not_valid_does_not_run() {
    let (_stop, stopped) = watch::channel(false);
    let mapping = Mapping { batch_size: 0, ..mapping() };
    let function = InProcessTarget::new(|_, _| async { ok() });
    let refusal = run(mapping, Topic::default(), function, stopped).await.unwrap_err();
    assert_eq!(refusal.to_string(), "the batch size of the mapping to f is 0; it must be 1 to 10,000");
}
