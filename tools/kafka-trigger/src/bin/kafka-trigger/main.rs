//! `kafka-trigger`: Lambda's event source mapping for Kafka on this machine, for every Kafka mapping of a SAM or CloudFormation
//! template.
//!
//! - [`cli`]: the flags.
//! - [`registry`]: where schemas are looked up.
//! - [`plan`]: what follows from template and flags; everything that can be refused is refused there.
//! - [`explanation`]: the plan as `--plan` prints it.
//! - [`samconfig`]: the parameters that a `samconfig.toml` sets.
//! - [`brokers`]: the URL of a topic.
//! - [`connection`]: what is waited for before a mapping begins.
//! - [`failures`]: what becomes of records that are given up.
//! - [`lines`]: what is printed.
//! - [`metrics`]: what is counted.
//! - [`serve`]: runs the plans until it is told to stop.

mod brokers;
mod cli;
mod connection;
mod explanation;
mod failures;
mod lines;
mod metrics;
mod plan;
mod registry;
mod samconfig;
mod serve;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use tokio::runtime::Runtime;

use crate::cli::Cli;

/// How long is waited at the end for threads that look up a host or ask a broker; all mappings have ended by then.
const LAST_THREADS: Duration = Duration::from_millis(100);

fn main() -> ExitCode {
    let cli = Cli::parse();
    let ended = Runtime::new().map_err(anyhow::Error::from).and_then(|runtime| {
        let ended = runtime.block_on(serve::run(cli));
        runtime.shutdown_timeout(LAST_THREADS);
        ended
    });
    ended.unwrap_or_else(|error| {
        eprintln!("kafka-trigger: {error:#}");
        ExitCode::from(2)
    })
}
