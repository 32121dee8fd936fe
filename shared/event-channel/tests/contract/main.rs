//! The rules that every variant of the channel keeps. One line at the end of the file runs all of them for one more variant. It
//! names a function that runs a rule on a fresh channel with at least 4 partitions.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[cfg(feature = "kafka")]
#[path = "../broker/mod.rs"]
mod broker;

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use event_channel::{Consumer, Delivery, EventChannel, Header, Record};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(30);

fn record(key: &str, value: impl ToString) -> Record {
    Record {
        key: Some(Bytes::copy_from_slice(key.as_bytes())),
        value: Some(value.to_string().into()),
        headers: Vec::new(),
    }
}

fn key_of(delivery: &Delivery) -> String {
    String::from_utf8(delivery.record.key.clone().unwrap().to_vec()).unwrap()
}

fn value_of(delivery: &Delivery) -> String {
    String::from_utf8(delivery.record.value.clone().unwrap().to_vec()).unwrap()
}

fn everything(_: Option<&[u8]>) -> bool {
    true
}

/// Polls until `count` records have come.
async fn take(consumer: &mut Consumer, count: usize) -> Vec<Delivery> {
    let mut taken = Vec::new();
    while taken.len() < count {
        let polled = timeout(PATIENCE, consumer.poll(count - taken.len())).await;
        taken.extend(polled.expect("records in time").expect("the channel is open").deliveries);
    }
    taken
}

async fn commit_all(consumer: &mut Consumer, deliveries: &[Delivery]) {
    for delivery in deliveries {
        consumer.commit(delivery.partition, delivery.offset + 1).await.unwrap();
    }
}

fn by_key(deliveries: &[Delivery]) -> BTreeMap<String, Vec<String>> {
    let mut values: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for delivery in deliveries {
        values.entry(key_of(delivery)).or_default().push(value_of(delivery));
    }
    values
}

async fn records_of_one_key_keep_their_sequence_and_their_partition(channel: EventChannel) {
    let mut consumer = channel.subscribe("readers", everything).unwrap();
    for value in 0..20 {
        let run = (0..5).map(|key| record(&format!("key-{key}"), value)).collect();
        channel.publish(run).await.unwrap();
    }
    let taken = take(&mut consumer, 100).await;
    let in_sequence: Vec<String> = (0..20).map(|value| value.to_string()).collect();
    assert_eq!(by_key(&taken).len(), 5);
    assert!(by_key(&taken).values().all(|values| *values == in_sequence));
    let mut partitions = BTreeMap::new();
    for delivery in &taken {
        assert_eq!(*partitions.entry(key_of(delivery)).or_insert(delivery.partition), delivery.partition);
    }
}

async fn offsets_rise_within_a_partition(channel: EventChannel) {
    let mut consumer = channel.subscribe("readers", everything).unwrap();
    channel
        .publish((0..50).map(|value| record(&format!("key-{}", value % 7), value)).collect())
        .await
        .unwrap();
    let mut last: BTreeMap<i32, i64> = BTreeMap::new();
    for delivery in take(&mut consumer, 50).await {
        if let Some(before) = last.insert(delivery.partition, delivery.offset) {
            assert!(before < delivery.offset);
        }
    }
}

async fn every_group_gets_every_record(channel: EventChannel) {
    let mut one = channel.subscribe("one", everything).unwrap();
    let mut other = channel.subscribe("other", everything).unwrap();
    channel.publish(vec![record("a", 1), record("b", 2)]).await.unwrap();
    let taken = take(&mut one, 2).await;
    commit_all(&mut one, &taken).await;
    assert_eq!(by_key(&take(&mut other, 2).await), by_key(&taken));
}

async fn what_was_not_committed_is_delivered_to_the_next_member(channel: EventChannel) {
    let mut first = channel.subscribe("readers", everything).unwrap();
    channel.publish((0..10).map(|value| record("a", value)).collect()).await.unwrap();
    let taken = take(&mut first, 7).await;
    commit_all(&mut first, &taken[..4]).await;
    drop(first);

    let mut second = channel.subscribe("readers", everything).unwrap();
    let values: Vec<String> = take(&mut second, 6).await.iter().map(value_of).collect();
    assert_eq!(values, ["4", "5", "6", "7", "8", "9"]);
}

async fn a_commit_covers_everything_before_it(channel: EventChannel) {
    let mut first = channel.subscribe("readers", everything).unwrap();
    channel.publish((0..3).map(|value| record("a", value)).collect()).await.unwrap();
    let taken = take(&mut first, 3).await;
    first.commit(taken[1].partition, taken[1].offset + 1).await.unwrap();
    drop(first);

    let mut second = channel.subscribe("readers", everything).unwrap();
    assert_eq!(value_of(&take(&mut second, 1).await[0]), "2");
}

async fn a_poll_takes_no_more_than_asked(channel: EventChannel) {
    let mut consumer = channel.subscribe("readers", everything).unwrap();
    channel.publish((0..9).map(|value| record(&value.to_string(), value)).collect()).await.unwrap();
    let mut left = 9;
    while left > 0 {
        let polled = timeout(PATIENCE, consumer.poll(2)).await.unwrap().unwrap().deliveries;
        assert!((1..=2).contains(&polled.len()));
        left -= polled.len();
    }
}

async fn a_poll_that_is_dropped_loses_nothing(channel: EventChannel) {
    let mut consumer = channel.subscribe("readers", everything).unwrap();
    for value in 0..20 {
        // This call looks for a record once, begins to wait, and is dropped.
        let waiting = timeout(Duration::ZERO, consumer.poll(1)).await;
        assert!(waiting.is_err(), "nothing was published yet");
        channel.publish(vec![record("a", value)]).await.unwrap();
        assert_eq!(value_of(&take(&mut consumer, 1).await[0]), value.to_string());
    }
}

async fn a_paused_partition_waits_and_the_others_go_on(channel: EventChannel) {
    let mut consumer = channel.subscribe("readers", everything).unwrap();
    channel.publish((0..16).map(|key| record(&format!("key-{key}"), "first")).collect()).await.unwrap();
    let first = take(&mut consumer, 16).await;
    let paused = first[0].partition;
    let others = first.iter().filter(|delivery| delivery.partition != paused).count();
    assert!(others > 0, "16 keys are in more than one partition");

    consumer.pause(paused);
    channel.publish((0..16).map(|key| record(&format!("key-{key}"), "second")).collect()).await.unwrap();
    assert!(take(&mut consumer, others).await.iter().all(|delivery| delivery.partition != paused));

    consumer.resume(paused);
    let resumed = take(&mut consumer, 16 - others).await;
    assert!(resumed.iter().all(|delivery| delivery.partition == paused && value_of(delivery) == "second"));
}

async fn a_record_arrives_as_it_was_published(channel: EventChannel) {
    let mut consumer = channel.subscribe("readers", everything).unwrap();
    let header = |name: &'static str, value: Option<&'static [u8]>| Header {
        name: name.into(),
        value: value.map(Bytes::from_static),
    };
    let all = Record {
        key: Some(Bytes::from_static(&[0, 200, 255])),
        value: Some(Bytes::from_static(&[128, 0])),
        headers: vec![header("a", Some(&[255, 0])), header("b", None), header("a", Some(b""))],
    };
    let none = Record { key: None, value: None, headers: Vec::new() };
    let empty = Record { key: Some(Bytes::new()), value: Some(Bytes::new()), headers: Vec::new() };
    for record in [all, none, empty] {
        channel.publish(vec![record.clone()]).await.unwrap();
        assert_eq!(*take(&mut consumer, 1).await[0].record, record);
    }
}

async fn a_timestamp_is_when_the_record_was_published(channel: EventChannel) {
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
    let mut consumer = channel.subscribe("readers", everything).unwrap();
    let before = now();
    channel.publish(vec![record("a", 1)]).await.unwrap();
    let after = now();
    let timestamp = take(&mut consumer, 1).await[0].timestamp;
    assert!((before..=after).contains(&timestamp), "{before} <= {timestamp} <= {after}");
}

async fn a_group_gets_only_what_its_filter_lets_through(channel: EventChannel) {
    let odd = |value: Option<&[u8]>| value.is_some_and(|value| value[0] % 2 == 1);
    let mut consumer = channel.subscribe("odd", odd).unwrap();
    channel.publish((0..10).map(|value| record("a", value)).collect()).await.unwrap();
    let values: Vec<String> = take(&mut consumer, 5).await.iter().map(value_of).collect();
    assert_eq!(values, ["1", "3", "5", "7", "9"]);
}

async fn a_run_that_every_group_committed_is_settled(channel: EventChannel) {
    let mut consumers =
        [channel.subscribe("one", everything).unwrap(), channel.subscribe("other", everything).unwrap()];
    let receipt = channel.publish(vec![record("a", 1), record("b", 2), record("c", 3)]).await.unwrap();
    for consumer in &mut consumers {
        let taken = take(consumer, 3).await;
        commit_all(consumer, &taken).await;
    }
    assert!(timeout(PATIENCE, receipt.settled()).await.unwrap());
}

async fn an_empty_run_is_settled(channel: EventChannel) {
    let _consumer = channel.subscribe("readers", everything).unwrap();
    assert!(timeout(PATIENCE, channel.publish(Vec::new()).await.unwrap().settled()).await.unwrap());
}

macro_rules! contract {
    ($variant:ident, $run:expr; $($rule:ident,)*) => {
        mod $variant {
            $(
                #[tokio::test]
                async fn $rule() {
                    $run(super::$rule).await;
                }
            )*
        }
    };
    ($variant:ident, $run:expr) => {
        contract! { $variant, $run;
            records_of_one_key_keep_their_sequence_and_their_partition,
            offsets_rise_within_a_partition,
            every_group_gets_every_record,
            what_was_not_committed_is_delivered_to_the_next_member,
            a_commit_covers_everything_before_it,
            a_poll_takes_no_more_than_asked,
            a_poll_that_is_dropped_loses_nothing,
            a_paused_partition_waits_and_the_others_go_on,
            a_record_arrives_as_it_was_published,
            a_timestamp_is_when_the_record_was_published,
            a_group_gets_only_what_its_filter_lets_through,
            a_run_that_every_group_committed_is_settled,
            an_empty_run_is_settled,
        }
    };
}

async fn in_memory<T: Future<Output = ()>>(rule: impl FnOnce(EventChannel) -> T) {
    rule(EventChannel::open("memory:?partitions=4&capacity=1000").unwrap()).await;
}

#[cfg(feature = "kafka")]
async fn on_kafka<T: Future<Output = ()>>(rule: impl FnOnce(EventChannel) -> T) {
    broker::with_topic(|topic| rule(topic.open("partitions=4"))).await;
}

contract!(memory, super::in_memory);
#[cfg(feature = "kafka")]
contract!(kafka, super::on_kafka);
