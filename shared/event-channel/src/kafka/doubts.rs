//! What may have been missed, for whoever can look whether it was.

use parking_lot::Mutex;
use tokio::sync::Notify;
use tracing::{info, warn};

use crate::Doubt;

/// Doubts that nobody was told of yet.
#[derive(Default)]
pub(super) struct Doubts {
    last: Mutex<Option<Doubt>>,
    noted: Notify,
}

impl Doubts {
    /// One stands for all that nobody was told of: whoever looks, looks for everything.
    pub(super) fn note(&self, topic: &str, doubt: Doubt) {
        match doubt {
            // So it is at every first start.
            Doubt::NoPosition => info!(topic, "{doubt}"),
            _ => warn!(topic, "records may have been missed: {doubt}"),
        }
        *self.last.lock() = Some(doubt);
        self.noted.notify_one();
    }

    /// Waits for one. Cancel safe.
    pub(super) async fn next(&self) -> Doubt {
        loop {
            let last = self.last.lock().take();
            match last {
                Some(doubt) => return doubt,
                None => self.noted.notified().await,
            }
        }
    }
}
