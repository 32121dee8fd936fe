//! Gives turns to calls, for an endpoint that runs only a limited number of calls of a function at once.
//!
//! `cargo lambda watch` and the Runtime Interface Emulator run one call at once. They queue or refuse other calls. A call in
//! their queue looks like a slow function. So calls wait here instead, where the function's timeout has not begun.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The turns of all functions at one endpoint.
pub(super) struct Turns {
    /// The most calls of one function at once. `None` means no limit.
    at_once: Option<usize>,
    of: Mutex<HashMap<Vec<String>, Arc<Semaphore>>>,
}

/// The turns of one function.
#[derive(Clone)]
pub(super) struct FunctionTurns(Option<Arc<Semaphore>>);

/// A call's turn. It ends when this is dropped.
pub(super) struct Turn {
    _permit: Option<OwnedSemaphorePermit>,
}

impl Turns {
    pub(super) fn new(at_once: Option<usize>) -> Self {
        Self { at_once, of: Mutex::default() }
    }

    /// Returns the turns of the function with these names. All mappings of the function get the same ones.
    pub(super) fn of(&self, names: &[String]) -> FunctionTurns {
        let Some(at_once) = self.at_once else { return FunctionTurns(None) };
        let mut all = self.of.lock();
        let turns = all.entry(names.to_vec()).or_insert_with(|| Arc::new(Semaphore::new(at_once)));
        FunctionTurns(Some(Arc::clone(turns)))
    }
}

impl FunctionTurns {
    /// Waits for a turn. The first call to wait is the first to get one.
    pub(super) async fn take(&self) -> Turn {
        let Some(turns) = &self.0 else { return Turn { _permit: None } };
        // An error would mean that the semaphore was closed. No code closes it.
        Turn { _permit: Arc::clone(turns).acquire_owned().await.ok() }
    }
}
