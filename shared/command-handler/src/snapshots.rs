//! Snapshots of long streams, behind the answers of commands.

use std::sync::Arc;

use event_sourcing::Aggregate;
use event_store::EventStore;
use tokio::sync::Semaphore;

use crate::state_cache::CachedState;

/// Adds snapshots, of one stream at a time. A stream that is passed over has its turn when it has as many events more.
#[derive(Clone)]
pub(crate) struct SnapshotWriter {
    store: EventStore,
    turn: Arc<Semaphore>,
}

impl SnapshotWriter {
    pub(crate) fn new(store: EventStore) -> Self {
        Self { store, turn: Arc::new(Semaphore::new(1)) }
    }

    /// Begins to add the snapshots that a stream lacks, if there are any. Nobody waits for them.
    pub(crate) fn add_missing<A: Aggregate>(&self, state: &mut CachedState<A>) {
        if !state.take_snapshot_turn() {
            return;
        }
        let Ok(turn) = Arc::clone(&self.turn).try_acquire_owned() else { return };
        let (store, stream) = (self.store.clone(), state.snapshot.id.clone());
        tokio::spawn(async move {
            if let Err(error) = store.add_snapshots::<A>(stream).await {
                tracing::debug!(%error, "a stream's snapshots were not added");
            }
            drop(turn);
        });
    }
}
