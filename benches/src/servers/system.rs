//! The whole system: the `orders` binary on databases and a topic of its own.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use command_handler::record;
use domain::{Aggregate, EncodedEvent, Event, Order, Reason};
use event_channel::Record;

use super::bench::{Bench, PATIENCE};
use super::commits::{Outbox, created, started};
use super::mongo::Database;
use super::postgres::Schema;
use super::publish::{RawProducer, Topic};
use super::rounds::{Numbers, rate};
use crate::server::{Server, Stores};
use crate::table::Table;

/// A running system.
pub(crate) struct System {
    pub(crate) server: Server,
    pub(crate) stores: Stores,
    pub(crate) view: Schema,
    events: Database,
    topic: Topic,
    /// The purpose of the measurement.
    purpose: &'static str,
}

impl System {
    /// Starts a system, and waits until its writes come to the view.
    pub(crate) async fn start(bench: &Bench, purpose: &'static str) -> anyhow::Result<Self> {
        let system = Self::start_on(bench, Topic::fresh(&bench.servers).await?, purpose).await?;
        // A consumer group takes some time to form.
        let words = ["--only", "create", "--queryable", "--timeout", "60"];
        bench.orders().await?.load(&system.server.url, 1, 1, &words).await?;
        Ok(system)
    }

    /// Starts a system on a topic that may hold records.
    async fn start_on(bench: &Bench, topic: Topic, purpose: &'static str) -> anyhow::Result<Self> {
        let events = Database::fresh(&bench.servers).await?;
        let orders = bench.orders().await?;
        // The binary may be another build, with other tables.
        let view = Schema::with_tables(&bench.servers, async |read_store| {
            let words = ["migrate", "--event-store", &events.url, "--read-store", read_store];
            orders.run_well(&words).await
        })
        .await?;
        // The system has groups of its own, because those of an earlier system may still wait for their members.
        let sign = if topic.url.contains('?') { '&' } else { '?' };
        let channel = format!("{}{sign}group_prefix={}.", topic.url, topic.name);
        let stores = Stores { event_store: events.url.clone(), channel, read_store: view.url.clone() };
        let server = Server::orders_on(&orders.binary, &stores).await?;
        Ok(Self { server, stores, view, events, topic, purpose })
    }

    /// Checks that the view agrees with the events.
    pub(crate) async fn verify(&self, bench: &Bench) -> anyhow::Result<()> {
        let flags = self.stores.event_and_read_store();
        let words: Vec<_> = std::iter::once("verify").chain(flags.iter().map(String::as_str)).collect();
        bench.orders().await?.run_well(&words).await
    }

    /// Stops the system, notes how large it was, and deletes its data.
    pub(crate) async fn end(self, bench: &Bench) -> anyhow::Result<()> {
        let Self { server, view, events, topic, purpose, .. } = self;
        bench.note_memory(purpose, server.memory()?.peak);
        drop(server);
        topic.remove().await?;
        events.remove().await?;
        view.remove().await
    }
}

/// More events than were ever taken in in a second.
const EVENTS_A_SECOND: u64 = 60_000;

/// Measures the events a second from a full topic into an empty view, from the first transaction on to the last.
pub(crate) async fn from_kafka(bench: &Bench, table: &mut Table) -> anyhow::Result<()> {
    let mut rates = Vec::new();
    for round in 0..=bench.pace.rounds {
        let topic = Topic::fresh(&bench.servers).await?;
        let orders = bench.pace.calls(EVENTS_A_SECOND) / 2;
        fill(&topic, orders, |_| Ok(None)).await?;
        let rate = catch_up(bench, topic, Full { events: orders * 2, held: 0 }, LOOK).await?;
        // The first round is a warm-up of the broker, whose code is compiled while it runs.
        if round > 0 {
            rates.push(rate);
        }
    }
    table.alone("from Kafka to committed rows, two events an order", crate::table::median(rates), "events/s");
    Ok(())
}

/// The pause between two looks at the dispatcher's count.
const LOOK: Duration = Duration::from_millis(10);

/// The records of a full topic.
pub(super) struct Full {
    /// Events that can be applied.
    pub(super) events: u64,
    /// Records that are to be held.
    pub(super) held: u64,
}

/// Returns the events a second that a new system applies from a full topic. The records that can't be applied must all be held in
/// the end.
pub(super) async fn catch_up(
    bench: &Bench,
    topic: Topic,
    Full { events, held }: Full,
    look: Duration,
) -> anyhow::Result<f64> {
    let system = System::start_on(bench, topic, "from Kafka").await?;
    let end = Instant::now() + PATIENCE;
    let mut first = None;
    let rate = loop {
        let (applied, now) = (system.server.projected("applied").await?, Instant::now());
        match first {
            None if applied > 0 => first = Some((applied, now)),
            Some((before, since)) if applied == events => {
                break (applied - before) as f64 / (now - since).as_secs_f64();
            }
            _ if now > end => bail!("{applied} of {events} events within {PATIENCE:?}"),
            _ => tokio::time::sleep(look).await,
        }
    };
    while system.server.projected("held").await? != held {
        if Instant::now() > end {
            bail!("not {held} records were held within {PATIENCE:?}");
        }
        tokio::time::sleep(look).await;
    }
    system.end(bench).await?;
    Ok(rate)
}

/// Fills a topic with orders that are created and cancelled: only the projector takes these events. After the events of an order
/// comes the record that `beside` has for its number.
pub(super) async fn fill(
    topic: &Topic,
    orders: u64,
    beside: impl Fn(u64) -> anyhow::Result<Option<Record>> + Clone + Send + 'static,
) -> anyhow::Result<()> {
    let producer = std::sync::Arc::new(RawProducer::start(&topic.brokers, &topic.name)?);
    let call = move |number| {
        let (producer, beside) = (std::sync::Arc::clone(&producer), beside(number));
        async move {
            let (created, next) = (created(number, Outbox::Published)?, started(number, Outbox::Published)?);
            let event = created.events.first().context("a commit has events")?;
            producer.send(&record(Order::SOURCE, &created, created.version, event)).await?;
            let cancelled = Event::OrderCancelled { reason: Reason::parse("no longer wanted")? };
            producer
                .send(&record(Order::SOURCE, &next, next.version, &EncodedEvent::encode(&cancelled)))
                .await?;
            match beside? {
                Some(record) => producer.send(&record).await,
                None => Ok(()),
            }
        }
    };
    rate(1_000, PATIENCE, &Numbers::up_to(orders), call, super::rounds::nothing).await?;
    Ok(())
}
