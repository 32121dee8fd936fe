//! Ends a load before all its orders were called.

use std::time::Duration;

use serde::Serialize;
use tokio::sync::watch;

/// How a load ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// Every order had its calls.
    Done,
    /// A signal ended it, or the check file could not be written.
    Interrupted,
    /// No replica could be reached for as long as a call is repeated.
    ServerGone,
}

/// Tells all clients at once that the load is over.
pub(crate) struct Stop {
    why: watch::Sender<Option<Ending>>,
}

/// The load is over.
pub(crate) struct Interruption;

impl Stop {
    pub(crate) fn new() -> Self {
        Self { why: watch::Sender::new(None) }
    }

    /// Ends the load; the first reason stays.
    pub(crate) fn now(&self, why: Ending) {
        self.why.send_if_modified(|old| {
            let first = old.is_none();
            old.get_or_insert(why);
            first
        });
    }

    pub(crate) fn is_over(&self) -> bool {
        self.why.borrow().is_some()
    }

    pub(crate) fn ended(&self) -> Ending {
        self.why.borrow().unwrap_or(Ending::Done)
    }

    /// Waits until the load is over.
    pub(crate) async fn stopped(&self) {
        // This value owns the sender, so waiting can't fail.
        let _ = self.why.subscribe().wait_for(Option::is_some).await;
    }

    /// Waits for a time, or fails as soon as the load is over.
    pub(crate) async fn sleep(&self, time: Duration) -> Result<(), Interruption> {
        tokio::select! {
            () = self.stopped() => Err(Interruption),
            () = tokio::time::sleep(time) => Ok(()),
        }
    }
}
