//! The way from Kafka to committed rows, with records that can't be applied among the events, against the way without them.

use std::time::Duration;

use anyhow::bail;
use bytes::Bytes;
use domain::{Aggregate, EncodedEvent, Event, Order, Version};
use event_channel::Record;

use super::bench::Bench;
use super::commits::{Outbox, created, order};
use super::publish::Topic;
use super::rounds::medians;
use super::system::{Full, catch_up, fill};
use crate::table::Table;

/// The number of orders, with two events each.
const ORDERS: u64 = 100_000;
/// There is one record of poison for so many orders.
const EVERY: u64 = 10;
/// One of so many records of poison is large.
const LARGE_EVERY: u64 = 500;
const LARGE: usize = 900_000;

/// The lowest allowed rate, as a share of the rate without poison.
const LEAST: f64 = 0.7;

/// The pause between two looks. It is long, because the dispatcher counts the held events each time.
const LOOK: Duration = Duration::from_millis(200);

pub(super) async fn measure(bench: &Bench, table: &mut Table) -> anyhow::Result<()> {
    let rates = medians(bench.pace, &[true, false], async |poisoned| {
        let topic = Topic::fresh(&bench.servers).await?;
        fill(&topic, ORDERS, move |number| {
            let is_one = poisoned && number.is_multiple_of(EVERY);
            is_one.then(|| poison(number / EVERY)).transpose()
        })
        .await?;
        let held = if poisoned { ORDERS / EVERY } else { 0 };
        catch_up(bench, topic, Full { events: ORDERS * 2, held }, LOOK).await
    });
    let [poisoned, clean] = rates.await?[..] else { bail!("two contenders have two figures") };
    let (poison, events) = (ORDERS / EVERY, ORDERS * 2);
    table.compared(format!("{events} events with {poison} of poison : none"), poisoned, clean, "events/s");
    if poisoned < clean * LEAST {
        table.failed(format!(
            "beside poison {poisoned:.0} events/s were taken in; {LEAST} of {clean:.0} is the least"
        ));
    }
    Ok(())
}

/// Returns the record of this number: each kind in turn, of orders that are well otherwise.
fn poison(number: u64) -> anyhow::Result<Record> {
    let commit = created(number * EVERY, Outbox::Published)?;
    let started = EncodedEvent::encode(&Event::ProcessingStarted);
    let record = command_handler::record(Order::SOURCE, &commit, Version::new(1_000), &started);
    let value = String::from_utf8(record.value.clone().unwrap_or_default().to_vec())?;
    let garbage = format!("poison {number}");
    if number.is_multiple_of(LARGE_EVERY) {
        return Ok(Record { value: Some(Bytes::from("x".repeat(LARGE))), ..record });
    }
    Ok(match number % 7 {
        0 => Record { value: Some(Bytes::from([&b"\xff\xfe"[..], garbage.as_bytes()].concat())), ..record },
        1 => Record { value: Some(value.replace("ProcessingStarted", "OrderPainted").into()), ..record },
        // The versions before this one are missing.
        2 => record,
        3 => Record { key: Some(Bytes::from(order(number)?.to_string())), ..record },
        4 => Record { key: None, value: Some(garbage.into()), ..record },
        5 => Record {
            key: Some(Bytes::from_static(b"\xc3\x28 another")),
            value: Some(garbage.into()),
            ..record
        },
        _ => Record { value: None, ..record },
    })
}
