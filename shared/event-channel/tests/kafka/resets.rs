//! Data that Kafka forgets: deleted and recreated topics, deleted records, positions that are invalid.

use std::time::Duration;

use event_channel::{Consumer, Delivery, Doubt, EventChannel};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use tokio::time::timeout;

use crate::broker::{Topic, with_topic};
use crate::{commit, everything, publish, take, values, within};

/// Lets the member go on for a moment. It commits and runs its callbacks while it polls.
async fn go_on(consumer: &mut Consumer) -> Vec<Delivery> {
    let polled = timeout(Duration::from_millis(50), consumer.poll(1_000)).await;
    polled.map_or_else(|_| Vec::new(), |polled| polled.unwrap_or_default().deliveries)
}

async fn until_committed(topic: &Topic, consumer: &mut Consumer, offset: i64) {
    within(async {
        while committed(topic, "readers").0 != offset {
            go_on(consumer).await;
        }
    })
    .await;
}

fn outsider(topic: &Topic, group: &str) -> BaseConsumer {
    let group = format!("{}.{group}", topic.name());
    ClientConfig::new().set("bootstrap.servers", topic.brokers()).set("group.id", group).create().unwrap()
}

/// The group's offset in partition 0 that the brokers know, with its metadata.
fn committed(topic: &Topic, group: &str) -> (i64, String) {
    let mut asked = TopicPartitionList::new();
    asked.add_partition(topic.name(), 0);
    let known = outsider(topic, group).committed_offsets(asked, Duration::from_secs(10)).unwrap();
    let known = &known.elements()[0];
    (known.offset().to_raw().unwrap_or(-1), known.metadata().to_owned())
}

async fn take_and_commit(topic: &Topic, consumer: &mut Consumer, count: usize) {
    let taken = take(consumer, count).await;
    commit(consumer, taken.last().unwrap()).await;
    until_committed(topic, consumer, taken.last().unwrap().offset + 1).await;
}

/// Creates the topic with `records` records. A member of `readers` has committed all of them.
async fn reader_behind(topic: &Topic, records: usize) -> (EventChannel, Consumer) {
    topic.create(1, &[]).await;
    let channel = topic.open("");
    let mut reader = channel.subscribe("readers", everything).unwrap();
    publish(&channel, 0..records).await;
    take_and_commit(topic, &mut reader, records).await;
    (channel, reader)
}

/// Waits, within a test's time limit, for the doubt that the channel reports. The member goes on meanwhile.
async fn doubt(channel: &EventChannel, consumer: &mut Consumer) -> Doubt {
    within(async {
        loop {
            tokio::select! {
                doubt = channel.doubted() => return doubt,
                _ = go_on(consumer) => {}
            }
        }
    })
    .await
}

#[tokio::test]
async fn after_a_topic_is_made_anew_the_lower_position_is_committed() {
    with_topic(|topic| async move {
        let (_channel, mut one) = reader_behind(&topic, 20).await;

        topic.delete().await;
        topic.create(1, &[]).await;
        publish(&topic.open(""), 100..105).await;
        take_and_commit(&topic, &mut one, 5).await;
        drop(one);

        // With these, the topic is longer than the old position.
        let later = topic.open("");
        publish(&later, 200..230).await;
        let mut next = later.subscribe("readers", everything).unwrap();
        let expected: Vec<String> = (200..230).map(|value| value.to_string()).collect();
        assert_eq!(values(&take(&mut next, 30).await), expected);
    })
    .await;
}

#[tokio::test]
async fn a_topic_that_is_made_anew_and_longer_is_read_from_its_beginning() {
    with_topic(|topic| async move {
        let (channel, mut one) = reader_behind(&topic, 10).await;

        topic.delete().await;
        topic.create(1, &[]).await;
        publish(&topic.open(""), 100..140).await;
        let mut seen = Vec::new();
        let expected: Vec<String> = (100..140).map(|value| value.to_string()).collect();
        within(async {
            while !expected.iter().all(|value| values(&seen).contains(value)) {
                seen.extend(go_on(&mut one).await);
            }
        })
        .await;
        doubt(&channel, &mut one).await;
    })
    .await;
}

#[tokio::test]
async fn an_offset_that_was_committed_for_another_topic_of_the_name_is_refused() {
    with_topic(|topic| async move {
        let (channel, one) = reader_behind(&topic, 10).await;
        let (offset, noted) = committed(&topic, "readers");
        drop((one, channel));

        topic.delete().await;
        topic.create(1, &[]).await;
        let later = topic.open("");
        publish(&later, 100..130).await;
        // A member that does not know of the new topic commits like this.
        let mut stale = TopicPartitionList::new();
        stale.add_partition_offset(topic.name(), 0, Offset::Offset(offset)).unwrap();
        stale.elements()[0].set_metadata(&noted);
        outsider(&topic, "readers").commit(&stale, CommitMode::Sync).unwrap();

        let mut next = later.subscribe("readers", everything).unwrap();
        let mut seen = Vec::new();
        within(async {
            while !(100..130).all(|value| values(&seen).contains(&value.to_string())) {
                seen.extend(go_on(&mut next).await);
            }
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn records_that_are_deleted_before_they_were_read_are_told_of() {
    with_topic(|topic| async move {
        let (channel, one) = reader_behind(&topic, 5).await;
        drop(one);
        publish(&channel, 5..20).await;
        topic.delete_records(12).await;

        let later = topic.open("");
        let mut next = later.subscribe("readers", everything).unwrap();
        assert_eq!(take(&mut next, 8).await.first().map(|delivery| delivery.offset), Some(12));
        assert_eq!(doubt(&later, &mut next).await, Doubt::OffsetReset);
    })
    .await;
}

#[tokio::test]
async fn a_topic_that_was_away_for_a_while_is_taken_up_when_it_is_there() {
    with_topic(|topic| async move {
        topic.create(2, &[]).await;
        let channel = topic.open("create=false");
        let mut one = channel.subscribe("readers", everything).unwrap();
        publish(&channel, 0..10).await;
        take(&mut one, 10).await;

        topic.delete().await;
        // This waits until the member knows that it owns nothing.
        within(async { while one.poll(1).await.is_ok_and(|polled| polled.revoked.len() < 2) {} }).await;
        topic.create(2, &[]).await;
        publish(&topic.open(""), 100..110).await;
        let mut seen = Vec::new();
        within(async {
            while values(&seen).len() < 10 {
                seen.extend(go_on(&mut one).await);
            }
        })
        .await;
    })
    .await;
}
