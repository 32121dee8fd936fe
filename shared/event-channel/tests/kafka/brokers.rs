//! The topic, its limits, and brokers that are away.

use std::time::{Duration, Instant};

use event_channel::{EventChannel, PublishError, Receipt};

use crate::broker::with_topic;
use crate::{everything, poll, publish, record, record_of, take, values, within};

#[tokio::test]
async fn a_topic_that_is_not_there_is_created_with_the_partitions_asked_for() {
    with_topic(|topic| async move {
        let channel = topic.open("partitions=3&replication=1");
        publish(&channel, 0..1).await;
        assert_eq!(topic.partitions(), 3);
    })
    .await;
}

#[tokio::test]
async fn a_topic_that_is_there_keeps_its_partitions() {
    with_topic(|topic| async move {
        topic.create(2, &[]).await;
        let channel = topic.open("partitions=5");
        publish(&channel, 0..1).await;
        assert_eq!(topic.partitions(), 2);
    })
    .await;
}

#[tokio::test]
async fn many_who_need_a_topic_at_once_create_it_once() {
    with_topic(|topic| async move {
        let publishers = (0..8).map(|key| {
            let channel = topic.open("partitions=3");
            tokio::spawn(async move { publish(&channel, key..key + 1).await })
        });
        for publisher in publishers.collect::<Vec<_>>() {
            publisher.await.unwrap();
        }
        let mut consumer = topic.open("").subscribe("readers", everything).unwrap();
        assert_eq!(take(&mut consumer, 8).await.len(), 8);
        assert_eq!(topic.partitions(), 3);
    })
    .await;
}

/// Brokers may show a topic before they lead its partitions.
#[tokio::test]
async fn what_is_acknowledged_on_a_topic_that_was_just_created_is_in_it() {
    for _ in 0..10 {
        with_topic(|topic| async move {
            let channel = topic.open("partitions=4");
            let publishers = (0..8).map(|part| {
                let channel = channel.clone();
                tokio::spawn(async move { publish(&channel, part * 10..part * 10 + 10).await })
            });
            for publisher in publishers.collect::<Vec<_>>() {
                publisher.await.unwrap();
            }
            let mut consumer = channel.subscribe("readers", everything).unwrap();
            let expected: Vec<String> = (0..80).map(|value| format!("{value:03}")).collect();
            assert_eq!(values(&take(&mut consumer, 80).await), expected);
        })
        .await;
    }
}

#[tokio::test]
async fn a_group_may_be_joined_before_its_topic_is_there() {
    with_topic(|topic| async move {
        let mut consumer = topic.open("partitions=2").subscribe("readers", everything).unwrap();
        assert!(tokio::time::timeout(Duration::ZERO, consumer.poll(1)).await.is_err());
        publish(&topic.open("partitions=2"), 0..3).await;
        assert_eq!(values(&take(&mut consumer, 3).await), ["000", "001", "002"]);
    })
    .await;
}

#[tokio::test]
async fn a_topic_that_cannot_be_created_is_named_with_the_command_that_creates_it() {
    with_topic(|topic| async move {
        // One broker can't hold 3 replicas.
        let channel = topic.open("partitions=7&replication=3");
        let refusal = within(channel.publish(vec![record(1, 1)])).await.err().unwrap().to_string();
        let command = format!("--create --topic {} --partitions 7 --replication-factor 3", topic.name());
        assert!(
            refusal.contains("kafka-topics --bootstrap-server") && refusal.contains(&command),
            "{refusal}"
        );
        assert!(!refusal.contains('\n'));

        topic.create(1, &[]).await;
        within(async {
            // The refused publisher waits until the topic is there.
            while channel.publish(vec![record(1, 1)]).await.is_err() {
                channel.available().await;
            }
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn a_record_over_the_topics_limit_is_refused_and_nothing_of_its_run_is_sent() {
    with_topic(|topic| async move {
        topic.create(1, &[("max.message.bytes", "20000")]).await;
        let channel = topic.open("");
        channel.check(&record_of(500_000)).expect("the topic was not asked yet");
        publish(&channel, 0..1).await;

        let too_large = record_of(20_000);
        assert!(matches!(channel.check(&too_large), Err(PublishError::TooLarge { limit: 20_000, .. })));
        let refused = within(channel.publish(vec![record(1, "first"), too_large])).await;
        assert!(matches!(refused, Err(PublishError::TooLarge { bytes: 20_001.., limit: 20_000 })));

        publish(&channel, 1..2).await;
        let mut consumer = channel.subscribe("readers", everything).unwrap();
        assert_eq!(values(&take(&mut consumer, 2).await), ["000", "001"]);
    })
    .await;
}

#[tokio::test]
async fn whatever_the_check_lets_through_is_taken_alone_and_in_runs_longer_than_the_limit() {
    with_topic(|topic| async move {
        topic.create(1, &[("max.message.bytes", "20000")]).await;
        let channel = topic.open("");
        publish(&channel, 0..1).await;
        let largest =
            (19_000..20_000).rev().map(record_of).find(|record| channel.check(record).is_ok()).unwrap();
        within(channel.publish(vec![largest.clone()])).await.unwrap();
        let run = (0..200).map(|_| record_of(900)).chain([largest]).collect();
        within(channel.publish(run)).await.unwrap();
        let mut consumer = channel.subscribe("readers", everything).unwrap();
        assert_eq!(take(&mut consumer, 203).await.len(), 203);
    })
    .await;
}

#[tokio::test]
async fn a_limit_of_ones_own_needs_no_broker() {
    let channel = EventChannel::open("kafka://127.0.0.1:9/shop?largest=1000").unwrap();
    assert!(matches!(channel.check(&record_of(1_000)), Err(PublishError::TooLarge { limit: 1_000, .. })));
    channel.check(&record_of(800)).unwrap();
}

#[tokio::test]
async fn a_published_run_is_settled() {
    with_topic(|topic| async move {
        let receipt = within(topic.open("").publish(vec![record(1, 1)])).await.unwrap();
        assert!(matches!(receipt, Receipt::Settled));
    })
    .await;
}

#[tokio::test]
async fn brokers_that_are_away_are_said_to_be_so_and_are_waited_for_within_bounds() {
    // Nothing listens on the discard port.
    let channel = EventChannel::open("kafka://127.0.0.1:9/shop?delivery_timeout_ms=500").unwrap();
    let publishes = (0..20).map(|value| channel.publish(vec![record(1, value)]));
    let before = Instant::now();
    for refused in futures_util::future::join_all(publishes).await {
        assert!(matches!(refused, Err(PublishError::Unavailable(_))));
    }
    assert!(before.elapsed() < Duration::from_secs(20), "all were answered by one attempt or two");
    let waiting = tokio::time::timeout(Duration::from_millis(200), channel.available()).await;
    assert!(waiting.is_err(), "it still waits");
}

#[tokio::test]
async fn of_a_run_whose_first_record_is_refused_for_good_the_rest_is_not_taken() {
    with_topic(|topic| async move {
        let channel = topic.open("partitions=1");
        within(channel.publish(vec![record_of(10)])).await.unwrap();
        // The producer uses the limit that it has learned. So it sends a run of two batches to a broker that would take only the
        // second one.
        topic.set("max.message.bytes", "500000").await;
        let run = || vec![record_of(900_000), record_of(200_000)];
        let refused = within(async {
            loop {
                // Brokers need a moment until they use the new limit.
                if let Err(refused) = channel.publish(run()).await {
                    return refused;
                }
            }
        });
        assert!(matches!(refused.await, PublishError::TooLarge { .. }));
        within(channel.publish(vec![record_of(20)])).await.unwrap();

        let mut consumer = channel.subscribe("readers", everything).unwrap();
        let mut sizes = Vec::new();
        while sizes.last() != Some(&20) {
            let delivered = poll(&mut consumer).await.deliveries;
            sizes.extend(delivered.iter().map(|delivery| delivery.record.value.as_ref().unwrap().len()));
        }
        let runs = &sizes[1..sizes.len() - 1];
        assert!(runs.chunks(2).all(|run| *run == [900_000, 200_000]), "a run is not whole: {sizes:?}");
    })
    .await;
}
