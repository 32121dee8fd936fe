//! Measurements of the whole system against the raw limits of the machine it runs on. They are never part of the test run.
//!
//! - [`http`] compares it over HTTP with a [`bare`] server that stores nothing, under the same load program.
//! - [`rebuild`] rebuilds the view of a large event store, which [`fill`] writes.
//! - [`servers`] measures on MongoDB, Kafka and PostgreSQL, the parts against the raw clients and the whole over HTTP.
//! - [`postgres`] measures on PostgreSQL alone, against a peer and against single statements.
//! - [`server`] starts the measured processes and observes them from outside; [`load`] runs `orders load`.
//! - [`cold`] starts the functions as Lambda does.
//! - [`compare`] measures two builds of `orders` against each other.
//! - [`streams`] measures commands on long streams, and loads beside their readers.
//! - [`mapping`] measures an event source mapping from Kafka into this process.
//! - [`table`] shows the figures: ratios first.
//!
//! The benches know the system by its binary and its public API only. There are four exceptions: [`fill`] writes through the event
//! store, and [`servers`], [`postgres`] and [`streams`] measure parts of the system.

mod args;
mod bare;
mod cold;
mod compare;
mod fill;
mod http;
mod load;
mod mapping;
mod plain;
mod postgres;
mod probe;
mod rebuild;
mod server;
mod servers;
mod streams;
mod table;
mod template;

use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};

/// Measure the system against the raw limits of this machine.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Over HTTP, against a bare server that stores nothing: throughput, latency, memory
    Http(http::HttpArgs),
    /// Rebuild the view of a large event store while queries are served
    Rebuild(rebuild::RebuildArgs),
    /// On MongoDB, Kafka and PostgreSQL, each figure against the raw client's in the same run; about 30 minutes
    Servers(servers::ServersArgs),
    /// On PostgreSQL alone, against cqrs-es, against three servers and against single statements; some minutes
    Postgres(postgres::PostgresArgs),
    /// Cold starts of the functions as Lambdas, against hello-world's
    ColdStart(cold::ColdArgs),
    /// Two builds of `orders` against each other, on the embedded default and on servers: rates and processor time
    Compare(compare::CompareArgs),
    /// An event source mapping from Kafka into a function in this process
    Mapping(mapping::MappingArgs),
    /// Long streams: commands at 10, 1,000 and 100,000 events, and loads of other orders beside readers of a long one
    Streams(streams::StreamsArgs),
    /// The bare server
    #[command(hide = true)]
    Bare {
        #[arg(long)]
        listen: SocketAddr,
    },
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let cli = Cli::parse();
    if let What::Bare { listen } = cli.what {
        bare::serve(listen).await?;
        return Ok(ExitCode::SUCCESS);
    }
    if cfg!(debug_assertions) {
        eprintln!("this is a debug build: its figures say nothing; use cargo run --release -p benches");
    }
    // The values that are dropped here end the processes that they started: at the end, on an error and on a signal.
    tokio::select! {
        measured = measure(cli.what) => measured.map(|()| ExitCode::SUCCESS),
        signal = server::ending_signal() => signal.map(|()| ExitCode::from(130)),
    }
}

async fn measure(what: What) -> anyhow::Result<()> {
    let (table, file) = match what {
        What::Http(args) => (http::measure(&args).await?, args.common.json),
        What::Rebuild(args) => (rebuild::measure(&args).await?, args.common.json),
        What::Servers(args) => (servers::measure(&args).await?, args.common.json),
        What::Postgres(args) => (postgres::measure(&args).await?, args.common.json),
        What::ColdStart(args) => (cold::measure(&args).await?, args.common.json),
        What::Compare(args) => (compare::measure(&args).await?, args.json),
        What::Mapping(args) => (mapping::measure(&args).await?, args.common.json),
        What::Streams(args) => (streams::measure(&args).await?, args.json),
        What::Bare { .. } => return Ok(()),
    };
    println!("{table}");
    if let Some(file) = file {
        let json = serde_json::to_vec_pretty(&table)?;
        std::fs::write(&file, json).with_context(|| format!("--json {}", file.display()))?;
    }
    anyhow::ensure!(table.is_whole(), "what failed is said below the table");
    Ok(())
}
