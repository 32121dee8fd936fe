//! The whole system over HTTP, against a bare server.

use anyhow::{Context, bail};
use clap::Args;

use crate::args::Common;
use crate::load::{Load, Orders};
use crate::plain::PlainClient;
use crate::server::{self, Server};
use crate::table::{Table, median};

#[derive(Args)]
pub(crate) struct HttpArgs {
    #[command(flatten)]
    pub(crate) common: Common,

    /// How many orders are created and processed for the figures of a whole load
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    orders: u64,

    /// At how many clients calls are compared with the bare server's
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "64,1")]
    clients: Vec<u32>,

    /// How often each comparison is made; the medians count
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
}

pub(crate) async fn measure(args: &HttpArgs) -> anyhow::Result<Table> {
    let orders = Orders { binary: server::orders_binary(args.common.orders_bin.as_deref()).await? };
    let mut table = Table::new("HTTP: orders against a bare server that stores nothing");
    {
        let bench = Bench {
            bare: Server::bare().await?,
            ours: Server::orders(&orders.binary, server::folder()?).await?,
            orders: &orders,
            rounds: args.rounds,
        };
        bench.compare_all(&args.clients, &mut table).await?;
        if let Some(plain) = PlainClient::build().await? {
            bench.compare_by(&plain, 40_000, 64, &mut table).await?;
        }
        bench.queryable(&mut table).await?;
    }
    whole_load(&orders, args.orders, &mut table).await?;
    Ok(table)
}

struct Bench<'a> {
    bare: Server,
    ours: Server,
    orders: &'a Orders,
    rounds: u32,
}

/// The same figure of both servers.
struct Pair {
    ours: Vec<f64>,
    bare: Vec<f64>,
}

impl Bench<'_> {
    async fn compare_all(&self, clients: &[u32], table: &mut Table) -> anyhow::Result<()> {
        for &clients in clients {
            // About a second for the bare server.
            let orders = if clients == 1 { 5_000 } else { 40_000 };
            self.compare("create", orders, clients, table).await?;
            self.compare("get", orders, clients, table).await?;
        }
        Ok(())
    }

    /// Runs a round that does not count, then both servers in turn: A B A B.
    async fn compare(&self, call: &str, orders: u64, clients: u32, table: &mut Table) -> anyhow::Result<()> {
        self.round("warm", "create", orders / 10, clients).await?;
        let mut rate = Pair { ours: vec![], bare: vec![] };
        let mut middle = Pair { ours: vec![], bare: vec![] };
        for round in 0..self.rounds {
            // Reads ask for the orders that were created at the same number of clients before.
            let prefix = format!("c{clients}-{round}");
            let (bare, ours) = self.round(&prefix, call, orders, clients).await?;
            rate.bare.push(bare.per_second);
            rate.ours.push(ours.per_second);
            middle.bare.push(bare.latency(call)?.p50);
            middle.ours.push(ours.latency(call)?.p50);
        }
        let at = format!("at {clients} client{}", if clients == 1 { "" } else { "s" });
        table.compared(format!("{call} {at}"), median(rate.ours), median(rate.bare), "a second");
        table.compared(format!("{call} {at}, median"), median(middle.ours), median(middle.bare), "ms");
        Ok(())
    }

    /// Compares creates, by the plain client.
    async fn compare_by(
        &self,
        plain: &PlainClient,
        orders: u64,
        clients: u32,
        table: &mut Table,
    ) -> anyhow::Result<()> {
        let mut rate = Pair { ours: vec![], bare: vec![] };
        for round in 0..=self.rounds {
            let prefix = format!("p{clients}-{round}");
            let bare = plain.create(&self.bare.url, orders, clients, &prefix).await?;
            let ours = plain.create(&self.ours.url, orders, clients, &prefix).await?;
            self.ours.rest().await?;
            // The first does not count.
            if round > 0 {
                rate.bare.push(bare);
                rate.ours.push(ours);
            }
        }
        let name = format!("create at {clients} clients, by a plain Go client");
        table.compared(name, median(rate.ours), median(rate.bare), "a second");
        Ok(())
    }

    async fn round(
        &self,
        prefix: &str,
        call: &str,
        orders: u64,
        clients: u32,
    ) -> anyhow::Result<(Load, Load)> {
        let words = ["--only", call, "--prefix", prefix];
        let bare = self.orders.load(&self.bare.url, orders, clients, &words).await?;
        let ours = self.orders.load(&self.ours.url, orders, clients, &words).await?;
        self.ours.rest().await?;
        Ok((bare, ours))
    }

    /// Measures the time until a plain GET shows a command, with one command at a time.
    async fn queryable(&self, table: &mut Table) -> anyhow::Result<()> {
        let (mut p50, mut p99) = (vec![], vec![]);
        for _ in 0..self.rounds {
            let load =
                self.orders.load(&self.ours.url, 1_000, 1, &["--only", "create", "--queryable"]).await?;
            let latency = load.latency("queryable")?;
            p50.push(latency.p50);
            p99.push(latency.p99);
            self.ours.rest().await?;
        }
        table.alone("command to queryable, one at a time, p50", median(p50), "ms");
        table.alone("command to queryable, one at a time, p99", median(p99), "ms");
        Ok(())
    }
}

/// Creates and processes orders on a server of their own, and reads back everything that was acknowledged.
async fn whole_load(orders: &Orders, count: u64, table: &mut Table) -> anyhow::Result<()> {
    let server = Server::orders(&orders.binary, server::folder()?).await?;
    server.rest().await?;
    let idle = server.memory()?;
    let log = server::folder()?;
    let file = log.path().join("acknowledged");
    let check = ["--check", file.to_str().context("the temporary folder's name is not UTF-8")?];
    let load = orders.load(&server.url, count, 64, &check).await?;
    let read = orders.read_back(&server.url, &file).await?;
    if read.orders != count || read.missed > 0 {
        bail!("{} of {count} orders were acknowledged, {} of them missed", read.orders, read.missed);
    }
    server.rest().await?;
    let after = server.memory()?;
    verified(orders, &server).await?;

    table.alone(format!("{count} orders created and processed"), load.per_second, "calls/s");
    table.alone("memory, idle before", idle.now, "MB");
    table.alone("memory, most during", after.peak, "MB");
    table.alone("memory, at rest after", after.now, "MB");
    table.alone("acknowledged orders missed", read.missed as f64, "");
    table.alone("orders verify, exit code", 0.0, "");
    Ok(())
}

/// Checks that the view agrees with the events.
async fn verified(orders: &Orders, server: &Server) -> anyhow::Result<()> {
    let data = server::on_data(server.data()?);
    let words: Vec<_> = std::iter::once("verify").chain(data.iter().map(String::as_str)).collect();
    let said = orders.run(&words).await?;
    if !said.status.success() {
        let text = [said.stdout, said.stderr].concat();
        bail!("orders verify: {}\n{}", said.status, String::from_utf8_lossy(&text));
    }
    Ok(())
}
