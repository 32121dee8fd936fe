//! How far a member of a group is in its partitions: what it took, what is done with, what the brokers know. Pure.

use std::collections::BTreeMap;

/// One partition. Every number is the offset of the record that comes next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Place {
    /// After the last record that was read, delivered or filtered out.
    read: i64,
    /// After the last record that was delivered.
    delivered: i64,
    /// Everything before it is done with.
    done: i64,
    /// Everything before it is committed.
    committed: i64,
}

impl Place {
    /// Up to where to commit, when that is further than the brokers know.
    fn to_commit(self) -> Option<i64> {
        // When all that was delivered is done with, so is what was filtered out after it.
        let done = if self.done >= self.delivered { self.read } else { self.done };
        Some(done).filter(|done| *done > self.committed)
    }
}

/// The partitions that are this member's.
#[derive(Debug, Default)]
pub(super) struct Progress {
    places: BTreeMap<i32, Place>,
}

impl Progress {
    pub(super) fn assign(&mut self, partition: i32) {
        self.places.insert(partition, Place::default());
    }

    /// `false` when it was not this member's.
    pub(super) fn revoke(&mut self, partition: i32) -> bool {
        self.places.remove(&partition).is_some()
    }

    pub(super) fn has(&self, partition: i32) -> bool {
        self.places.contains_key(&partition)
    }

    /// The partitions.
    pub(super) fn partitions(&self) -> impl Iterator<Item = i32> {
        self.places.keys().copied()
    }

    pub(super) fn deliver(&mut self, partition: i32, offset: i64) {
        if let Some(place) = self.places.get_mut(&partition) {
            (place.read, place.delivered) = (offset + 1, offset + 1);
        }
    }

    pub(super) fn pass_over(&mut self, partition: i32, offset: i64) {
        if let Some(place) = self.places.get_mut(&partition) {
            place.read = offset + 1;
        }
    }

    /// `false` when that is not this member's to say: the partition is another's, or has come back and the record was not
    /// delivered since.
    pub(super) fn finish(&mut self, partition: i32, next_offset: i64) -> bool {
        match self.places.get_mut(&partition) {
            Some(place) if next_offset <= place.read => {
                place.done = place.done.max(next_offset);
                true
            }
            _ => false,
        }
    }

    pub(super) fn to_commit(&self) -> Vec<(i32, i64)> {
        self.places.iter().filter_map(|(&partition, place)| Some((partition, place.to_commit()?))).collect()
    }

    pub(super) fn committed(&mut self, partition: i32, next_offset: i64) {
        if let Some(place) = self.places.get_mut(&partition) {
            place.committed = place.committed.max(next_offset);
        }
    }

    /// What the brokers know of a partition, 0 when nothing.
    pub(super) fn known(&self, partition: i32) -> i64 {
        self.places.get(&partition).map_or(0, |place| place.committed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assigned() -> Progress {
        let mut progress = Progress::default();
        progress.assign(3);
        progress
    }

    #[test]
    fn what_was_delivered_and_is_not_done_with_is_not_committed() {
        let mut progress = assigned();
        progress.deliver(3, 10);
        progress.deliver(3, 11);
        assert!(progress.to_commit().is_empty());
        assert!(progress.finish(3, 11));
        assert_eq!(progress.to_commit(), [(3, 11)]);
    }

    #[test]
    fn what_was_filtered_out_is_committed_once_nothing_before_it_is_left() {
        let mut progress = assigned();
        progress.deliver(3, 10);
        progress.pass_over(3, 11);
        progress.pass_over(3, 12);
        assert!(progress.to_commit().is_empty());
        progress.finish(3, 11);
        assert_eq!(progress.to_commit(), [(3, 13)]);
        progress.pass_over(3, 13);
        assert_eq!(progress.to_commit(), [(3, 14)]);
    }

    #[test]
    fn what_the_brokers_know_is_not_committed_again() {
        let mut progress = assigned();
        progress.deliver(3, 10);
        progress.finish(3, 11);
        progress.committed(3, 11);
        assert!(progress.to_commit().is_empty());
        assert_eq!(progress.known(3), 11);
    }

    #[test]
    fn a_later_commit_never_takes_an_earlier_one_back() {
        let mut progress = assigned();
        progress.deliver(3, 20);
        progress.finish(3, 21);
        assert!(progress.finish(3, 15));
        assert_eq!(progress.to_commit(), [(3, 21)]);
    }

    #[test]
    fn nobody_speaks_for_a_partition_that_is_not_theirs() {
        let mut progress = assigned();
        progress.deliver(3, 10);
        assert!(progress.revoke(3));
        assert!(!progress.revoke(3));
        assert!(!progress.finish(3, 11));
        assert!(progress.to_commit().is_empty());
    }

    #[test]
    fn what_was_delivered_before_a_partition_came_back_is_not_spoken_for() {
        let mut progress = assigned();
        progress.deliver(3, 10);
        progress.revoke(3);
        progress.assign(3);
        assert!(!progress.finish(3, 11));
        progress.deliver(3, 10);
        assert!(progress.finish(3, 11));
    }
}
