//! The end of a load before all its orders were called.

use std::time::Duration;

use serde::Serialize;
use tokio::sync::watch;

/// How a load ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// Every order had its calls.
    Done,
    /// By a signal.
    Interrupted,
    /// No replica could be reached for as long as a call is repeated.
    ServerGone,
}

/// Tells all clients at once.
pub(super) struct Stop {
    why: watch::Sender<Option<Ended>>,
}

/// The load is over.
pub(super) struct Stopped;

impl Stop {
    pub(super) fn new() -> Self {
        Self { why: watch::Sender::new(None) }
    }

    /// Ends the load; the first reason stays.
    pub(super) fn now(&self, why: Ended) {
        self.why.send_if_modified(|old| {
            let first = old.is_none();
            old.get_or_insert(why);
            first
        });
    }

    pub(super) fn is_over(&self) -> bool {
        self.why.borrow().is_some()
    }

    pub(super) fn ended(&self) -> Ended {
        self.why.borrow().unwrap_or(Ended::Done)
    }

    /// Waits until the load is over.
    pub(super) async fn stopped(&self) {
        // The sender is ours, so this can't fail while we wait.
        let _ = self.why.subscribe().wait_for(Option::is_some).await;
    }

    /// Waits for a time, unless the load is over before.
    pub(super) async fn sleep(&self, time: Duration) -> Result<(), Stopped> {
        tokio::select! {
            () = self.stopped() => Err(Stopped),
            () = tokio::time::sleep(time) => Ok(()),
        }
    }
}
