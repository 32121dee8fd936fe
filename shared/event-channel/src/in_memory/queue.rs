//! What one consumer group has still to do in one partition.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::Delivery;

/// Records that one group has not committed in one partition, oldest first. Those in front are with the consumer.
#[derive(Default)]
pub(super) struct Queue {
    entries: VecDeque<Entry>,
    delivered: usize,
}

struct Entry {
    delivery: Delivery,
    run: Arc<Run>,
}

/// A run of records that was published together. Every queue entry of the run holds a clone, so the last one that is
/// committed is the one that settles it; when a clone is dropped in any other way, the run never will be.
pub(super) struct Run(pub(super) oneshot::Sender<()>);

impl Queue {
    /// Is there room for a run's records in this partition? The bound counts what is not committed, so what a stuck
    /// consumer holds in memory is bounded too. A run longer than the bound is let into an empty queue, for it would be
    /// refused for ever otherwise.
    pub(super) fn has_room(&self, records: usize, capacity: usize) -> bool {
        self.entries.is_empty() || self.entries.len() + records <= capacity
    }

    pub(super) fn push(&mut self, delivery: Delivery, run: Arc<Run>) {
        self.entries.push_back(Entry { delivery, run });
    }

    /// Records that wait to be delivered.
    pub(super) fn waiting(&self) -> usize {
        self.entries.len() - self.delivered
    }

    /// Records not yet committed.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Delivers the next `count` records, or as many as wait.
    pub(super) fn take(&mut self, count: usize, into: &mut Vec<Delivery>) {
        let end = (self.delivered + count).min(self.entries.len());
        into.extend(self.entries.range(self.delivered..end).map(|entry| entry.delivery.clone()));
        self.delivered = end;
    }

    /// Drops everything before `next_offset` and settles the runs that were waiting for that alone. `true` when that made
    /// room.
    pub(super) fn commit(&mut self, next_offset: i64) -> bool {
        let done = self.entries.partition_point(|entry| entry.delivery.offset < next_offset);
        for entry in self.entries.drain(..done) {
            // Whoever published may have stopped waiting for it.
            let _ = Arc::into_inner(entry.run).map(|run| run.0.send(()));
        }
        self.delivered = self.delivered.saturating_sub(done);
        done > 0
    }

    /// The consumer is gone: what it did not commit is delivered again.
    pub(super) fn rewind(&mut self) {
        self.delivered = 0;
    }

    /// The channel is closed: nothing here is delivered or settled any more.
    pub(super) fn clear(&mut self) {
        self.entries.clear();
        self.delivered = 0;
    }
}
