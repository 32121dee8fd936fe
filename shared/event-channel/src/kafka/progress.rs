//! The progress of a group's member in its partitions: offsets that it read, finished and committed. Pure.
//!
//! A position may go down, when the topic was created again or lost its end. Then the partition begins again at the lower offset.
//! That offset must be committed, although the brokers know a higher one.

use std::collections::BTreeMap;

/// The offsets of one partition. Each is the offset of the next record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct PartitionOffsets {
    /// The offset after the last record that was read, whether it was delivered or filtered out.
    read: i64,
    /// The offset after the last record that was delivered.
    delivered: i64,
    /// All records before this offset are finished.
    done: i64,
    /// All records before this offset are committed.
    committed: i64,
}

impl PartitionOffsets {
    fn at(offset: i64) -> Self {
        Self { read: offset, delivered: offset, done: offset, committed: offset }
    }

    /// The offset to commit.
    fn position(self) -> i64 {
        // When all delivered records are finished, so are the records that were filtered out after them.
        if self.done >= self.delivered { self.read } else { self.done }
    }

    /// Begins again at a lower offset.
    fn go_back(&mut self, offset: i64) {
        *self = Self { committed: self.committed, ..Self::at(offset) };
    }
}

/// A position to commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) partition: i32,
    pub(super) offset: i64,
    /// `true` when the brokers know a higher offset.
    pub(super) is_lower: bool,
}

/// This member's partitions.
#[derive(Debug, Default)]
pub(super) struct Progress {
    places: BTreeMap<i32, PartitionOffsets>,
}

impl Progress {
    /// Adds a partition to this member's. `committed` is the group's offset that the brokers know.
    pub(super) fn assign(&mut self, partition: i32, committed: i64) {
        self.places.insert(partition, PartitionOffsets::at(committed));
    }

    /// Removes a partition. Returns `false` when it was not this member's.
    pub(super) fn revoke(&mut self, partition: i32) -> bool {
        self.places.remove(&partition).is_some()
    }

    pub(super) fn has(&self, partition: i32) -> bool {
        self.places.contains_key(&partition)
    }

    /// The numbers of this member's partitions.
    pub(super) fn partitions(&self) -> impl Iterator<Item = i32> {
        self.places.keys().copied()
    }

    /// Begins a partition again at offset 0: its offsets belong to another topic of the same name.
    pub(super) fn begin_anew(&mut self, partition: i32) {
        if let Some(place) = self.places.get_mut(&partition) {
            place.go_back(0);
        }
    }

    /// Counts a delivered record. Returns `false` when the partition went back: then its earlier deliveries are void.
    pub(super) fn deliver(&mut self, partition: i32, offset: i64) -> bool {
        let goes_on = self.pass_over(partition, offset);
        if let Some(place) = self.places.get_mut(&partition) {
            place.delivered = offset + 1;
        }
        goes_on
    }

    /// Counts a record that was filtered out. Returns as [`Progress::deliver`] does.
    pub(super) fn pass_over(&mut self, partition: i32, offset: i64) -> bool {
        let Some(place) = self.places.get_mut(&partition) else { return true };
        let goes_on = offset >= place.read;
        if !goes_on {
            place.go_back(offset);
        }
        // The records that were filtered out before this one stay finished when this one is delivered.
        place.done = place.position();
        place.read = offset + 1;
        goes_on
    }

    /// Counts all records before an offset as finished. Returns `false` and changes nothing when the partition is another
    /// member's. The same holds when the partition has come back and the record was not delivered since.
    pub(super) fn finish(&mut self, partition: i32, next_offset: i64) -> bool {
        match self.places.get_mut(&partition) {
            Some(place) if next_offset <= place.read => {
                place.done = place.done.max(next_offset);
                true
            }
            _ => false,
        }
    }

    pub(super) fn to_commit(&self) -> Vec<Position> {
        let position = |(&partition, place): (&i32, &PartitionOffsets)| {
            let offset = place.position();
            let is_lower = offset < place.committed;
            (offset != place.committed).then_some(Position { partition, offset, is_lower })
        };
        self.places.iter().filter_map(position).collect()
    }

    /// Notes the position that the brokers know now. It may be lower than before.
    pub(super) fn committed(&mut self, partition: i32, next_offset: i64) {
        if let Some(place) = self.places.get_mut(&partition) {
            place.committed = next_offset;
        }
    }

    /// The position that the brokers know of a partition; 0 when there is none.
    pub(super) fn known(&self, partition: i32) -> i64 {
        self.places.get(&partition).map_or(0, |place| place.committed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assigned() -> Progress {
        let mut progress = Progress::default();
        progress.assign(3, 0);
        progress
    }

    fn upward(offset: i64) -> Position {
        Position { partition: 3, offset, is_lower: false }
    }

    #[test]
    fn a_record_that_is_delivered_after_others_were_filtered_out_takes_no_position_down() {
        let mut progress = assigned();
        for offset in 0..5 {
            progress.pass_over(3, offset);
        }
        assert_eq!(progress.to_commit(), [upward(5)]);
        progress.committed(3, 5);
        progress.deliver(3, 5);
        assert_eq!(progress.to_commit(), []);
        progress.pass_over(3, 6);
        assert_eq!(progress.to_commit(), []);
        progress.finish(3, 6);
        assert_eq!(progress.to_commit(), [upward(7)]);
    }

    #[test]
    fn what_was_delivered_and_is_not_done_with_is_not_committed() {
        let mut progress = assigned();
        progress.deliver(3, 10);
        progress.deliver(3, 11);
        assert!(progress.to_commit().is_empty());
        assert!(progress.finish(3, 11));
        assert_eq!(progress.to_commit(), [upward(11)]);
    }

    #[test]
    fn what_was_filtered_out_is_committed_once_nothing_before_it_is_left() {
        let mut progress = assigned();
        progress.deliver(3, 10);
        progress.pass_over(3, 11);
        progress.pass_over(3, 12);
        assert!(progress.to_commit().is_empty());
        progress.finish(3, 11);
        assert_eq!(progress.to_commit(), [upward(13)]);
        progress.pass_over(3, 13);
        assert_eq!(progress.to_commit(), [upward(14)]);
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
        assert_eq!(progress.to_commit(), [upward(21)]);
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
        progress.assign(3, 0);
        assert!(!progress.finish(3, 11));
        progress.deliver(3, 10);
        assert!(progress.finish(3, 11));
    }

    #[test]
    fn a_partition_that_goes_back_is_committed_at_the_lower_position() {
        let mut progress = Progress::default();
        progress.assign(3, 20);
        assert!(progress.deliver(3, 20));
        assert!(!progress.deliver(3, 4), "what was delivered before is void");
        let lower = |offset| Position { partition: 3, offset, is_lower: true };
        assert_eq!(progress.to_commit(), [lower(4)]);
        assert!(!progress.finish(3, 21), "it was delivered before the partition went back");
        assert!(progress.finish(3, 5));
        assert_eq!(progress.to_commit(), [lower(5)]);
        progress.committed(3, 5);
        assert!(progress.to_commit().is_empty());
        progress.deliver(3, 5);
        progress.finish(3, 6);
        assert_eq!(progress.to_commit(), [upward(6)]);
    }

    #[test]
    fn a_partition_that_was_just_assigned_and_goes_back_is_committed_at_the_lower_position() {
        let mut progress = Progress::default();
        progress.assign(3, 20);
        assert!(progress.to_commit().is_empty());
        assert!(!progress.pass_over(3, 0));
        assert_eq!(progress.to_commit(), [Position { partition: 3, offset: 1, is_lower: true }]);
    }
}
