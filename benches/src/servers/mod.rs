//! On real servers, each figure against the raw limit in the same run: `benches servers`.
//!
//! - [`given`]: the servers. [`mongo`], [`postgres`], [`publish`]: databases, schemas and topics of their own on them, and the raw
//!   clients.
//! - [`append`], [`process`], [`publish`], [`projector`]: the parts, in this process, against the raw clients.
//! - [`system`], [`poison`], [`web`]: the whole system, by its binary.
//! - [`mod@bench`]: the state that all of these share. [`rounds`]: the way to take figures. [`report`]: the environment in which they were taken.

pub(crate) mod append;
pub(crate) mod bench;
pub(crate) mod commits;
pub(crate) mod given;
pub(crate) mod mongo;
mod poison;
pub(crate) mod postgres;
mod process;
mod projector;
pub(crate) mod publish;
pub(crate) mod report;
pub(crate) mod rounds;
pub(crate) mod system;
pub(crate) mod web;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;
use clap::{Args, ValueEnum};

use self::bench::Bench;
use self::given::{ServerArgs, Servers};
use self::rounds::Pace;
use crate::args::Common;
use crate::table::Table;

#[derive(Args)]
pub(crate) struct ServersArgs {
    #[command(flatten)]
    pub(crate) common: Common,

    #[command(flatten)]
    servers: ServerArgs,

    /// Measure these alone
    #[arg(long, value_enum, value_name = "NAME", value_delimiter = ',')]
    only: Vec<Section>,

    /// Seconds of each measurement, after a warm-up of a quarter of that
    #[arg(long, value_name = "S", default_value = "5", value_parser = runtime::settings::seconds)]
    seconds: Duration,

    /// How often each contender is measured, in turn with the others; the medians count
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,

    /// Keep the table in this file, with versions and machine
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
}

/// The sections that can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Section {
    /// Append at 1 caller, against insert_one (and update_one)
    #[value(name = "append-1")]
    Append1,
    /// Append at 16 callers
    #[value(name = "append-16")]
    Append16,
    /// Append at 64 callers
    #[value(name = "append-64")]
    Append64,
    /// Append at 256 callers
    #[value(name = "append-256")]
    Append256,
    /// Process commands at 64 callers, cold and warm, against find and insert_one
    Process,
    /// Publish at 1 caller, against rdkafka
    #[value(name = "publish-1")]
    Publish1,
    /// Publish at 64 callers
    #[value(name = "publish-64")]
    Publish64,
    /// Publish at 256 callers
    #[value(name = "publish-256")]
    Publish256,
    /// Batches into the view over one connection, against SELECT … FOR UPDATE and UNNEST, and COPY
    #[value(name = "projector-1")]
    Projector1,
    /// The same over four connections
    #[value(name = "projector-4")]
    Projector4,
    /// From Kafka to committed rows
    FromKafka,
    /// The same with 10,000 records of poison among 200,000 events, against none
    Poison,
    /// Create, process and get over HTTP at 64 clients, against a bare server and insert_one
    Http,
    /// Command to queryable at 100 commands a second
    #[value(name = "queryable-100")]
    Queryable100,
    /// Command to queryable at 500 commands a second
    #[value(name = "queryable-500")]
    Queryable500,
    /// How long the view takes after a load of 20,000 orders
    CaughtUp,
}

async fn measure_section(bench: &Bench, section: Section, table: &mut Table) -> anyhow::Result<()> {
    match section {
        Section::Append1 => append::measure(bench, 1, table).await,
        Section::Append16 => append::measure(bench, 16, table).await,
        Section::Append64 => append::measure(bench, 64, table).await,
        Section::Append256 => append::measure(bench, 256, table).await,
        Section::Process => process::measure(bench, table).await,
        Section::Publish1 => publish::measure(bench, 1, table).await,
        Section::Publish64 => publish::measure(bench, 64, table).await,
        Section::Publish256 => publish::measure(bench, 256, table).await,
        Section::Projector1 => projector::measure(bench, 1, table).await,
        Section::Projector4 => projector::measure(bench, 4, table).await,
        Section::FromKafka => system::from_kafka(bench, table).await,
        Section::Poison => poison::measure(bench, table).await,
        Section::Http => web::throughput(bench, table).await,
        Section::Queryable100 => web::queryable(bench, 100, table).await,
        Section::Queryable500 => web::queryable(bench, 500, table).await,
        Section::CaughtUp => web::caught_up(bench, table).await,
    }
}

/// Measures all sections, and keeps the figures of the others when a section fails. The failure is in the table, and is the error
/// in the end.
pub(crate) async fn measure(args: &ServersArgs) -> anyhow::Result<Table> {
    if args.seconds.is_zero() {
        bail!("--seconds must be more than 0");
    }
    let pace = Pace { time: args.seconds, rounds: args.rounds };
    let bench = Bench::new(Servers::new(&args.servers)?, pace, args.common.orders_bin.clone());
    let environment = report::environment(&bench.servers, bench.pace).await?;
    let mut table = Table::new("On real servers: ours against the raw limits");
    table.note(&environment);
    for section in Section::value_variants() {
        if !args.only.is_empty() && !args.only.contains(section) {
            continue;
        }
        eprintln!(
            "{}",
            section.to_possible_value().map_or_else(String::new, |name| name.get_name().to_owned())
        );
        if let Err(error) = measure_section(&bench, *section, &mut table).await {
            table.failed(format!("{section:?}: {error:#}"));
        }
    }
    for (purpose, megabytes) in bench.memory.borrow().iter() {
        table.alone(format!("memory of the dispatcher, most: {purpose}"), *megabytes, "MB");
    }
    if let Some(file) = &args.write {
        report::write(file, &table, &environment)?;
    }
    Ok(table)
}
