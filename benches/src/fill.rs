//! Writes a large event store as its own system would: three commits an order, each marked published.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context;
use domain::{APPLICATION, Aggregate, CommandId, EncodedEvent, Event, Order, OrderId, OrderName, Version};
use event_store::{CommandHash, Commit, EventStore, Metadata, Namespace};
use jiff::Timestamp;
use tokio::task::JoinSet;

/// The number of appends that wait at the same time, so that the store writes them in batches of about this size.
const WRITERS: usize = 1_024;

/// Returns the id of one of the orders.
pub(crate) fn id(number: u64) -> String {
    format!("rebuilt-{number}")
}

/// Writes `orders` orders, each created, started and processed.
pub(crate) async fn fill(url: &str, orders: u64) -> anyhow::Result<()> {
    let store = EventStore::open(url, &Namespace::of::<Order>(APPLICATION)?).await?;
    let next = Arc::new(AtomicU64::new(0));
    let mut writers = JoinSet::new();
    for _ in 0..WRITERS {
        let (store, next) = (store.clone(), Arc::clone(&next));
        writers.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= orders {
                    return anyhow::Ok(());
                }
                for commit in life(number)? {
                    store.append(Arc::new(commit)).await?;
                }
            }
        });
    }
    while let Some(joined) = writers.join_next().await {
        joined.context("a writer panicked")??;
    }
    Ok(())
}

fn life(number: u64) -> anyhow::Result<[Commit; 3]> {
    let stream = OrderId::parse(&id(number))?;
    let created = Event::OrderCreated { name: OrderName::parse(&format!("order number {number}"))? };
    let commands = [1, 2, 3].map(|version| CommandId::system(&format!("{stream}:{version}")));
    let [first, second, third] = commands;
    let recorded_at = Timestamp::from_microsecond(Timestamp::now().as_microsecond())?;
    let commit = |version, command_id, event| Commit {
        stream: stream.clone(),
        version: Version::new(version),
        command_id,
        command_hash: CommandHash([0; 32]),
        events: vec![EncodedEvent::encode(&event)],
        awaits_outcome: Order::awaits_outcome(&event),
        recorded_at,
        metadata: Metadata { correlation_id: format!("fill-{number}"), ..Metadata::default() },
        unpublished: false,
    };
    Ok([
        commit(1, first?, created),
        commit(2, second?, Event::ProcessingStarted),
        commit(3, third?, Event::OrderProcessed),
    ])
}
