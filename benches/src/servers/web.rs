//! The whole system over HTTP on real servers: throughput against a bare server and against the driver, and how far the view is behind.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::bench::{Bench, PATIENCE};
use super::commits::{Outbox, created};
use super::mongo::{Database, Template};
use super::postgres::Schema;
use super::rounds::{Numbers, nothing, warm_rate};
use super::system::System;
use crate::load::{Load, Orders};
use crate::server::Server;
use crate::table::{Table, median};

const CLIENTS: u32 = 64;

/// Measures create, process and get at 64 clients. While the driver is measured, the rest of the system is at rest.
pub(crate) async fn throughput(bench: &Bench, table: &mut Table) -> anyhow::Result<()> {
    let system = System::start(bench, "HTTP").await?;
    let bare = Server::bare().await?;
    let [template, _] = Template::both(&bench.servers, Outbox::Unpublished).await?;
    let mut rates = Rates::default();
    for round in 0..bench.pace.rounds {
        let created = rates.ours(bench, &system, "create", round, u64::MAX).await?;
        rates.bare(bench, &bare, "create", round).await?;
        rates.inserted.push(inserted(bench, &template).await?);
        for call in ["process", "get"] {
            rates.ours(bench, &system, call, round, created).await?;
            rates.bare(bench, &bare, call, round).await?;
        }
    }
    system.verify(bench).await?;
    system.end(bench).await?;
    drop(bare);

    let inserted = median(rates.inserted);
    for (call, of) in [("create", 0), ("process", 1), ("get", 2)] {
        let (ours, bare) = (median(rates.ours[of].clone()), median(rates.bare[of].clone()));
        if call == "create" {
            table.compared("HTTP create at 64 clients : insert_one", ours, inserted, "a second");
        }
        table.compared(format!("HTTP {call} at 64 clients : bare server"), ours, bare, "a second");
    }
    Ok(())
}

/// The rates by call: create, process, get.
#[derive(Default)]
struct Rates {
    ours: [Vec<f64>; 3],
    bare: [Vec<f64>; 3],
    inserted: Vec<f64>,
}

impl Rates {
    /// Measures a call to our server. Returns the number of orders that were called for, at most `most`.
    async fn ours(
        &mut self,
        bench: &Bench,
        system: &System,
        call: &str,
        round: u32,
        most: u64,
    ) -> anyhow::Result<u64> {
        let orders = bench.orders().await?;
        let url = &system.server.url;
        let (rate, count) = called(bench, orders, url, call, round, most).await?;
        system.server.rest().await?;
        self.ours[place(call)].push(rate);
        Ok(count)
    }

    async fn bare(&mut self, bench: &Bench, bare: &Server, call: &str, round: u32) -> anyhow::Result<()> {
        let orders = bench.orders().await?;
        let (rate, _) = called(bench, orders, &bare.url, call, round, u64::MAX).await?;
        self.bare[place(call)].push(rate);
        Ok(())
    }
}

fn place(call: &str) -> usize {
    ["create", "process", "get"].iter().position(|known| *known == call).unwrap_or_default()
}

/// The number of orders in a first load. It is the warm-up, and tells how many orders the measured load must have.
const FIRST: u64 = 2_000;

async fn called(
    bench: &Bench,
    orders: &Orders,
    url: &str,
    call: &str,
    round: u32,
    most: u64,
) -> anyhow::Result<(f64, u64)> {
    // Orders are processed and read in the same round in which they are created.
    let prefixes = [format!("w{round}"), format!("m{round}")];
    let [first, words] = prefixes.each_ref().map(|prefix| ["--only", call, "--prefix", prefix.as_str()]);
    let warm = orders.load(url, FIRST, CLIENTS, &first).await?;
    let count = ((warm.per_second * bench.pace.time.as_secs_f64()) as u64).clamp(FIRST, most.max(FIRST));
    Ok((orders.load(url, count.min(most), CLIENTS, &words).await?.per_second, count.min(most)))
}

/// Measures `insert_one` at 64 callers.
async fn inserted(bench: &Bench, template: &Template) -> anyhow::Result<f64> {
    let database = Database::fresh(&bench.servers).await?;
    let (template, commits) = (Arc::new(template.clone()), database.commits(None).await?);
    let call = move |number| {
        let (template, commits) = (Arc::clone(&template), commits.clone());
        async move {
            commits.insert_one(template.document(&created(number, Outbox::Unpublished)?)?).await?;
            Ok(())
        }
    };
    let rate = warm_rate(CLIENTS as usize, bench.pace, &Numbers::endless(), call, nothing).await?;
    database.remove().await?;
    Ok(rate)
}

/// The number of orders a second that are watched; the others are only the load. A watcher reads over and over, and these reads
/// must not become most of the load.
const WATCHED_A_SECOND: u32 = 25;

/// The time of a first round. A broker that has just started is slow until its code is compiled, which takes most of a processor
/// meanwhile.
const WARM_UP: Duration = Duration::from_secs(30);

/// Measures the time from sending a command until a plain GET shows it, at so many commands a second.
pub(crate) async fn queryable(bench: &Bench, commands: u32, table: &mut Table) -> anyhow::Result<()> {
    let system = System::start(bench, "queryable").await?;
    let latencies = queryable_latencies(bench, &system.server, commands, WARM_UP).await?;
    system.end(bench).await?;
    for (name, latency) in latencies {
        table.alone(format!("command to queryable at {commands} commands/s, {name}"), latency, "ms");
    }
    Ok(())
}

/// Returns the p50 and the p99 of the time from sending a command until a plain GET shows it. Creates and processes come in equal
/// parts.
pub(crate) async fn queryable_latencies(
    bench: &Bench,
    server: &Server,
    commands: u32,
    warm_up: Duration,
) -> anyhow::Result<[(&'static str, f64); 2]> {
    let (mut p50, mut p99) = (vec![], vec![]);
    let (rate, every) = (commands.to_string(), (commands / 2 / WATCHED_A_SECOND).max(1).to_string());
    for round in 0..=bench.pace.rounds {
        // Long enough for a p99 that is not a single order's.
        let time = if round == 0 { warm_up } else { bench.pace.time * 4 };
        let orders = (f64::from(commands / 2) * time.as_secs_f64()).ceil() as u64;
        let words = ["--rate", &rate, "--queryable", &every, "--only", "create,process"];
        let load: Load = bench.orders().await?.load(&server.url, orders, CLIENTS, &words).await?;
        let latency = load.latency("queryable")?;
        if round > 0 {
            p50.push(latency.p50);
            p99.push(latency.p99);
        }
        server.rest().await?;
    }
    Ok([("p50", median(p50)), ("p99", median(p99))])
}

/// The number of orders in the load after which the view catches up.
const LOAD: u64 = 20_000;

/// Measures the time from the end of a load until the view has all that was acknowledged, and until every order is fulfilled.
pub(crate) async fn caught_up(bench: &Bench, table: &mut Table) -> anyhow::Result<()> {
    let (mut shown, mut fulfilled, mut rates) = (vec![], vec![], vec![]);
    for _ in 0..bench.pace.rounds {
        let system = System::start(bench, "load").await?;
        let (mut watching, view) = (system.view.connect().await?, system.view.view().await?);
        let words = ["--only", "create,process"];
        let load = bench.orders().await?.load(&system.server.url, LOAD, CLIENTS, &words).await?;
        rates.push(load.per_second);
        let ended = Instant::now();
        let mut all_shown = None;
        let took = loop {
            let (second, processed) = Schema::progress(&mut watching, &view, 2).await?;
            let now = ended.elapsed();
            if second >= LOAD {
                all_shown.get_or_insert(now);
            }
            if processed >= LOAD {
                break now;
            }
            if now > PATIENCE {
                bail!(
                    "{second} of {LOAD} orders are in the view and {processed} processed after {PATIENCE:?}"
                );
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        };
        shown.push(all_shown.context("processed, but not shown")?.as_secs_f64());
        fulfilled.push(took.as_secs_f64());
        system.server.rest().await?;
        system.verify(bench).await?;
        system.end(bench).await?;
    }
    table.alone(
        format!("load of {LOAD} orders, created and processed, 64 clients"),
        median(rates),
        "calls/s",
    );
    table.alone("  the view has all of it, after its end", median(shown), "s");
    table.alone("  every order is fulfilled and shown, after its end", median(fulfilled), "s");
    Ok(())
}
