//! `kafka-trigger`: Lambda's event source mapping for Kafka on this machine, for every Kafka mapping of a SAM or CloudFormation
//! template.
//!
//! - [`cli`]: the flags.
//! - [`plan`]: what follows from template and flags; everything that can be refused is refused there.
//! - [`brokers`]: the URL of a topic.
//! - [`failures`]: what becomes of records that are given up.
//! - [`lines`]: what is printed.
//! - [`metrics`]: what is counted.
//! - [`serve`]: runs the plans until it is told to stop.

mod brokers;
mod cli;
mod failures;
mod lines;
mod metrics;
mod plan;
mod serve;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::Cli;

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    match serve::run(cli).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("kafka-trigger: {error:#}");
            ExitCode::from(2)
        }
    }
}
