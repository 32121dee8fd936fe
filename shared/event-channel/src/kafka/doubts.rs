//! The doubts about missed records, for a caller that can look for such records.

use parking_lot::Mutex;
use tokio::sync::Notify;
use tracing::{info, warn};

use crate::Doubt;

/// The doubt that no caller has got yet.
#[derive(Default)]
pub(super) struct Doubts {
    last: Mutex<Option<Doubt>>,
    noted: Notify,
}

impl Doubts {
    /// Notes a doubt. It replaces one that no caller has got yet, because a caller that gets any doubt looks for all missed
    /// records.
    pub(super) fn note(&self, topic: &str, doubt: Doubt) {
        match doubt {
            // Every first start of a group notes this.
            Doubt::NoPosition => info!(topic, "{doubt}"),
            _ => warn!(topic, "records may have been missed: {doubt}"),
        }
        *self.last.lock() = Some(doubt);
        self.noted.notify_one();
    }

    /// Waits for a doubt and takes it. Cancel safe.
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
