//! Writes to standard output and standard error. If the reader of the output is gone or its device is full, the command fails and
//! says so.

use std::fmt::{self, Arguments};
use std::io::{self, Write};

use indicatif::{ProgressBar, ProgressStyle};
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

/// The aggregate or the view to which a line of output belongs. The line says so where the application has several.
#[derive(Clone, Copy, Debug)]
pub struct Label {
    what: &'static str,
    name: Option<&'static str>,
}

impl Label {
    /// Creates the label of an aggregate, among so many.
    #[must_use]
    pub const fn of_aggregate(name: &'static str, among: usize) -> Self {
        Self { what: "aggregate", name: if among > 1 { Some(name) } else { None } }
    }

    /// Creates the label of a view, among so many.
    #[must_use]
    pub const fn of_view(name: &'static str, among: usize) -> Self {
        Self { what: "view", name: if among > 1 { Some(name) } else { None } }
    }

    /// Returns the value as a JSON object, with the name in it where there are several.
    ///
    /// # Errors
    /// When the value can't be serialized.
    pub fn json<T: Serialize>(self, value: &T) -> serde_json::Result<String> {
        #[derive(Serialize)]
        struct Labelled<'a, T> {
            #[serde(flatten)]
            label: Named<&'static str>,
            #[serde(flatten)]
            value: &'a T,
        }
        match self.name {
            Some(name) => serde_json::to_string(&Labelled { label: Named::new(self.what, name), value }),
            None => serde_json::to_string(value),
        }
    }
}

/// The beginning of a line of text.
impl fmt::Display for Label {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name {
            Some(name) => write!(formatter, "{name}: "),
            None => Ok(()),
        }
    }
}

/// The plural of an aggregate's name.
#[must_use]
pub fn plural(kind: &str) -> String {
    format!("{kind}s")
}

/// Returns the progress of a work on commits: a bar on a terminal. It is hidden elsewhere, and always with `json`.
pub fn progress_of_commits(commits: u64, json: bool) -> ProgressBar {
    if json {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} commits  {per_sec}  {eta} left");
    ProgressBar::new(commits).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
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
