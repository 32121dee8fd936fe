//! The dispatcher: HTTP routes and Kafka triggers onto the functions, in one process, and the command line.
//!
//! - [`cli`]: the commands and their flags.
//! - [`functions`]: the functions, a line each.
//! - [`serve`]: the system in one process.
//! - [`load`]: drives a running system and checks what it acknowledged.
//! - [`relay`], [`republish`], `import_seed`: the tools. [`receivers`]: what those need that publish.
//!
//! The only crate that imports functions. It decides nothing about orders.

#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod cli;
pub mod functions;
#[cfg(feature = "servers")]
pub mod import_seed;
pub mod load;
pub mod receivers;
pub mod relay;
pub mod republish;
pub mod serve;

use std::process::ExitCode;

use domain::{APPLICATION, Order, OrdersView};
use host::{CannotStart, complain, held, migrate, output, rebuild, reminders, verify};
use runtime::signals::Signals;
use runtime::telemetry::LostLines;

use crate::cli::{Cli, Command};

/// Exit code of a command that could not begin.
const CANNOT_START: u8 = 2;

/// Runs a command to its end. Exit code 0: done; 1: it found something wrong, or failed; 2: it could not begin.
#[must_use]
pub fn main(cli: Cli) -> ExitCode {
    host::name_application(APPLICATION);
    match run(cli) {
        Ok(code) => code,
        Err(error) => {
            complain!("{error:#}");
            if error.is::<CannotStart>() { ExitCode::from(CANNOT_START) } else { ExitCode::FAILURE }
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    if let Command::Completions { shell } = cli.command {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut cli::command(), APPLICATION, &mut script);
        output::line(format_args!("{}", String::from_utf8_lossy(&script).trim_end()))?;
        return Ok(ExitCode::SUCCESS);
    }
    let log = cli.telemetry.start_in_background().map_err(|error| CannotStart(error.to_string()))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let code = runtime.block_on(until_stopped(cli.command, log.lost_lines()));
    // What still blocks on a thread, such as a start that was given up, keeps nobody waiting.
    runtime.shutdown_background();
    code
}

/// The first process of a container has no default action for signals, so a tool ends there by its own hand. It may be killed at any
/// moment as well; servers and loads see to their end themselves.
async fn until_stopped(command: Command, lost_lines: LostLines) -> anyhow::Result<ExitCode> {
    if std::process::id() != 1 || matches!(command, Command::Serve(_) | Command::Load(_)) {
        return dispatch(command, lost_lines).await;
    }
    let mut signals = Signals::new()?;
    tokio::select! {
        code = dispatch(command, lost_lines) => code,
        () = signals.next() => anyhow::bail!("stopped by a signal"),
    }
}

async fn dispatch(command: Command, lost_lines: LostLines) -> anyhow::Result<ExitCode> {
    match command {
        Command::Serve(args) => serve::run(args, lost_lines).await,
        Command::Relay(args) => relay::run(args).await,
        Command::Republish(args) => republish::run(args).await,
        Command::Reminders(args) => reminders::run::<Order>(args).await,
        Command::Rebuild(args) => rebuild::run::<OrdersView>(args).await,
        Command::Verify(args) => verify::run::<Order, OrdersView>(args).await,
        Command::Held(args) => held::run::<Order, OrdersView>(args).await,
        Command::Migrate(args) => migrate::run::<Order, OrdersView>(args).await,
        Command::Load(args) => load::run(args).await,
        #[cfg(feature = "servers")]
        Command::ImportSeed(args) => import_seed::run(args).await,
        Command::Completions { .. } => Ok(ExitCode::SUCCESS),
    }
}
