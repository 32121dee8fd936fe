//! `kafka-trigger` runs Lambda's event source mapping for Kafka on this machine, for every Kafka mapping of a SAM or
//! CloudFormation template.
//!
//! - [`cli`]: the flags.
//! - [`registry`]: the schema registries.
//! - [`plan`]: turns the template and the flags into plans, and refuses mistakes in them.
//! - [`explanation`]: prints the plan for `--plan`.
//! - [`samconfig`]: the parameters that a `samconfig.toml` sets.
//! - [`brokers`]: the URL of a topic.
//! - [`connection`]: waits for Kafka before a mapping starts.
//! - [`failures`]: handles discarded records.
//! - [`lines`]: prints the lines on standard output.
//! - [`metrics`]: serves the metrics.
//! - [`serve`]: runs the plans until a signal stops them.

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

/// The time to wait at the end for threads that look up a host or ask a broker. All mappings have ended by then.
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
