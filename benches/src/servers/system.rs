//! The whole system: the `orders` binary on databases and a topic of its own.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use domain::{Event, Reason};

use super::commits::{Outbox, created, started};
use super::mongo::Database;
use super::postgres::Schema;
use super::publish::{RawProducer, Topic, recorded};
use super::rounds::{Numbers, rate};
use super::{Bench, PATIENCE};
use crate::probe::Probe;
use crate::server::{Server, Stores};
use crate::table::Table;

/// A running system.
pub(crate) struct System {
    pub(crate) server: Server,
    pub(crate) stores: Stores,
    pub(crate) view: Schema,
    events: Database,
    topic: Topic,
    /// What it is measured for.
    purpose: &'static str,
}

impl System {
    /// Started, and what it writes comes to the view.
    pub(crate) async fn start(bench: &Bench, purpose: &'static str) -> anyhow::Result<Self> {
        let system = Self::start_on(bench, Topic::fresh(&bench.servers).await?, purpose).await?;
        // A consumer group takes its time to come together.
        let words = ["--only", "create", "--queryable", "--timeout", "60"];
        bench.orders().await?.load(&system.server.url, 1, 1, &words).await?;
        Ok(system)
    }

    /// On a topic that may hold records.
    async fn start_on(bench: &Bench, topic: Topic, purpose: &'static str) -> anyhow::Result<Self> {
        let events = Database::fresh(&bench.servers).await?;
        let view = Schema::fresh(&bench.servers).await?;
        // Groups of its own: those of a system before it may still wait for its members.
        let sign = if topic.url.contains('?') { '&' } else { '?' };
        let channel = format!("{}{sign}group_prefix={}.", topic.url, topic.name);
        let stores = Stores { event_store: events.url.clone(), channel, read_store: view.url.clone() };
        let server = Server::orders_on(&bench.orders().await?.binary, &stores).await?;
        Ok(Self { server, stores, view, events, topic, purpose })
    }

    /// The view is what the events make of it.
    pub(crate) async fn verify(&self, bench: &Bench) -> anyhow::Result<()> {
        let flags = self.stores.event_and_read_store();
        let words: Vec<_> = std::iter::once("verify").chain(flags.iter().map(String::as_str)).collect();
        let said = bench.orders().await?.run(&words).await?;
        if !said.status.success() {
            let text = [said.stdout, said.stderr].concat();
            bail!("orders verify: {}\n{}", said.status, String::from_utf8_lossy(&text));
        }
        Ok(())
    }

    /// Stops it, notes how large it was, and deletes what it has stored.
    pub(crate) async fn end(self, bench: &Bench) -> anyhow::Result<()> {
        let Self { server, view, events, topic, purpose, .. } = self;
        bench.note_memory(purpose, server.memory()?.peak);
        drop(server);
        topic.remove().await?;
        events.remove().await?;
        view.remove().await
    }
}

/// More events than can be taken in in a second, as far as was seen.
const EVENTS_A_SECOND: u64 = 60_000;

/// Events a second from a full topic into an empty view, from the first transaction on to the last.
pub(crate) async fn from_kafka(bench: &Bench, table: &mut Table) -> anyhow::Result<()> {
    let mut rates = Vec::new();
    for _ in 0..bench.pace.rounds {
        rates.push(catch_up(bench).await?);
    }
    table.alone("from Kafka to committed rows, two events an order", crate::table::median(rates), "events/s");
    Ok(())
}

async fn catch_up(bench: &Bench) -> anyhow::Result<f64> {
    let topic = Topic::fresh(&bench.servers).await?;
    let orders = bench.pace.calls(EVENTS_A_SECOND) / 2;
    fill(&topic, orders).await?;
    let system = System::start_on(bench, topic, "from Kafka").await?;
    let (probe, metrics) = (Probe::new(), format!("{}/metrics", system.server.admin()?));
    let end = Instant::now() + PATIENCE;
    let mut first = None;
    let rate = loop {
        let (applied, now) = (applied(&probe.text(&metrics).await?)?, Instant::now());
        match first {
            None if applied > 0 => first = Some((applied, now)),
            Some((before, since)) if applied == orders * 2 => {
                break (applied - before) as f64 / (now - since).as_secs_f64();
            }
            _ if now > end => bail!("{applied} of {} events within {PATIENCE:?}", orders * 2),
            _ => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    };
    system.end(bench).await?;
    Ok(rate)
}

/// Orders that are created and cancelled: events that the projector alone wants.
async fn fill(topic: &Topic, orders: u64) -> anyhow::Result<()> {
    let producer = std::sync::Arc::new(RawProducer::start(&topic.brokers, &topic.name)?);
    let call = move |number| {
        let producer = std::sync::Arc::clone(&producer);
        async move {
            let (created, next) = (created(number, Outbox::Published)?, started(number, Outbox::Published)?);
            let event = created.events.first().context("a commit has events")?;
            producer.send(&recorded(&created, created.version, event)).await?;
            let cancelled = Event::OrderCancelled { reason: Reason::parse("no longer wanted")? };
            producer.send(&recorded(&next, next.version, &cancelled)).await
        }
    };
    rate(1_000, PATIENCE, &Numbers::up_to(orders), call, super::rounds::nothing).await?;
    Ok(())
}

/// The dispatcher's own count of events that are in the view.
fn applied(metrics: &str) -> anyhow::Result<u64> {
    let applied = |line: &&str| {
        line.starts_with("orders_projected_events_total{") && line.contains("result=\"applied\"")
    };
    let Some(line) = metrics.lines().find(applied) else { return Ok(0) };
    let value = line.rsplit(' ').next().context("a metric without a value")?;
    value.parse().with_context(|| format!("{line}: not a count"))
}
