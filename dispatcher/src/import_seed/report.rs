//! What became of each document: told as it comes, and counted.

use std::sync::atomic::{AtomicU64, Ordering};

use host::line;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::document::Refusal;
use host::output::OutputError;

/// What became of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// It changed its order.
    Imported,
    /// It was imported before, or says what is so already.
    AlreadyThere,
    /// It can't be taken: why.
    Refused(String),
}

/// Counts, and tells refusals on stdout while a bar moves on a terminal.
pub(super) struct Report {
    bar: ProgressBar,
    json: bool,
    imported: AtomicU64,
    already_there: AtomicU64,
    refused: AtomicU64,
}

/// The end of a report.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Summary {
    /// Commands that changed their order.
    pub(super) imported: u64,
    /// Commands that were imported before, or say what is so already.
    pub(super) already_there: u64,
    /// Documents that could not be taken.
    pub(super) refused: u64,
}

impl Report {
    /// A report on about so many documents.
    pub(super) fn new(documents: u64, json: bool) -> Self {
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len} commands  {per_sec}  {eta} left");
        let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = if json { ProgressBar::hidden() } else { ProgressBar::new(documents).with_style(style) };
        let (imported, already_there, refused) = Default::default();
        Self { bar, json, imported, already_there, refused }
    }

    /// Notes what became of the command of this document.
    pub(super) fn note(&self, id: String, taken: Taken) -> Result<(), OutputError> {
        match taken {
            Taken::Imported => self.count(&self.imported),
            Taken::AlreadyThere => self.count(&self.already_there),
            Taken::Refused(reason) => self.refuse(&Refusal { id, reason })?,
        }
        Ok(())
    }

    /// Notes a document that could not be taken.
    pub(super) fn refuse(&self, refusal: &Refusal) -> Result<(), OutputError> {
        let told = match serde_json::to_string(refusal) {
            Ok(json) if self.json => json,
            _ => format!("refused {}: {}", refusal.id, refusal.reason),
        };
        self.count(&self.refused);
        self.bar.suspend(|| line!("{told}"))
    }

    /// Takes the bar away and gives the counts.
    pub(super) fn end(&self) -> Summary {
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
