//! The faults of a view, and how they are looked for and told.

use std::time::Duration;

use serde::Serialize;

/// How many findings are printed one by one.
pub(super) const TOLD: usize = 100;

/// The pause before streams are compared again whose events may still be on the way.
pub(super) const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// A fault of a stream in the view.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Fault {
    /// The event store has it, the view does not.
    Lost,
    /// The view is behind.
    Stale,
    /// Same version, another content.
    Different,
    /// The view has it, or a version of it, and the event store does not.
    Extra,
    /// The stream can't be read from the event store.
    Unreadable,
}

impl Fault {
    pub(super) const ALL: [Self; 5] =
        [Self::Lost, Self::Stale, Self::Different, Self::Extra, Self::Unreadable];

    /// Returns `true` if the fault may pass, because the view may only be late.
    pub(super) const fn may_pass(self) -> bool {
        matches!(self, Self::Lost | Self::Stale)
    }
}
