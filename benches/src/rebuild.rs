//! Rebuilding the view of a large event store, while queries are served.

use std::time::Instant;

use anyhow::bail;
use clap::Args;

use crate::args::Common;
use crate::fill;
use crate::load::Orders;
use crate::probe::{Probe, Times};
use crate::server::{self, Server};
use crate::table::Table;

#[derive(Args)]
pub(crate) struct RebuildArgs {
    #[command(flatten)]
    pub(crate) common: Common,

    /// How many events the event store holds, three an order
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(3..))]
    events: u64,
}

pub(crate) async fn measure(args: &RebuildArgs) -> anyhow::Result<Table> {
    let orders = Orders { binary: server::orders_binary(args.common.orders_bin.as_deref()).await? };
    let (count, events) = (args.events / 3, args.events / 3 * 3);
    let mut table =
        Table::new(format!("Rebuild of {events} events of {count} orders, with queries all the while"));

    let data = server::folder()?;
    let started = Instant::now();
    fill::fill(&server::event_store(data.path()), count).await?;
    table.alone("event store filled", events as f64 / started.elapsed().as_secs_f64(), "events/s");

    let server = Server::orders(&orders.binary, data).await?;
    server.rest().await?;
    // The first rebuild starts from an empty view. The second one runs beside a full view, which is served meanwhile.
    for view in ["empty", "full"] {
        rebuild(&orders, &server, view, events, &mut table).await?;
        server.rest().await?;
    }
    table.alone("memory of the server, most during", server.memory()?.peak, "MB");
    check_is_served(&server, count).await?;
    Ok(table)
}

async fn rebuild(
    orders: &Orders,
    server: &Server,
    view: &str,
    events: u64,
    table: &mut Table,
) -> anyhow::Result<()> {
    let data = server::on_data(server.data()?);
    let words: Vec<_> = ["rebuild", "--json"].into_iter().chain(data.iter().map(String::as_str)).collect();
    let (list, one) = (format!("{}/", server.url), format!("{}/{}", server.url, fill::id(0)));
    let started = Instant::now();
    let (said, [lists, ones]) = Probe::new().during([&list, &one], orders.run(&words)).await;
    let took = started.elapsed().as_secs_f64();
    let said = said?;
    if !said.status.success() {
        bail!("orders rebuild: {}\n{}", said.status, String::from_utf8_lossy(&said.stderr));
    }
    table.alone(format!("rebuild, view {view} before"), events as f64 / took, "events/s");
    served("GET /", &lists, table)?;
    served("GET /{id}", &ones, table)
}

fn served(query: &str, times: &Times, table: &mut Table) -> anyhow::Result<()> {
    table.alone(format!("  {query} meanwhile, answered"), times.count() as f64, "");
    table.alone(format!("  {query} meanwhile, failed"), times.failed as f64, "");
    table.alone(format!("  {query} meanwhile, p50"), times.at(0.5)?, "ms");
    table.alone(format!("  {query} meanwhile, p99"), times.at(0.99)?, "ms");
    table.alone(format!("  {query} meanwhile, max"), times.at(1.0)?, "ms");
    Ok(())
}

/// Checks that the first and the last order are in the view.
async fn check_is_served(server: &Server, count: u64) -> anyhow::Result<()> {
    for number in [0, count - 1] {
        let url = format!("{}/{}", server.url, fill::id(number));
        let status = Probe::new().get(&url).await?;
        if !status.is_success() {
            bail!("after the rebuild {url} answers {status}");
        }
    }
    Ok(())
}
