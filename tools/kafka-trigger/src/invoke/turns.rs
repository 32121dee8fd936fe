//! Whose turn it is at an endpoint that runs only so many calls of a function at once.
//!
//! `cargo lambda watch` and the Runtime Interface Emulator run one, and queue or refuse what comes meanwhile. What is queued
//! there looks like a function that takes long, so calls wait here instead, where their time does not count yet.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The turns of all functions at one endpoint.
pub(super) struct Turns {
    /// Without it there is no bound.
    at_once: Option<usize>,
    of: Mutex<HashMap<Vec<String>, Arc<Semaphore>>>,
}

/// The turns of one function.
#[derive(Clone)]
pub(super) struct FunctionTurns(Option<Arc<Semaphore>>);

/// A call's turn, until it is dropped.
pub(super) struct Turn {
    _permit: Option<OwnedSemaphorePermit>,
}

impl Turns {
    pub(super) fn new(at_once: Option<usize>) -> Self {
        Self { at_once, of: Mutex::default() }
    }

    /// Those of the function with these names: the same ones whoever asks, because several mappings may have one function.
    pub(super) fn of(&self, names: &[String]) -> FunctionTurns {
        let Some(at_once) = self.at_once else { return FunctionTurns(None) };
        let mut all = self.of.lock();
        let turns = all.entry(names.to_vec()).or_insert_with(|| Arc::new(Semaphore::new(at_once)));
        FunctionTurns(Some(Arc::clone(turns)))
    }
}

impl FunctionTurns {
    /// Waits for a turn: first come, first served.
    pub(super) async fn take(&self) -> Turn {
        let Some(turns) = &self.0 else { return Turn { _permit: None } };
        // An error says that it was closed, which nobody does.
        Turn { _permit: Arc::clone(turns).acquire_owned().await.ok() }
    }
}
