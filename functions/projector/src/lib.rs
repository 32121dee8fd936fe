//! Kafka batch in, read store out: folds events into the orders view.
//!
//! Each record is decoded tolerantly; what can't be decoded goes in all the same, to be held with its reason, so no record
//! stops the others. A read store that is down is not poison: the whole batch fails and comes again.

use domain::wire::{self, RecordedEvent, Undecodable};
use event_source_mapping::event::{BatchResponse, KafkaEvent, KafkaRecord};
use jiff::Timestamp;
use read_store::{Incoming, Origin, ReadStore, ReadStoreError};

/// Takes a batch into the view.
///
/// # Errors
/// When the read store is not available. The batch comes again then; what was taken in already is ignored.
pub async fn project(store: &ReadStore, event: KafkaEvent) -> Result<BatchResponse, ReadStoreError> {
    let received_at = Timestamp::now();
    let records = event.records.into_values().flatten();
    let batch: Vec<Incoming> = records.map(|record| incoming(record, received_at)).collect();
    let projected = store.project(batch).await?;
    let count = |result, events| {
        metrics::counter!("orders_projected_events_total", "result" => result).increment(events as u64);
    };
    count("applied", projected.applied + projected.released);
    count("ignored", projected.ignored);
    count("held", projected.held);
    Ok(BatchResponse::default())
}

fn incoming(record: KafkaRecord, received_at: Timestamp) -> Incoming {
    Incoming {
        event: decode(&record),
        origin: Origin {
            topic: record.topic.to_string(),
            partition: record.partition,
            offset: record.offset,
        },
        key: record.key.map(Into::into),
        value: record.value.map(Into::into),
        received_at,
    }
}

fn decode(record: &KafkaRecord) -> Result<RecordedEvent, Undecodable> {
    match &record.value {
        Some(value) => wire::decode(value),
        None => Err(Undecodable::Malformed("the record has no value".to_owned())),
    }
}
