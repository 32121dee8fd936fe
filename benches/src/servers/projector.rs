//! The read store's batches, against the least work that a batch needs: `SELECT … FOR UPDATE` and one UNNEST upsert in a
//! transaction. They are also compared with `COPY`, which only adds.

use std::fmt::Write;
use std::time::{Duration, Instant};
use std::vec::IntoIter;

use anyhow::{Context, bail, ensure};
use domain::{EncodedEvent, Event, OrderName, OrdersView, Version};
use domain::{RecordedEvent, wire};
use jiff::Timestamp;
use read_store::{Incoming, Origin, ReadStore};
use sqlx::{AssertSqlSafe, Connection, PgConnection, query};
use tokio::task::JoinSet;

use super::bench::Bench;
use super::commits::order;
use super::postgres::{Micros, Schema};
use super::rounds::medians;
use crate::table::Table;

/// Events of a batch, each of another order.
const BATCH: usize = 500;

/// Twice as many events as were ever taken in in a second. Connections get equal shares of the events, but do not take them
/// equally fast. If they are not enough, the measurement fails.
const EVENTS_A_SECOND: u64 = 600_000;

const NAME: &str = "an order of some length";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Contender {
    Ours,
    Upsert,
    Copy,
}

/// Every order is created, started and processed, in three batches. Every connection has orders of its own.
pub(crate) async fn measure(bench: &Bench, connections: usize, table: &mut Table) -> anyhow::Result<()> {
    let contenders = [Contender::Ours, Contender::Upsert, Contender::Copy];
    let rates = medians(bench.pace, &contenders, async |contender| {
        let schema = Schema::fresh(&bench.servers).await?;
        let rate = one(bench, contender, connections, &schema).await?;
        schema.remove().await?;
        Ok(rate)
    });
    let [ours, upsert, copy] = rates.await?[..] else { bail!("three contenders have three figures") };
    let of = format!("projector, batches of {BATCH}, {connections} at a time");
    table.compared(format!("{of} : FOR UPDATE, UNNEST"), ours, upsert, "events/s");
    table.compared(format!("{of} : COPY"), ours, copy, "events/s");
    Ok(())
}

async fn one(
    bench: &Bench,
    contender: Contender,
    connections: usize,
    schema: &Schema,
) -> anyhow::Result<f64> {
    let events = usize::try_from(bench.pace.calls(EVENTS_A_SECOND))?;
    let batches = events.div_ceil(BATCH * connections);
    let callers = || 0..connections;
    match contender {
        Contender::Ours => {
            let store = ReadStore::<OrdersView>::open_with(&schema.url, connections).await?;
            let prepared = callers().map(|caller| Ok((store.clone(), every(caller, batches, incoming)?)));
            drive(bench, prepared.collect::<anyhow::Result<_>>()?, project).await
        }
        Contender::Upsert => {
            let mut prepared = Vec::new();
            for caller in callers() {
                let raw = Raw { connection: schema.connect().await?, view: schema.view().await? };
                prepared.push((raw, every(caller, batches, rows)?));
            }
            drive(bench, prepared, Raw::upsert).await
        }
        Contender::Copy => {
            let mut prepared = Vec::new();
            for caller in callers() {
                let raw = Raw { connection: schema.connect().await?, view: schema.view().await? };
                prepared.push((raw, every(caller, batches, lines)?));
            }
            drive(bench, prepared, Raw::copy).await
        }
    }
}

/// Returns the events a second, after a warm-up. Every caller takes in its batches one after the other.
async fn drive<C, B, F>(
    bench: &Bench,
    callers: Vec<(C, IntoIter<B>)>,
    take_in: impl Fn(C, B) -> F + Copy + Send + 'static,
) -> anyhow::Result<f64>
where
    C: Send + 'static,
    B: Send + 'static,
    F: Future<Output = anyhow::Result<C>> + Send,
{
    let (callers, _) = drive_for(bench.pace.warm_up(), callers, take_in).await?;
    let (_, rate) = drive_for(bench.pace.time, callers, take_in).await?;
    Ok(rate)
}

type Callers<C, B> = Vec<(C, IntoIter<B>)>;

async fn drive_for<C, B, F>(
    time: Duration,
    callers: Callers<C, B>,
    take_in: impl Fn(C, B) -> F + Copy + Send + 'static,
) -> anyhow::Result<(Callers<C, B>, f64)>
where
    C: Send + 'static,
    B: Send + 'static,
    F: Future<Output = anyhow::Result<C>> + Send,
{
    let started = Instant::now();
    let end = started + time;
    let mut running = JoinSet::new();
    for (mut caller, mut batches) in callers {
        running.spawn(async move {
            let mut done = 0;
            while Instant::now() < end
                && let Some(batch) = batches.next()
            {
                caller = take_in(caller, batch).await?;
                done += 1;
            }
            anyhow::Ok((caller, batches, done))
        });
    }
    let (mut callers, mut events) = (Vec::new(), 0);
    while let Some(joined) = running.join_next().await {
        let (caller, batches, done) = joined.context("a caller panicked")??;
        // Without batches left, the caller was at rest while the clock ran.
        ensure!(
            batches.len() > 0,
            "a caller had no batches left: more than {EVENTS_A_SECOND} events a second must be prepared"
        );
        callers.push((caller, batches));
        events += done * BATCH;
    }
    Ok((callers, events as f64 / started.elapsed().as_secs_f64()))
}

/// Returns the batches of a caller, which are prepared before the clock runs.
fn every<B>(
    caller: usize,
    batches: usize,
    make: impl Fn(&[u64], usize) -> anyhow::Result<B>,
) -> anyhow::Result<IntoIter<B>> {
    let made = (0..batches).map(|batch| {
        let first = ((caller * batches + batch / 3) * BATCH) as u64;
        let orders: Vec<u64> = (first..first + BATCH as u64).collect();
        make(&orders, batch)
    });
    Ok(made.collect::<anyhow::Result<Vec<_>>>()?.into_iter())
}

fn incoming(orders: &[u64], batch: usize) -> anyhow::Result<Vec<Incoming<Event>>> {
    let received_at = Timestamp::now();
    let event = match batch % 3 {
        0 => Event::OrderCreated { name: OrderName::parse(NAME)? },
        1 => Event::ProcessingStarted,
        _ => Event::OrderProcessed,
    };
    let incoming = |(place, &number): (usize, &u64)| {
        let (order, version) = (order(number)?, Version::new(batch as u64 % 3 + 1));
        let value = wire::encode(&order, version, received_at, &EncodedEvent::encode(&event));
        Ok(Incoming {
            origin: Origin {
                topic: "orders.events".to_owned(),
                partition: 0,
                offset: (batch * BATCH + place) as i64,
            },
            key: Some(order.as_str().as_bytes().to_vec()),
            value: Some(value),
            event: Ok(RecordedEvent { stream: order, version, time: received_at, event: event.clone() }),
            received_at,
        })
    };
    orders.iter().enumerate().map(incoming).collect()
}

async fn project(
    store: ReadStore<OrdersView>,
    batch: Vec<Incoming<Event>>,
) -> anyhow::Result<ReadStore<OrdersView>> {
    let events = batch.len();
    let projected = store.project(batch).await?;
    if projected.applied == events { Ok(store) } else { bail!("of {events} events: {projected:?}") }
}

/// The rows of a batch, ready to be bound.
struct Rows {
    ids: Vec<String>,
    version: i64,
    status: &'static str,
    time: i64,
}

fn rows(orders: &[u64], batch: usize) -> anyhow::Result<Rows> {
    let ids = orders.iter().map(|&number| Ok(order(number)?.to_string()));
    Ok(Rows {
        ids: ids.collect::<anyhow::Result<_>>()?,
        version: batch as i64 % 3 + 1,
        status: ["new", "processing", "processed"][batch % 3],
        time: Timestamp::now().as_microsecond() - 946_684_800_000_000,
    })
}

/// Returns new rows as COPY takes them. COPY can't write over rows, so each batch has orders of its own.
fn lines(orders: &[u64], batch: usize) -> anyhow::Result<String> {
    let (mut text, time) = (String::new(), Timestamp::now());
    for &number in orders {
        let id = order(number)?;
        writeln!(text, "1\t{time}\t{time}\t{id}-{}\t{NAME}\tnew\t\\N", batch % 3)?;
    }
    Ok(text)
}

/// A connection past the read store.
struct Raw {
    connection: PgConnection,
    view: String,
}

impl Raw {
    async fn upsert(mut self, rows: Rows) -> anyhow::Result<Self> {
        let Self { connection, view } = &mut self;
        let mut transaction = connection.begin().await?;
        let lock = format!(
            "SELECT id, version, name, status, reason, created_at, updated_at FROM {view}
            WHERE id = ANY($1) ORDER BY id FOR UPDATE"
        );
        query(AssertSqlSafe(lock)).bind(&rows.ids).fetch_all(&mut *transaction).await?;
        let upsert = format!(
            "INSERT INTO {view} AS has (id, version, name, status, reason, created_at, updated_at)
             SELECT * FROM UNNEST($1::text[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::timestamptz[],
                 $7::timestamptz[])
             ON CONFLICT (id) DO UPDATE SET version = excluded.version, status = excluded.status,
                 name = excluded.name, reason = excluded.reason, created_at = excluded.created_at,
                 updated_at = excluded.updated_at
             WHERE has.version = excluded.version - 1"
        );
        let count = rows.ids.len();
        let written = query(AssertSqlSafe(upsert))
            .bind(&rows.ids)
            .bind(vec![rows.version; count])
            .bind(vec![NAME; count])
            .bind(vec![rows.status; count])
            .bind(vec![None::<&str>; count])
            .bind(vec![Micros(rows.time); count])
            .bind(vec![Micros(rows.time); count])
            .execute(&mut *transaction)
            .await?
            .rows_affected();
        transaction.commit().await?;
        if written == count as u64 { Ok(self) } else { bail!("{written} of {count} rows were written") }
    }

    async fn copy(mut self, lines: String) -> anyhow::Result<Self> {
        let sql = format!(
            "COPY {} (version, created_at, updated_at, id, name, status, reason) FROM STDIN",
            self.view
        );
        let mut copy = self.connection.copy_in_raw(&sql).await?;
        copy.send(lines.as_bytes()).await?;
        copy.finish().await?;
        Ok(self)
    }
}
