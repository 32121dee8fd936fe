//! On PostgreSQL alone: `benches postgres`.
//!
//! - [`rates`]: commands over HTTP, against cqrs-es and against the same program on three servers.
//! - [`append`]: the event store in this process, against single statements.
//! - [`contenders`]: the running systems. [`stored`]: commits that are in an event store before.

mod append;
mod contenders;
mod rates;
mod stored;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;
use clap::{Args, ValueEnum};

use self::contenders::Alone;
use crate::args::Common;
use crate::servers::bench::Bench;
use crate::servers::given::{ServerArgs, Servers};
use crate::servers::rounds::Pace;
use crate::servers::{report, web};
use crate::table::{Bound, Table};

#[derive(Args)]
pub(crate) struct PostgresArgs {
    #[command(flatten)]
    pub(crate) common: Common,

    #[command(flatten)]
    servers: ServerArgs,

    /// The service on cqrs-es. Default: built by cargo, in the profile of this program
    #[arg(long, value_name = "PATH")]
    peer_bin: Option<PathBuf>,

    /// Measure these alone
    #[arg(long, value_enum, value_name = "NAME", value_delimiter = ',')]
    only: Vec<Section>,

    /// Measure the rates also with so many commits in the event store before
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(3..))]
    stored: Option<u64>,

    /// Seconds of each measurement, after a warm-up
    #[arg(long, value_name = "S", default_value = "2", value_parser = runtime::settings::seconds)]
    seconds: Duration,

    /// How often each contender is measured, in turn with the others; the medians count
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,

    /// Keep the table in this file, with versions and machine
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Section {
    /// Append at 1 caller and at 64, against single statements
    Append,
    /// Command to queryable at 500 commands a second
    Queryable,
    /// Create and process over HTTP at 1 client and at 64, against cqrs-es and against three servers
    Rates,
}

/// Measures all sections, and keeps the figures of the others when a section fails.
pub(crate) async fn measure(args: &PostgresArgs) -> anyhow::Result<Table> {
    if args.seconds.is_zero() {
        bail!("--seconds must be more than 0");
    }
    let pace = Pace { time: args.seconds, rounds: args.rounds };
    let bench = Bench::new(Servers::new(&args.servers)?, pace, args.common.orders_bin.clone());
    let mut environment = report::environment(&bench.servers, bench.pace).await?;
    environment.insert("peer".to_owned(), report::peer());
    let mut table = Table::of("On PostgreSQL alone", ["orders", "other"]);
    table.note(&environment);
    for section in Section::value_variants() {
        if !args.only.is_empty() && !args.only.contains(section) {
            continue;
        }
        let measured = match section {
            Section::Append => append::measure(&bench, &mut table).await,
            Section::Queryable => queryable(&bench, &mut table).await,
            Section::Rates => rates::measure(&bench, args.peer_bin.as_deref(), args.stored, &mut table).await,
        };
        if let Err(error) = measured {
            table.failed(format!("{section:?}: {error:#}"));
        }
    }
    if let Some(most) = bench.most_memory() {
        table.alone("memory of the dispatcher, most", most, "MB");
        table.bound(Bound::Below(60.0));
    }
    if let Some(file) = &args.write {
        report::write_alone(file, &table, &environment)?;
    }
    Ok(table)
}

/// Commands a second while the time to a visible command is measured.
const COMMANDS: u32 = 500;

async fn queryable(bench: &Bench, table: &mut Table) -> anyhow::Result<()> {
    let alone = Alone::start(bench).await?;
    let latencies = web::queryable_latencies(bench, &alone.server, COMMANDS, bench.pace.time).await?;
    alone.end(bench).await?;
    for ((name, latency), most) in latencies.into_iter().zip([5.0, 20.0]) {
        table.alone(format!("command to queryable at {COMMANDS} commands/s, {name}"), latency, "ms");
        table.bound(Bound::Below(most));
    }
    Ok(())
}
