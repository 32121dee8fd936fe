//! The log: one line an event on standard error, as text or as JSON.

use std::io::IsTerminal;

use clap::{Args, ValueEnum};
use thiserror::Error;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::prelude::*;

/// How the log is written.
#[derive(Args, Clone, Debug)]
pub struct TelemetrySettings {
    /// What is logged: a level (error, warn, info, debug, trace), or levels by module such as `info,processor=debug`
    #[arg(long, env = "ORDERS_LOG", global = true, value_name = "FILTER", default_value = "info")]
    pub log: String,

    /// How a line of the log looks
    #[arg(long, env = "ORDERS_LOG_FORMAT", global = true, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
}

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines: one JSON object a line.
    Json,
}

/// The log can't be set up.
#[derive(Debug, Error)]
#[error(
    "--log {filter:?} is not a filter: {problem}; allowed: a level such as info, or info,processor=debug"
)]
pub struct BadFilter {
    filter: String,
    problem: String,
}

impl TelemetrySettings {
    /// Starts the log. A second start in the same process changes nothing.
    ///
    /// # Errors
    /// [`BadFilter`] when `log` is not a filter.
    pub fn start(&self) -> Result<(), BadFilter> {
        start(&self.log, self.log_format)
    }
}

/// Starts the log. A second start in the same process changes nothing.
///
/// # Errors
/// [`BadFilter`] when `filter` is not one.
pub fn start(filter: &str, format: LogFormat) -> Result<(), BadFilter> {
    // Not EnvFilter: it brings the whole of a regular expressions' library into every function.
    let targets: Targets = filter.parse().map_err(|error: tracing_subscriber::filter::ParseError| {
        BadFilter { filter: filter.to_owned(), problem: error.to_string() }
    })?;
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = lines.with_ansi(std::io::stderr().is_terminal());
    let log = tracing_subscriber::registry().with(targets);
    let _ = match format {
        LogFormat::Text => log.with(lines.with_target(false)).try_init(),
        LogFormat::Json => log.with(lines.json().flatten_event(true)).try_init(),
    };
    Ok(())
}
