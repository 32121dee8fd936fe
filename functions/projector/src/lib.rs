//! Takes a Kafka batch and folds its events into the orders view in the read store.
//!
//! Each record is decoded tolerantly. A record that can't be decoded goes to the read store too, which holds it with its reason.
//! So no record stops the others. A read store that is down is no fault of a record: the whole batch fails and comes again.

mod mapping;

use std::time::Duration;

use domain::wire::{self, Undecodable};
use domain::{Aggregate, Event, Order, OrdersView, View};
use event_source_mapping::Trigger;
use event_source_mapping::event::{BatchResponse, KafkaEvent, KafkaRecord};
use jiff::Timestamp;
pub use mapping::mapping;
use read_store::{HeldReason, Incoming, Origin, Program, ReadStore, ReadStoreError};

/// The function as a trigger of a server.
#[must_use]
pub fn trigger(view: ReadStore<OrdersView>) -> Trigger {
    let (name, shape) = (OrdersView::NAME, ReadStore::<OrdersView>::shape_digest());
    let function = async |view, event, _| project(&view, event).await;
    Trigger::new(Order::KIND, mapping(), &view, function).of_view(name, shape)
}

/// Projects a batch into the view.
///
/// # Errors
/// When the read store is not available. Then the batch comes again, and events that were applied before are ignored.
pub async fn project(
    store: &ReadStore<OrdersView>,
    event: KafkaEvent,
) -> Result<BatchResponse, ReadStoreError> {
    let received_at = Timestamp::now();
    let records = event.records.into_values().flatten();
    let batch: Vec<Incoming<Event>> = records.map(|record| incoming(record, received_at)).collect();
    let projected = store.project(batch).await?;
    let count = |result, events| {
        metrics::counter!("projected_events_total", "result" => result).increment(events as u64);
    };
    count("applied", projected.applied + projected.released);
    count("ignored", projected.ignored);
    count("held", projected.held);
    Ok(BatchResponse::default())
}

/// Measures the held events by reason, and the orders that wait for them.
///
/// # Errors
/// When the read store is not available. Then the last figures stay.
pub async fn measure_held(store: ReadStore<OrdersView>) -> Result<(), ReadStoreError> {
    let held = store.held_summary().await?;
    for reason in HeldReason::ALL {
        let of_reason = held.iter().find(|held| held.reason == reason);
        let (events, orders) = of_reason.map_or((0, 0), |held| (held.events, held.streams));
        metrics::gauge!("held_events", "reason" => reason.as_str()).set(events as f64);
        metrics::gauge!("held_orders", "reason" => reason.as_str()).set(orders as f64);
    }
    Ok(())
}

/// The registration of the function as a Lambda, which the template's schedule renews: it keeps the tables of this program's view.
#[must_use]
pub fn registration() -> Program {
    let name = env!("CARGO_PKG_NAME").to_owned();
    Program { name, lease: Duration::from_secs(15 * 60), filling: None, serves: false }
}

fn incoming(record: KafkaRecord, received_at: Timestamp) -> Incoming<Event> {
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

fn decode(record: &KafkaRecord) -> Result<domain::RecordedEvent, Undecodable> {
    let no_value = || Undecodable::Malformed("the record has no value".to_owned());
    wire::decode(record.value.as_ref().ok_or_else(no_value)?)
}
