//! Counts the outcome of each document, and prints each refusal as it comes.

use std::sync::atomic::{AtomicU64, Ordering};

use host::line;
use host::output::OutputError;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::document::Refusal;

/// The outcome of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TakeOutcome {
    /// It changed its order.
    Imported,
    /// It was imported before, or asks for something that has already happened.
    AlreadyThere,
    /// It was refused, for this reason.
    Refused(String),
}

/// Counts the outcomes, and prints refusals on stdout while a bar moves on a terminal.
pub(crate) struct Report {
    bar: ProgressBar,
    json: bool,
    imported: AtomicU64,
    already_there: AtomicU64,
    refused: AtomicU64,
}

/// The counts at the end of a report.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Summary {
    /// Commands that changed their order.
    pub(crate) imported: u64,
    /// Commands that were imported before, or ask for something that has already happened.
    pub(crate) already_there: u64,
    /// Documents that were refused.
    pub(crate) refused: u64,
}

impl Report {
    /// Creates a report on about `documents` documents.
    pub(crate) fn new(documents: u64, json: bool) -> Self {
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len} commands  {per_sec}  {eta} left");
        let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = if json { ProgressBar::hidden() } else { ProgressBar::new(documents).with_style(style) };
        let (imported, already_there, refused) = Default::default();
        Self { bar, json, imported, already_there, refused }
    }

    /// Notes the outcome of the command of this document.
    pub(crate) fn note(&self, id: String, taken: TakeOutcome) -> Result<(), OutputError> {
        match taken {
            TakeOutcome::Imported => self.count(&self.imported),
            TakeOutcome::AlreadyThere => self.count(&self.already_there),
            TakeOutcome::Refused(reason) => self.refuse(&Refusal { id, reason })?,
        }
        Ok(())
    }

    /// Notes and prints a document that was refused.
    pub(crate) fn refuse(&self, refusal: &Refusal) -> Result<(), OutputError> {
        let told = match serde_json::to_string(refusal) {
            Ok(json) if self.json => json,
            _ => format!("refused {}: {}", refusal.id, refusal.reason),
        };
        self.count(&self.refused);
        self.bar.suspend(|| line!("{told}"))
    }

    /// Removes the bar and returns the counts.
    pub(crate) fn end(&self) -> Summary {
        self.bar.finish_and_clear();
        let [imported, already_there, refused] =
            [&self.imported, &self.already_there, &self.refused].map(|count| count.load(Ordering::Relaxed));
        Summary { imported, already_there, refused }
    }

    fn count(&self, count: &AtomicU64) {
        count.fetch_add(1, Ordering::Relaxed);
        self.bar.inc(1);
    }
}
