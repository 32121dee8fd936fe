//! The member of a consumer group of an in-memory channel.

use std::sync::Arc;

use tokio::sync::Notify;

use super::queue::Queue;
use super::{Shared, State, closed};
use crate::{Delivery, PollResult, PublishError};

/// The single member of a group. After it is dropped, the next member gets the records that it did not commit.
pub struct InMemoryConsumer {
    shared: Arc<Shared>,
    /// The group's index in [`State::groups`]; groups are never removed.
    group: usize,
    wake: Arc<Notify>,
    /// One flag for each partition.
    paused: Vec<bool>,
}

impl InMemoryConsumer {
    pub(super) fn new(shared: Arc<Shared>, group: usize, wake: Arc<Notify>) -> Self {
        let paused = vec![false; shared.partitions];
        Self { shared, group, wake, paused }
    }

    pub(crate) fn topic(&self) -> &Arc<str> {
        &self.shared.topic
    }

    /// Waits for records and takes at least one and at most `limit`. Nothing is ever revoked: a group has one member.
    pub(crate) async fn poll(&mut self, limit: usize) -> Result<PollResult, PublishError> {
        loop {
            let deliveries = self.take(limit.max(1))?;
            if !deliveries.is_empty() {
                return Ok(PollResult { revoked: Vec::new(), deliveries });
            }
            // A record that was published after the look has left a permit here, so this wait ends at once.
            self.wake.notified().await;
        }
    }

    /// Takes undelivered records, in equal shares from each partition as far as possible.
    fn take(&self, limit: usize) -> Result<Vec<Delivery>, PublishError> {
        let mut state = self.shared.state.lock();
        if state.closed {
            return Err(closed());
        }
        let group = &mut state.groups[self.group];
        let partitions = self.paused.len();
        let first = group.first;
        group.first = (first + 1) % partitions;
        let mut taken = Vec::new();
        loop {
            let ready = |place: &usize| !self.paused[*place] && group.queues[*place].waiting() > 0;
            let places: Vec<usize> =
                (0..partitions).map(|step| (first + step) % partitions).filter(ready).collect();
            let room = limit - taken.len();
            if places.is_empty() || room == 0 {
                return Ok(taken);
            }
            let share = room.div_ceil(places.len());
            for place in places {
                let share = share.min(limit - taken.len());
                group.queues[place].take(share, &mut taken);
            }
        }
    }

    pub(crate) fn commit(&mut self, partition: i32, next_offset: i64) {
        let Some(place) = self.place(partition) else { return };
        let mut state = self.shared.state.lock();
        let State { groups, freed, .. } = &mut *state;
        if groups[self.group].queues[place].commit(next_offset) {
            *freed += 1;
            drop(state);
            self.shared.room.notify_waiters();
        }
    }

    pub(crate) fn pause(&mut self, partition: i32) {
        self.set_paused(partition, true);
    }

    pub(crate) fn resume(&mut self, partition: i32) {
        self.set_paused(partition, false);
    }

    fn set_paused(&mut self, partition: i32, paused: bool) {
        if let Some(place) = self.place(partition) {
            self.paused[place] = paused;
        }
    }

    /// The index of a partition; `None` when there is no such partition.
    fn place(&self, partition: i32) -> Option<usize> {
        usize::try_from(partition).ok().filter(|&place| place < self.paused.len())
    }
}

impl Drop for InMemoryConsumer {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        let group = &mut state.groups[self.group];
        group.has_member = false;
        group.queues.iter_mut().for_each(Queue::rewind);
    }
}
