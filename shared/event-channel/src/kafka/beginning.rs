//! The beginning of a new consumer group. It is committed before a member joins. Kafka's `auto.offset.reset` leaves it to each
//! member: when a member dies before its first commit, the next one skips the records published before it joined.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::topic_partition_list::TopicPartitionListElem;
use rdkafka::{Offset, TopicPartitionList};
use tracing::info;

use super::client::QUESTION;
use super::group::Group;
use crate::Beginning;

/// Commits an offset of the group for every partition that has none. Does nothing for a group that begins with the oldest record,
/// since members begin there by themselves. Blocks while the brokers answer.
pub(super) fn settle(consumer: &BaseConsumer<Group>, topic: &str, beginning: Beginning) -> KafkaResult<()> {
    if beginning == Beginning::Oldest {
        return Ok(());
    }
    // This poll makes a client that signs tokens ask for its first one.
    let _ = consumer.poll(Duration::ZERO);
    let new = partitions_without_offset(consumer, topic)?;
    if new.is_empty() {
        return Ok(());
    }
    let mut offsets = TopicPartitionList::new();
    for (partition, offset) in beginnings(consumer, topic, &new, beginning)? {
        offsets.add_partition_offset(topic, partition, Offset::Offset(offset))?;
    }
    info!(topic, partitions = ?new, ?beginning, "the group begins");
    match consumer.commit(&offsets, CommitMode::Sync) {
        // The group has members already, and they decide where it begins.
        Err(KafkaError::ConsumerCommit(
            RDKafkaErrorCode::UnknownMemberId
            | RDKafkaErrorCode::IllegalGeneration
            | RDKafkaErrorCode::RebalanceInProgress,
        )) => Ok(()),
        result => result,
    }
}

fn partitions_without_offset(consumer: &BaseConsumer<Group>, topic: &str) -> KafkaResult<Vec<i32>> {
    let metadata = consumer.fetch_metadata(Some(topic), QUESTION)?;
    let mut asked = TopicPartitionList::new();
    let partitions = metadata.topics().iter().filter(|known| known.name() == topic);
    for partition in partitions.flat_map(|known| known.partitions()) {
        asked.add_partition(topic, partition.id());
    }
    let committed = consumer.committed_offsets(asked, QUESTION)?;
    let mut new = Vec::new();
    for element in committed.elements() {
        element.error()?;
        if element.offset() == Offset::Invalid {
            new.push(element.partition());
        }
    }
    Ok(new)
}

fn beginnings(
    consumer: &BaseConsumer<Group>,
    topic: &str,
    partitions: &[i32],
    beginning: Beginning,
) -> KafkaResult<Vec<(i32, i64)>> {
    let newest = |partition| consumer.fetch_watermarks(topic, partition, QUESTION).map(|(_, newest)| newest);
    let Beginning::At(milliseconds) = beginning else {
        return partitions.iter().map(|&partition| Ok((partition, newest(partition)?))).collect();
    };
    let mut asked = TopicPartitionList::new();
    for &partition in partitions {
        asked.add_partition_offset(topic, partition, Offset::Offset(milliseconds))?;
    }
    let found = consumer.offsets_for_times(asked, QUESTION)?;
    let of = |element: &TopicPartitionListElem<'_>| {
        element.error()?;
        let offset = match element.offset() {
            Offset::Offset(offset) => offset,
            // No record has this timestamp or a later one yet.
            _ => newest(element.partition())?,
        };
        Ok((element.partition(), offset))
    };
    found.elements().iter().map(of).collect()
}
