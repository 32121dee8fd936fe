//! The beginning of a group, and topics that the channel may not create.

use std::time::Duration;

use event_channel::{Beginning, Consumer, ConsumerSettings, EventChannel, TimestampType};
use tokio::time::timeout;

use crate::broker::with_topic;
use crate::{commit, everything, publish, record, take, values, within};

fn join(channel: &EventChannel, beginning: Beginning) -> Consumer {
    let settings = ConsumerSettings { beginning, ..ConsumerSettings::default() };
    channel.subscribe_with("readers", settings, everything).unwrap()
}

/// Lets a member join until it has its partitions, and checks that it gets no record.
async fn find_nothing(consumer: &mut Consumer, channel: &EventChannel) {
    within(async {
        while channel.lag().is_empty() {
            let found = timeout(Duration::from_millis(50), consumer.poll(1)).await;
            assert!(found.is_err(), "{found:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_group_that_begins_with_the_newest_gets_what_comes_after() {
    with_topic(|topic| async move {
        let channel = topic.open("partitions=2");
        publish(&channel, 0..10).await;
        let mut one = join(&channel, Beginning::Newest);
        find_nothing(&mut one, &channel).await;
        publish(&channel, 10..20).await;
        let expected: Vec<String> = (10..20).map(|value| format!("{value:03}")).collect();
        assert_eq!(values(&take(&mut one, 10).await), expected);
    })
    .await;
}

#[tokio::test]
async fn who_dies_before_the_first_commit_does_not_change_where_the_group_begins() {
    with_topic(|topic| async move {
        let channel = topic.open("partitions=2");
        publish(&channel, 0..10).await;
        let mut one = join(&channel, Beginning::Newest);
        find_nothing(&mut one, &channel).await;
        drop(one);
        publish(&channel, 10..20).await;
        let mut next = join(&channel, Beginning::Newest);
        let expected: Vec<String> = (10..20).map(|value| format!("{value:03}")).collect();
        assert_eq!(values(&take(&mut next, 10).await), expected);
    })
    .await;
}

#[tokio::test]
async fn a_group_that_begins_at_a_time_gets_what_was_published_then_and_later() {
    with_topic(|topic| async move {
        let channel = topic.open("partitions=1");
        publish(&channel, 0..3).await;
        let mut all = channel.subscribe("all", everything).unwrap();
        let before = take(&mut all, 3).await.last().unwrap().timestamp;
        // The records' timestamps have milliseconds, so several records may share one.
        while within(channel.publish(vec![record(1, "next")])).await.is_ok() {
            let next = take(&mut all, 1).await;
            if next[0].timestamp > before {
                let mut from_then = join(&channel, Beginning::At(next[0].timestamp));
                assert_eq!(take(&mut from_then, 1).await[0].offset, next[0].offset);
                return;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_group_that_begins_at_a_time_to_come_gets_what_comes() {
    with_topic(|topic| async move {
        let channel = topic.open("partitions=2");
        publish(&channel, 0..10).await;
        let mut one = join(&channel, Beginning::At(i64::MAX / 1_000_000));
        find_nothing(&mut one, &channel).await;
        publish(&channel, 10..11).await;
        assert_eq!(values(&take(&mut one, 1).await), ["010"]);
    })
    .await;
}

#[tokio::test]
async fn a_group_that_has_committed_goes_on_there_wherever_it_shall_begin() {
    with_topic(|topic| async move {
        let channel = topic.open("partitions=1");
        publish(&channel, 0..10).await;
        let mut one = channel.subscribe("readers", everything).unwrap();
        let taken = take(&mut one, 10).await;
        commit(&mut one, &taken[3]).await;
        drop(one);
        for beginning in [Beginning::Newest, Beginning::At(0), Beginning::Oldest] {
            let mut next = join(&channel, beginning);
            assert_eq!(take(&mut next, 1).await[0].offset, 4, "{beginning:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn who_joins_a_group_with_members_begins_where_they_did() {
    with_topic(|topic| async move {
        let channel = topic.open("partitions=2");
        publish(&channel, 0..10).await;
        let mut one = channel.subscribe("readers", everything).unwrap();
        // Nothing is committed. So the other member finds a group that has no offsets but has a member.
        assert_eq!(take(&mut one, 10).await.len(), 10);
        let mut other = join(&channel, Beginning::Newest);
        let again = async {
            loop {
                tokio::select! {
                    polled = one.poll(100) => drop(polled.unwrap()),
                    polled = other.poll(100) => break polled.unwrap(),
                }
            }
        };
        assert!(!within(again).await.deliveries.is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_topic_that_is_not_to_be_created_is_waited_for() {
    with_topic(|topic| async move {
        let channel = topic.open("create=false");
        let mut one = join(&channel, Beginning::Newest);
        let refusal = within(one.poll(1)).await.unwrap_err().to_string();
        assert!(refusal.contains("is not there; create it, or let ?create=true in the URL"), "{refusal}");
        topic.create(1, &[("message.timestamp.type", "LogAppendTime")]).await;
        within(async {
            // Perhaps not every broker knows the new topic yet.
            while channel.lag().is_empty() {
                let _ = timeout(Duration::from_millis(50), one.poll(1)).await;
            }
        })
        .await;
        publish(&channel, 1..2).await;
        let taken = take(&mut one, 1).await;
        assert_eq!(taken[0].timestamp_type, TimestampType::LogAppendTime);
    })
    .await;
}
