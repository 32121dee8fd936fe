//! The log: one line an event on standard error, as text or as JSON.

use std::io::{self, IsTerminal};

use clap::{Args, ValueEnum};
use thiserror::Error;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::prelude::*;

/// The settings of the log.
#[derive(Args, Clone, Debug)]
pub struct TelemetrySettings {
    /// The level of the log (error, warn, info, debug, trace), or levels by module, such as `info,processor=debug`
    #[arg(long, env = "LOG", global = true, value_name = "FILTER", default_value = "info")]
    pub log: String,

    /// The format of the log
    #[arg(long, env = "LOG_FORMAT", global = true, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
}

/// The format of the log.
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
pub struct InvalidFilter {
    filter: String,
    problem: String,
}

impl TelemetrySettings {
    /// Starts the log. A second start in the same process changes nothing.
    ///
    /// # Errors
    /// [`InvalidFilter`] when `log` is not a filter.
    pub fn start(&self) -> Result<(), InvalidFilter> {
        start(&self.log, self.log_format)
    }

    /// Starts the log as [`start_in_background`] does.
    ///
    /// # Errors
    /// [`InvalidFilter`] when `log` is not a filter.
    #[cfg(feature = "background-log")]
    pub fn start_in_background(&self) -> Result<Log, InvalidFilter> {
        start_in_background(&self.log, self.log_format)
    }
}

/// Starts the log. Each line is written before its writer goes on, because a Lambda is frozen between two invocations and would
/// keep lines that wait. A second start in the same process changes nothing.
///
/// # Errors
/// [`InvalidFilter`] when `filter` is not one.
pub fn start(filter: &str, format: LogFormat) -> Result<(), InvalidFilter> {
    start_on(io::stderr, filter, format)
}

fn start_on<W>(writer: W, filter: &str, format: LogFormat) -> Result<(), InvalidFilter>
where
    W: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
{
    // `EnvFilter` is not used: it would bring a whole library of regular expressions into every function.
    let targets: Targets = filter.parse().map_err(|error: tracing_subscriber::filter::ParseError| {
        InvalidFilter { filter: filter.to_owned(), problem: error.to_string() }
    })?;
    let lines = tracing_subscriber::fmt::layer().with_writer(writer);
    let lines = lines.with_ansi(io::stderr().is_terminal());
    let log = tracing_subscriber::registry().with(targets);
    let _ = match format {
        LogFormat::Text => log.with(lines.with_target(false)).try_init(),
        LogFormat::Json => log.with(lines.json().flatten_event(true)).try_init(),
    };
    Ok(())
}

#[cfg(feature = "background-log")]
mod background {
    use std::{io, panic};

    use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};

    use super::{InvalidFilter, LogFormat, start_on};

    /// The most lines that may wait for a reader of the log.
    const LINES: usize = 10_000;

    /// A log in the background. When it is dropped at the end of the process, it writes the lines that wait, as far as somebody
    /// reads them.
    pub struct Log {
        lost: ErrorCounter,
        _worker: WorkerGuard,
    }

    /// The number of lines of the log that are lost. Cheap to clone.
    #[derive(Clone)]
    pub struct LostLines(ErrorCounter);

    impl Log {
        /// Returns the counter of the log's lost lines.
        #[must_use]
        pub fn lost_lines(&self) -> LostLines {
            LostLines(self.lost.clone())
        }
    }

    impl LostLines {
        /// Their number since the start.
        #[must_use]
        pub fn count(&self) -> u64 {
            self.0.dropped_lines() as u64
        }
    }

    /// Starts the log. A thread of its own writes the lines. So a service goes on if standard error is a pipe that nobody reads,
    /// and lines that find no room are lost. Panics go to the log too. This is for programs that run on, and not for a function: a
    /// Lambda is frozen between two invocations, and its last lines with it.
    ///
    /// # Errors
    /// [`InvalidFilter`] when `filter` is not one.
    pub fn start_in_background(filter: &str, format: LogFormat) -> Result<Log, InvalidFilter> {
        let (writer, worker) =
            NonBlockingBuilder::default().lossy(true).buffered_lines_limit(LINES).finish(io::stderr());
        let lost = writer.error_counter();
        start_on(writer, filter, format)?;
        panic::set_hook(Box::new(|panic| tracing::error!(%panic)));
        Ok(Log { lost, _worker: worker })
    }
}

#[cfg(feature = "background-log")]
pub use background::{Log, LostLines, start_in_background};
