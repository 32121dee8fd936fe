//! The rules of the channel on Kafka alone: the topic, members that share partitions, limits, brokers that are away.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../broker/mod.rs"]
mod broker;

mod beginning;
mod brokers;
mod gathering;
mod members;
mod resets;

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use event_channel::{Consumer, Delivery, EventChannel, PollResult, Record};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(60);

async fn within<T>(work: impl Future<Output = T>) -> T {
    timeout(PATIENCE, work).await.expect("in time")
}

fn everything(_: Option<&[u8]>) -> bool {
    true
}

fn record(key: usize, value: impl ToString) -> Record {
    let (key, value) = (format!("key-{key}").into(), value.to_string().into());
    Record { key: Some(key), value: Some(value), headers: Vec::new() }
}

fn record_of(bytes: usize) -> Record {
    Record { key: Some(Bytes::from_static(b"a")), value: Some(vec![b'x'; bytes].into()), headers: Vec::new() }
}

fn value_of(delivery: &Delivery) -> String {
    String::from_utf8(delivery.record.value.clone().unwrap().to_vec()).unwrap()
}

fn values(deliveries: &[Delivery]) -> Vec<String> {
    let mut values: Vec<String> = deliveries.iter().map(value_of).collect();
    values.sort();
    values
}

async fn poll(consumer: &mut Consumer) -> PollResult {
    within(consumer.poll(1_000)).await.unwrap()
}

/// Polls until `count` records have come.
async fn take(consumer: &mut Consumer, count: usize) -> Vec<Delivery> {
    let mut taken = Vec::new();
    while taken.len() < count {
        taken.extend(poll(consumer).await.deliveries);
    }
    taken
}

/// Publishes one record for each key. With enough keys, every partition gets some.
async fn publish(channel: &EventChannel, keys: std::ops::Range<usize>) {
    within(channel.publish(keys.map(|key| record(key, format!("{key:03}"))).collect())).await.unwrap();
}

async fn commit(consumer: &mut Consumer, delivery: &Delivery) {
    consumer.commit(delivery.partition, delivery.offset + 1).await.unwrap();
}
