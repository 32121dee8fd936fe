//! Writes records that no program of ours wrote, straight into a system's topic.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};

use crate::servers::Servers;

/// The time limit for the brokers to acknowledge all records.
const PATIENCE: Duration = Duration::from_secs(30);

/// A producer for a system's topic, past the system.
pub struct Topic {
    producer: ThreadedProducer<DefaultProducerContext>,
    name: String,
}

impl Topic {
    /// Returns a producer for the topic of a system on these servers.
    ///
    /// # Panics
    /// When the brokers' address is invalid.
    #[must_use]
    pub fn of(servers: &Servers) -> Self {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", servers.brokers())
            // The partitioner of every other client of Kafka.
            .set("partitioner", "murmur2")
            .set("message.max.bytes", "2000000");
        Self { producer: config.create().expect("a producer"), name: servers.database().to_owned() }
    }

    /// Sends a record.
    ///
    /// # Panics
    /// When there is no room for it.
    pub fn send(&self, key: Option<&[u8]>, value: Option<&[u8]>) {
        let mut record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(&self.name);
        (record.key, record.payload) = (key, value);
        self.producer.send(record).map_err(|(error, _)| error).expect("room to send");
    }

    /// Waits until the brokers have all that was sent.
    ///
    /// # Panics
    /// When they don't take it in time.
    pub fn flush(&self) {
        self.producer.flush(PATIENCE).expect("the brokers take it");
    }
}
