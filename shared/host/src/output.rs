//! Standard output, whose reader may have gone and whose device may be full: then a command has failed, and says so.

use std::fmt::Arguments;
use std::io::{self, Write};

use thiserror::Error;

use crate::application;

/// The output could not be written. Exit 1.
#[derive(Debug, Error)]
#[error("the output can't be written: {0}")]
pub struct OutputError(#[from] io::Error);

/// Writes a line to standard output.
///
/// # Errors
/// [`OutputError`] when it can't be written.
pub fn line(text: Arguments<'_>) -> Result<(), OutputError> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    Ok(out.flush()?)
}

/// Says on standard error what is wrong. Nobody may be reading; the exit code says it too.
pub fn complain(text: Arguments<'_>) {
    let _ = writeln!(io::stderr(), "{}: {text}", application());
}

/// [`complain()`], by a format.
#[macro_export]
macro_rules! complain {
    ($($format:tt)*) => { $crate::output::complain(format_args!($($format)*)) };
}

/// [`line()`], by a format.
#[macro_export]
macro_rules! line {
    ($($format:tt)*) => { $crate::output::line(format_args!($($format)*)) };
}
