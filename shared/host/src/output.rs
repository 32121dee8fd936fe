//! Writes to standard output and standard error. If the reader of the output is gone or its device is full, the command fails and
//! says so.

use std::fmt::Arguments;
use std::io::{self, Write};

use event_sourcing::Aggregate;
use serde::{Serialize, Serializer};
use thiserror::Error;

use crate::application;

/// The output could not be written. Exit 1.
#[derive(Debug, Error)]
#[error("the output can't be written: {0}")]
pub struct OutputError(#[from] io::Error);

/// A value under a name that the application gives it. It serializes as an object with this one field, so that it can be
/// flattened into another object.
#[derive(Clone, Debug, Default)]
pub struct Named<T> {
    /// The name.
    pub name: String,
    /// The value.
    pub value: T,
}

impl<T> Named<T> {
    /// The value under this name.
    pub fn new(name: impl Into<String>, value: T) -> Self {
        Self { name: name.into(), value }
    }
}

impl<T: Serialize> Serialize for Named<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map([(&self.name, &self.value)])
    }
}

/// The plural of the aggregate's name.
#[must_use]
pub fn plural<A: Aggregate>() -> String {
    format!("{}s", A::KIND)
}

/// Writes a line to standard output.
///
/// # Errors
/// [`OutputError`] when it can't be written.
pub fn line(text: Arguments<'_>) -> Result<(), OutputError> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    Ok(out.flush()?)
}

/// Writes a problem to standard error. A failed write is ignored: perhaps nobody reads, and a command that fails also has an exit
/// code.
pub fn complain(text: Arguments<'_>) {
    let _ = writeln!(io::stderr(), "{}: {text}", application());
}

/// Calls [`complain()`] with a format and its arguments.
#[macro_export]
macro_rules! complain {
    ($($format:tt)*) => { $crate::output::complain(format_args!($($format)*)) };
}

/// Calls [`line()`] with a format and its arguments.
#[macro_export]
macro_rules! line {
    ($($format:tt)*) => { $crate::output::line(format_args!($($format)*)) };
}
