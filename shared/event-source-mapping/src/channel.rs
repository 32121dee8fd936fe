//! A member of an event channel's consumer group as the source of a mapping.

use std::sync::Arc;

use event_channel::{Consumer, ConsumerSettings, Delivery, EventChannel, OpenError, PublishError};
use runtime::{KillPoint, kill_point};

use crate::event::{KafkaRecord, TimestampType};
use crate::{Mapping, Source, SourceError, SourcePoll, TopicPartition};

/// A member of a channel's group. It joins with the first poll and leaves when it is dropped.
pub struct ChannelSource {
    consumer: Consumer,
}

impl ChannelSource {
    /// Makes the source of a mapping that gets this member's records.
    #[must_use]
    pub fn new(consumer: Consumer) -> Self {
        Self { consumer }
    }
}

impl ChannelSource {
    /// Joins the mapping's group and makes its source. The channel filters each record once for the group, so that a record that no
    /// pattern matches takes no room in its queues. The mapping itself filters no more.
    ///
    /// # Errors
    /// When the group can't be joined.
    pub fn join(channel: &EventChannel, mapping: &mut Mapping) -> Result<Self, OpenError> {
        let filter = std::mem::take(&mut mapping.filter);
        let settings = ConsumerSettings { gather: mapping.gather, ..ConsumerSettings::default() };
        channel.subscribe_with(&mapping.group, settings, move |value| filter.matches(value)).map(Self::new)
    }
}

impl Source for ChannelSource {
    async fn poll(&mut self, limit: usize) -> Result<SourcePoll, SourceError> {
        let polled = self.consumer.poll(limit).await.map_err(unavailable)?;
        kill_point(KillPoint::ConsumerAfterPoll);
        let topic = self.consumer.topic();
        let of_topic = |partition| TopicPartition { topic: Arc::clone(topic), partition };
        Ok(SourcePoll {
            revoked: polled.revoked.into_iter().map(of_topic).collect(),
            records: polled.deliveries.into_iter().map(record).collect(),
        })
    }

    async fn commit(&mut self, partition: &TopicPartition, next_offset: i64) -> Result<(), SourceError> {
        kill_point(KillPoint::BeforeOffsetCommit);
        self.consumer.commit(partition.partition, next_offset).await.map_err(unavailable)?;
        kill_point(KillPoint::AfterOffsetCommit);
        Ok(())
    }

    fn pause(&mut self, partition: &TopicPartition) {
        self.consumer.pause(partition.partition);
    }

    fn resume(&mut self, partition: &TopicPartition) {
        self.consumer.resume(partition.partition);
    }

    fn can_be_left(&self) -> bool {
        self.consumer.can_be_left()
    }
}

fn record(delivery: Delivery) -> KafkaRecord {
    let Delivery { topic, partition, offset, timestamp, timestamp_type, record } = delivery;
    let headers = record.headers.iter().map(|header| (header.name.clone(), header.value.clone())).collect();
    KafkaRecord {
        topic,
        partition,
        offset,
        timestamp,
        timestamp_type: match timestamp_type {
            event_channel::TimestampType::CreateTime => TimestampType::CreateTime,
            event_channel::TimestampType::LogAppendTime => TimestampType::LogAppendTime,
        },
        key: record.key.clone(),
        value: record.value.clone(),
        headers,
        key_schema_metadata: None,
        value_schema_metadata: None,
    }
}

fn unavailable(error: PublishError) -> SourceError {
    SourceError(error.to_string())
}
