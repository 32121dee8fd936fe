//! The rules of the in-memory channel alone: bounded queues, one member for each group, receipts, closing.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use event_channel::{Consumer, Delivery, EventChannel, Lag, OpenError, PublishError, Receipt, Record};
use futures_util::FutureExt;
use tokio::sync::mpsc;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(30);

fn open(options: &str) -> EventChannel {
    EventChannel::open(format!("memory:{options}")).unwrap()
}

fn record(key: &str, value: &str) -> Record {
    let bytes = |text: &str| Some(Bytes::copy_from_slice(text.as_bytes()));
    Record { key: bytes(key), value: bytes(value), headers: Vec::new() }
}

fn run(values: std::ops::Range<usize>) -> Vec<Record> {
    values.map(|value| record("a", &value.to_string())).collect()
}

fn everything(_: Option<&[u8]>) -> bool {
    true
}

fn nothing(_: Option<&[u8]>) -> bool {
    false
}

fn values(deliveries: &[Delivery]) -> Vec<String> {
    let text = |delivery: &Delivery| String::from_utf8(delivery.record.value.clone().unwrap().to_vec());
    deliveries.iter().map(|delivery| text(delivery).unwrap()).collect()
}

/// The records that are there now. A poll that finds some never waits.
fn poll_now(consumer: &mut Consumer, limit: usize) -> Vec<Delivery> {
    consumer.poll(limit).now_or_never().map(Result::unwrap).unwrap_or_default().deliveries
}

fn publish_now(channel: &EventChannel, records: Vec<Record>) -> Result<Receipt, PublishError> {
    channel.publish(records).now_or_never().expect("publishing never waits")
}

fn commit_now(consumer: &mut Consumer, partition: i32, next_offset: i64) {
    consumer.commit(partition, next_offset).now_or_never().unwrap().unwrap();
}

fn lag_of(channel: &EventChannel, group: &str) -> u64 {
    channel.lag().iter().filter(|lag| lag.group == group).filter_map(|lag| lag.records).sum()
}

#[test]
fn a_url_with_bad_options_is_refused() {
    let opened = |url: &str| EventChannel::open(url).map(|_| ()).unwrap_err();
    assert!(matches!(opened("memory:?partitions=none"), OpenError::Refused(_)));
    assert!(matches!(opened("memory:?size=1"), OpenError::Refused(_)));
    assert!(matches!(opened("pigeon:"), OpenError::UnknownScheme { .. }));
}

#[test]
fn a_group_gets_only_what_its_filter_lets_through_under_the_offsets_of_all() {
    let channel = open("?partitions=1");
    let mut odd = channel.subscribe("odd", |value| value.unwrap()[0] % 2 == 1).unwrap();
    publish_now(&channel, run(0..6)).unwrap();
    let taken = poll_now(&mut odd, 10);
    assert_eq!(values(&taken), ["1", "3", "5"]);
    assert_eq!(taken.iter().map(|delivery| delivery.offset).collect::<Vec<_>>(), [1, 3, 5]);
}

#[test]
fn a_record_that_every_group_refuses_is_settled_at_once_and_takes_no_room() {
    let channel = open("?partitions=1&capacity=1");
    let _refuses = channel.subscribe("refuses", nothing).unwrap();
    for _ in 0..10 {
        let receipt = publish_now(&channel, run(0..1)).unwrap();
        assert_eq!(receipt.settled().now_or_never(), Some(true));
    }
}

#[test]
fn without_any_group_a_record_is_settled_at_once() {
    let receipt = publish_now(&open(""), run(0..3)).unwrap();
    assert_eq!(receipt.settled().now_or_never(), Some(true));
}

#[tokio::test]
async fn a_run_is_settled_when_the_last_group_has_committed_its_last_record() {
    let channel = open("?partitions=1");
    let mut one = channel.subscribe("one", everything).unwrap();
    let mut other = channel.subscribe("other", everything).unwrap();
    let _refuses = channel.subscribe("refuses", nothing).unwrap();
    let mut settled = Box::pin(publish_now(&channel, run(0..2)).unwrap().settled());
    assert_eq!(settled.as_mut().now_or_never(), None, "nobody has committed");
    commit_now(&mut one, 0, 2);
    commit_now(&mut other, 0, 1);
    assert_eq!(settled.as_mut().now_or_never(), None, "the other group has one left");
    commit_now(&mut other, 0, 2);
    assert!(settled.await);
}

#[test]
fn a_full_queue_of_any_group_refuses_the_whole_run_for_all() {
    let channel = open("?partitions=1&capacity=3");
    let mut quick = channel.subscribe("quick", everything).unwrap();
    let mut slow = channel.subscribe("slow", everything).unwrap();
    publish_now(&channel, run(0..2)).unwrap();
    assert_eq!(poll_now(&mut quick, 10).len(), 2);
    commit_now(&mut quick, 0, 2);

    assert_eq!(publish_now(&channel, run(2..4)).err(), Some(PublishError::Full));
    assert!(poll_now(&mut quick, 10).is_empty(), "nothing of the run was taken");
    publish_now(&channel, run(2..3)).unwrap();
    assert_eq!(publish_now(&channel, run(3..4)).err(), Some(PublishError::Full));

    commit_now(&mut slow, 0, 1);
    publish_now(&channel, run(3..4)).unwrap();
    assert_eq!(values(&poll_now(&mut slow, 10)), ["1", "2", "3"]);
    assert_eq!(values(&poll_now(&mut quick, 10)), ["2", "3"], "offsets have no gap where a run was refused");
}

#[test]
fn a_run_over_several_partitions_is_refused_when_one_of_them_is_full() {
    let channel = open("?partitions=4&capacity=1");
    let mut consumer = channel.subscribe("readers", everything).unwrap();
    publish_now(&channel, vec![record("a", "first")]).unwrap();
    let elsewhere = ["b", "c", "d", "e", "f"].map(|key| record(key, "second"));
    let other =
        elsewhere.into_iter().find(|other| publish_now(&channel, vec![other.clone()]).is_ok()).unwrap();
    let taken = poll_now(&mut consumer, 10);
    commit_now(&mut consumer, taken[1].partition, 1);
    let run = vec![other.clone(), record("a", "third")];
    assert_eq!(publish_now(&channel, run).err(), Some(PublishError::Full));
    assert!(poll_now(&mut consumer, 10).is_empty());
    publish_now(&channel, vec![other]).unwrap();
}

#[test]
fn records_that_were_delivered_and_not_committed_still_take_room() {
    let channel = open("?partitions=1&capacity=2");
    let mut consumer = channel.subscribe("readers", everything).unwrap();
    publish_now(&channel, run(0..2)).unwrap();
    assert_eq!(poll_now(&mut consumer, 2).len(), 2);
    assert_eq!(publish_now(&channel, run(2..3)).err(), Some(PublishError::Full));
}

#[test]
fn a_run_longer_than_a_queue_is_taken_when_the_queue_is_empty() {
    let channel = open("?partitions=1&capacity=2");
    let mut consumer = channel.subscribe("readers", everything).unwrap();
    publish_now(&channel, run(0..1)).unwrap();
    assert_eq!(publish_now(&channel, run(1..6)).err(), Some(PublishError::Full));
    commit_now(&mut consumer, 0, 1);
    publish_now(&channel, run(1..6)).unwrap();
    assert_eq!(poll_now(&mut consumer, 10).len(), 5);
}

#[test]
fn records_without_a_key_go_round_the_partitions() {
    let channel = open("?partitions=4");
    let mut consumer = channel.subscribe("readers", everything).unwrap();
    let keyless = Record { key: None, value: None, headers: Vec::new() };
    publish_now(&channel, vec![keyless; 8]).unwrap();
    let taken = poll_now(&mut consumer, 8);
    let in_partition = |number| taken.iter().filter(|delivery| delivery.partition == number).count();
    assert_eq!([0, 1, 2, 3].map(in_partition), [2, 2, 2, 2]);
}

#[test]
fn a_poll_takes_its_share_from_every_partition() {
    let channel = open("?partitions=2");
    let mut consumer = channel.subscribe("readers", everything).unwrap();
    publish_now(&channel, vec![Record { key: None, value: None, headers: Vec::new() }; 200]).unwrap();
    for _ in 0..20 {
        let taken = poll_now(&mut consumer, 10);
        let partitions: BTreeSet<i32> = taken.iter().map(|delivery| delivery.partition).collect();
        assert_eq!((taken.len(), partitions.len()), (10, 2));
    }
}

#[test]
fn what_one_partition_leaves_of_the_limit_goes_to_the_others() {
    let channel = open("?partitions=8");
    let mut consumer = channel.subscribe("readers", everything).unwrap();
    publish_now(&channel, run(0..100)).unwrap();
    assert_eq!(poll_now(&mut consumer, 60).len(), 60);
    assert_eq!(poll_now(&mut consumer, 60).len(), 40);
}

#[test]
fn a_group_has_one_member_and_the_next_may_join_when_it_is_gone() {
    let channel = open("");
    let member = channel.subscribe("readers", everything).unwrap();
    let Err(OpenError::Refused(why)) = channel.subscribe("readers", everything) else {
        panic!("a second member joined");
    };
    assert!(why.contains("readers"), "{why}");
    drop(member);
    assert!(channel.subscribe("readers", everything).is_ok());
}

#[test]
fn a_group_without_a_member_still_collects_records() {
    let channel = open("?partitions=1");
    drop(channel.subscribe("readers", everything).unwrap());
    let receipt = publish_now(&channel, run(0..2)).unwrap();
    assert_eq!(receipt.settled().now_or_never(), None);
    let mut next = channel.subscribe("readers", everything).unwrap();
    assert_eq!(values(&poll_now(&mut next, 10)), ["0", "1"]);
}

#[test]
fn lag_counts_what_a_group_has_not_committed() {
    let channel = open("?partitions=2");
    let mut consumer = channel.subscribe("readers", everything).unwrap();
    publish_now(&channel, run(0..3)).unwrap();
    let partition = poll_now(&mut consumer, 2)[0].partition;
    assert_eq!(lag_of(&channel, "readers"), 3);
    commit_now(&mut consumer, partition, 2);
    assert!(channel.lag().contains(&Lag { group: "readers".to_owned(), partition, records: Some(1) }));
    assert_eq!(channel.lag().len(), 2, "one a partition");
}

#[tokio::test]
async fn a_receipt_of_a_closed_channel_is_false() {
    let channel = open("");
    let consumer = channel.subscribe("readers", everything).unwrap();
    let receipt = publish_now(&channel, run(0..1)).unwrap();
    drop(channel);
    assert!(!receipt.settled().await);
    drop(consumer);
}

#[tokio::test]
async fn a_consumer_that_waits_hears_that_the_channel_is_closed() {
    let channel = open("");
    let mut consumer = channel.subscribe("readers", everything).unwrap();
    let waits = tokio::spawn(async move { consumer.poll(1).await.map(|_| ()) });
    tokio::task::yield_now().await;
    drop(channel);
    assert!(matches!(timeout(PATIENCE, waits).await.unwrap().unwrap(), Err(PublishError::Unavailable(_))));
}

#[tokio::test(start_paused = true)]
async fn available_returns_when_there_is_room_and_not_before() {
    let channel = open("?partitions=1&capacity=1");
    let mut consumer = channel.subscribe("readers", everything).unwrap();
    publish_now(&channel, run(0..1)).unwrap();
    assert_eq!(publish_now(&channel, run(1..2)).err(), Some(PublishError::Full));

    let mut available = Box::pin(channel.available());
    assert_eq!(available.as_mut().now_or_never(), None);
    commit_now(&mut consumer, 0, 1);
    assert_eq!(available.now_or_never(), Some(()), "the waiter is woken");
    assert_eq!(channel.available().now_or_never(), Some(()), "who comes later does not wait");
}

/// Publishes two records for each that it reads, to the partition that it is reading. Refused records go to a relay. A processor
/// whose outcomes are events of the same order does the same.
async fn process(
    channel: EventChannel,
    mut consumer: Consumer,
    refused: mpsc::UnboundedSender<String>,
) -> usize {
    let mut seen = BTreeSet::new();
    while seen.len() < TREE {
        let taken = timeout(PATIENCE, consumer.poll(10)).await.expect("it deadlocked").unwrap().deliveries;
        for delivery in &taken {
            let value = values(std::slice::from_ref(delivery)).remove(0);
            seen.insert(value.clone());
            let children = ["0", "1"].map(|branch| format!("{value}{branch}"));
            for child in children.into_iter().filter(|child| child.len() <= DEPTH) {
                if publish_now(&channel, vec![record("a", &child)]).is_err() {
                    refused.send(child).unwrap();
                }
            }
            consumer.commit(delivery.partition, delivery.offset + 1).await.unwrap();
        }
    }
    seen.len()
}

async fn relay(channel: Arc<EventChannel>, mut refused: mpsc::UnboundedReceiver<String>) {
    while let Some(value) = refused.recv().await {
        while publish_now(&channel, vec![record("a", &value)]).is_err() {
            channel.available().await;
        }
    }
}

const DEPTH: usize = 9;
/// The number of binary strings that begin with 1 and have 1 to `DEPTH` digits.
const TREE: usize = (1 << DEPTH) - 1;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_processor_which_publishes_to_the_partition_that_it_is_reading_never_deadlocks() {
    for capacity in 1..=4 {
        let channel = open(&format!("?partitions=1&capacity={capacity}"));
        let consumer = channel.subscribe("processor", everything).unwrap();
        publish_now(&channel, vec![record("a", "1")]).unwrap();
        let (refuses, refused) = mpsc::unbounded_channel();
        let relay = tokio::spawn(relay(Arc::new(channel.clone()), refused));
        assert_eq!(process(channel, consumer, refuses).await, TREE, "with capacity {capacity}");
        timeout(PATIENCE, relay).await.unwrap().unwrap();
    }
}
