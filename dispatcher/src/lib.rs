//! The dispatcher: HTTP routes and Kafka triggers onto the functions, in one process, and the command line.
//!
//! - [`cli`]: the commands and their flags.
//! - [`serve`]: the system in one process.
//! - [`load`]: drives a running system and checks what it acknowledged.
//! - [`verify`], [`rebuild`], [`held`], [`relay`], `import_seed`: the tools.
//!
//! The only crate that imports functions. It decides nothing about orders.

pub mod cli;
pub mod held;
#[cfg(feature = "servers")]
pub mod import_seed;
pub mod load;
pub mod migrate;
pub mod rebuild;
pub mod relay;
pub mod serve;
pub mod stores;
pub mod verify;

use std::io;
use std::process::ExitCode;

use clap::CommandFactory;
use thiserror::Error;

use crate::cli::{Cli, Command};

/// The command can't begin: a setting, a port, a folder or a store can't be used as it was asked. One line for the user, exit 2.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct CannotStart(pub String);

/// Exit code of a command that could not begin.
const CANNOT_START: u8 = 2;

/// Runs a command to its end. Exit code 0: done; 1: it found something wrong, or failed; 2: it could not begin.
#[must_use]
pub fn main(cli: Cli) -> ExitCode {
    match run(cli) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("orders: {error:#}");
            if error.is::<CannotStart>() { ExitCode::from(CANNOT_START) } else { ExitCode::FAILURE }
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    if let Command::Completions { shell } = cli.command {
        clap_complete::generate(shell, &mut Cli::command(), "orders", &mut io::stdout());
        return Ok(ExitCode::SUCCESS);
    }
    cli.telemetry.start().map_err(|error| CannotStart(error.to_string()))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(dispatch(cli.command))
}

async fn dispatch(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Serve(args) => serve::run(args).await,
        Command::Relay(args) => relay::run(args).await,
        Command::Rebuild(args) => rebuild::run(args).await,
        Command::Verify(args) => verify::run(args).await,
        Command::Held(args) => held::run(args).await,
        Command::Migrate(args) => migrate::run(args).await,
        Command::Load(args) => load::run(args).await,
        #[cfg(feature = "servers")]
        Command::ImportSeed(args) => import_seed::run(args).await,
        Command::Completions { .. } => Ok(ExitCode::SUCCESS),
    }
}
