//! Checks that every partition has an owner. The problem: a member may join while brokers hide the topic or have just been
//! started. Then it gets no partitions. When the topic appears, no broker tells the member, and the group is stable while nobody
//! reads the topic.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// The interval at which a member without partitions asks the brokers who owns which. A member that has some uses
/// [`LOOK_OF_OWNERS`].
pub(super) const LOOK: Duration = Duration::from_secs(5);

pub(super) const LOOK_OF_OWNERS: Duration = Duration::from_secs(30);

/// The longest time that a member may go without a poll. A member that hangs for longer loses its partitions; one that waits for
/// records polls every second.
///
/// It is also how long brokers wait for a member during a rebalance. A process that was started again may wait that long for its
/// former member, whose partitions nobody reads meanwhile. librdkafka's default of five minutes is for programs that poll only
/// after they have processed their last records.
pub(super) const MAX_POLL_INTERVAL: Duration = Duration::from_secs(15);

/// The longest time that partitions have no owner during a rebalance, because the brokers wait for a member that hangs.
pub(super) fn longest_rebalance(session: Duration) -> Duration {
    MAX_POLL_INTERVAL.max(session) + session
}

/// The partitions that no member of the group has.
#[derive(Debug, Default)]
pub(super) struct UnownedPartitions {
    partitions: BTreeSet<i32>,
    since: Option<Instant>,
}

impl UnownedPartitions {
    /// Takes the brokers' last answer; `None` when they did not answer. Returns for how long some partition has had no owner by
    /// now.
    pub(super) fn take(&mut self, found: Option<BTreeSet<i32>>, now: Instant) -> Duration {
        let found = found.unwrap_or_default();
        // The time goes on when at least one partition had no owner in the last answer either.
        let goes_on = found.intersection(&self.partitions).next().is_some();
        if !goes_on {
            self.since = (!found.is_empty()).then_some(now);
        }
        self.partitions = found;
        self.since.map_or(Duration::ZERO, |since| now.duration_since(since))
    }
}

/// The partitions of a topic in a member's assignment. The group's protocol has a version, then topics with their partitions
/// ("ConsumerProtocolAssignment" of Apache Kafka). An assignment that can't be read counts as empty.
pub(super) fn assigned(assignment: &[u8], topic: &str) -> BTreeSet<i32> {
    let mut bytes = AssignmentReader(assignment);
    let mut read = || {
        bytes.take(2)?;
        let mut partitions = BTreeSet::new();
        for _ in 0..bytes.number()? {
            let name = bytes.text()?;
            for _ in 0..bytes.number()? {
                let partition = bytes.number()?;
                if name == topic.as_bytes() {
                    partitions.insert(partition);
                }
            }
        }
        Some(partitions)
    };
    read().unwrap_or_default()
}

struct AssignmentReader<'a>(&'a [u8]);

impl<'a> AssignmentReader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<i32> {
        Some(i32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    fn text(&mut self) -> Option<&'a [u8]> {
        let length = i16::from_be_bytes(self.take(2)?.try_into().ok()?);
        self.take(usize::try_from(length).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(seconds: u64, began: Instant) -> Instant {
        began + Duration::from_secs(seconds)
    }

    #[test]
    fn a_partition_is_nobodys_from_the_first_look_that_found_it_so() {
        let began = Instant::now();
        let mut unowned = UnownedPartitions::default();
        let mut look = |found: &[i32], second| {
            unowned.take(Some(found.iter().copied().collect()), after(second, began)).as_secs()
        };
        assert_eq!([look(&[], 0), look(&[1, 2], 5), look(&[1], 10), look(&[1, 3], 15)], [0, 0, 5, 10]);
        assert_eq!([look(&[2], 20), look(&[2], 25), look(&[], 30), look(&[2], 35)], [0, 5, 0, 0]);
    }

    #[test]
    fn what_the_brokers_do_not_tell_counts_for_nothing() {
        let began = Instant::now();
        let mut unowned = UnownedPartitions::default();
        unowned.take(Some([1].into()), began);
        assert_eq!(unowned.take(None, after(60, began)), Duration::ZERO);
        assert_eq!(unowned.take(Some([1].into()), after(61, began)), Duration::ZERO);
    }

    #[test]
    fn an_assignment_is_read_as_the_protocol_writes_it_and_garbage_as_nothing() {
        let mut written = vec![0, 1, 0, 0, 0, 2];
        for (topic, partitions) in [("other", vec![7]), ("shop", vec![0, 3])] {
            written.extend((topic.len() as i16).to_be_bytes());
            written.extend(topic.as_bytes());
            written.extend((partitions.len() as i32).to_be_bytes());
            partitions.iter().for_each(|partition: &i32| written.extend(partition.to_be_bytes()));
        }
        written.extend([0, 0, 0, 0]);
        assert_eq!(assigned(&written, "shop"), [0, 3].into());
        assert!(assigned(&written[..20], "shop").is_empty());
        assert!(assigned(&[], "shop").is_empty());
        assert!(assigned(&[0, 1, 0x7f, 0xff, 0xff, 0xff], "shop").is_empty());
    }
}
