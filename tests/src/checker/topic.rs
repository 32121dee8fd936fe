//! Reads the topic past the system. Each event must be there at least once, and first occurrences must be in order.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::BorrowedMessage;
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};
use serde_json::Value;

use super::fold::Wrong;
use crate::servers::{PARTITIONS, Servers};

/// The time limit for one request to the brokers.
const ANSWER: Duration = Duration::from_secs(20);

/// The records of a topic, as far as they were read.
pub struct Topic {
    consumer: BaseConsumer,
    name: String,
    read: Read,
}

#[derive(Default)]
struct Read {
    next: [i64; PARTITIONS],
    /// By order, the types of its events in the order of their versions.
    first: BTreeMap<String, Vec<String>>,
    records: u64,
    wrong: Vec<Wrong>,
}

impl Topic {
    /// Returns a reader of these servers' topic, from its beginning.
    ///
    /// # Panics
    /// When no client can be made.
    #[must_use]
    pub fn of(servers: &Servers) -> Self {
        let mut settings = ClientConfig::new();
        settings.set("bootstrap.servers", servers.brokers()).set("group.id", "checker");
        settings.set("enable.auto.commit", "false");
        let consumer = settings.create().expect("a consumer");
        Self { consumer, name: servers.database().to_owned(), read: Read::default() }
    }

    /// Returns the number of records, and how many of them are repetitions.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        let events: usize = self.read.first.values().map(Vec::len).sum();
        (self.read.records, self.read.records - events as u64)
    }

    /// Returns the faults in the records that were read.
    #[must_use]
    pub fn wrong(&self) -> &[Wrong] {
        &self.read.wrong
    }

    /// Returns the types of an order's events, in the order of their first occurrence.
    #[must_use]
    pub fn kinds(&self, order: &str) -> &[String] {
        self.read.first.get(order).map_or(&[], Vec::as_slice)
    }

    /// Reads on to the end, and blocks the thread.
    ///
    /// # Panics
    /// When the brokers do not answer.
    pub fn read_on(&mut self) {
        let Self { consumer, name, read } = self;
        let partitions = || 0..i32::try_from(PARTITIONS).expect("few");
        let end = |partition| consumer.fetch_watermarks(name, partition, ANSWER).expect("an end").1;
        let ends: Vec<i64> = partitions().map(end).collect();
        let mut from = TopicPartitionList::new();
        for (partition, next) in partitions().zip(read.next) {
            from.add_partition_offset(name, partition, Offset::Offset(next)).expect("an offset");
        }
        consumer.assign(&from).expect("partitions");
        while read.next.iter().zip(&ends).any(|(next, end)| next < end) {
            if let Some(message) = consumer.poll(ANSWER) {
                read.take_in(&message.expect("a record"));
            }
        }
    }
}

impl Read {
    fn take_in(&mut self, message: &BorrowedMessage<'_>) {
        let value: Value = serde_json::from_slice(message.payload().unwrap_or_default()).unwrap_or_default();
        self.next[usize::try_from(message.partition()).expect("a partition")] = message.offset() + 1;
        self.records += 1;
        let order = value["stream"].as_str().unwrap_or_default();
        let kind = value["type"].as_str().unwrap_or_default();
        let known = self.first.entry(order.to_owned()).or_default();
        let version = value["version"].as_u64().unwrap_or_default() as usize;
        if message.key() != Some(order.as_bytes()) || version == 0 {
            self.wrong.push(format!("a record of {:?} is {value}", message.key()));
        } else if version == known.len() + 1 {
            known.push(kind.to_owned());
        } else if version > known.len() {
            self.wrong.push(format!("{value} came first after version {}", known.len()));
        } else if known[version - 1] != kind {
            self.wrong.push(format!("{value} was {} before", known[version - 1]));
        }
    }
}
