//! The commits that the event store and the raw clients write.

use domain::{APPLICATION, Aggregate, CommandId, EncodedEvent, Event, Order, OrderId, OrderName, Version};
use event_store::{CommandHash, Commit, InvalidNamespace, Metadata, Namespace};
use jiff::Timestamp;

/// The state of the commits' marks. A commit that is not marked is written as the command handler writes it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outbox {
    Unpublished,
    Published,
}

/// The namespace of orders in an event store.
pub(crate) fn namespace() -> Result<Namespace, InvalidNamespace> {
    Namespace::of::<Order>(APPLICATION)
}

pub(crate) fn order(number: u64) -> anyhow::Result<OrderId> {
    Ok(OrderId::parse(&format!("order-{number:012}"))?)
}

/// Returns the first commit of an order.
pub(crate) fn created(number: u64, outbox: Outbox) -> anyhow::Result<Commit> {
    let name = OrderName::parse("an order of some length")?;
    commit(number, 1, Event::OrderCreated { name }, outbox)
}

/// Returns the second commit of an order.
pub(crate) fn started(number: u64, outbox: Outbox) -> anyhow::Result<Commit> {
    commit(number, 2, Event::ProcessingStarted, outbox)
}

fn commit(number: u64, version: u64, event: Event, outbox: Outbox) -> anyhow::Result<Commit> {
    Ok(Commit {
        stream: order(number)?,
        version: Version::new(version),
        command_id: CommandId::system(&format!("019ab3c4-5d6e-7f80-9{version:03}-{number:012}"))?,
        command_hash: CommandHash([7; 32]),
        events: vec![EncodedEvent::encode(&event)],
        awaits_outcome: Order::awaits_outcome(&event),
        recorded_at: Timestamp::from_microsecond(Timestamp::now().as_microsecond())?,
        metadata: Metadata {
            correlation_id: "0af7651916cd43dd8448eb211c80319c".to_owned(),
            ..Metadata::default()
        },
        unpublished: outbox == Outbox::Unpublished,
    })
}
