//! Which partition a record goes to, and which partitions the brokers know this producer in.
//!
//! A broker that knows nothing of a producer in a partition takes any first sequence number. So when the first record of all
//! is refused (the broker does not lead the partition yet) and one that was sent right behind it is taken, the first one's
//! repetition passes for a duplicate: it is acknowledged and lost. Hence the first record to a partition goes alone.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, MutexGuard};

use crate::{Record, partition};

/// Brokers forget producers that were idle for a day (`producer.id.expiration.ms`); well before, a partition is begun anew.
const KNOWN_FOR: Duration = Duration::from_secs(600);

pub(super) struct Lanes {
    began: Instant,
    /// By partition, when something was last acknowledged there: milliseconds since `began`, and 1; 0 is never.
    acknowledged: Vec<AtomicU64>,
    next_keyless: AtomicUsize,
    /// Held by whoever sends a first record.
    beginning: Mutex<()>,
}

impl Lanes {
    pub(super) fn new(partitions: usize) -> Self {
        Self {
            began: Instant::now(),
            acknowledged: std::iter::repeat_with(AtomicU64::default).take(partitions.max(1)).collect(),
            next_keyless: AtomicUsize::new(0),
            beginning: Mutex::default(),
        }
    }

    /// The partition of each record. Their number is that of the beginning: to let a key change its partition when some are
    /// added would be to lose its order.
    pub(super) fn of(&self, records: &[Record]) -> Vec<usize> {
        let partitions = self.acknowledged.len();
        let of = |record: &Record| match &record.key {
            Some(key) => partition::of_key(key, partitions),
            None => self.next_keyless.fetch_add(1, Ordering::Relaxed) % partitions,
        };
        records.iter().map(of).collect()
    }

    pub(super) fn is_known(&self, lane: usize) -> bool {
        let acknowledged = self.acknowledged[lane].load(Ordering::Acquire);
        acknowledged > 0 && self.now().saturating_sub(acknowledged) < KNOWN_FOR.as_millis() as u64
    }

    pub(super) fn acknowledge(&self, lanes: &[usize]) {
        let now = self.now();
        for &lane in lanes {
            self.acknowledged[lane].store(now, Ordering::Release);
        }
    }

    pub(super) async fn begin(&self) -> MutexGuard<'_, ()> {
        self.beginning.lock().await
    }

    /// How many of the records may go at once: up to the first that begins a partition, and that one with them.
    pub(super) fn together(&self, lanes: &[usize]) -> usize {
        lanes.iter().position(|lane| !self.is_known(*lane)).map_or(lanes.len(), |first| first + 1)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX - 1) + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_record_of_a_partition_is_the_last_of_those_that_go_together() {
        let lanes = Lanes::new(3);
        assert_eq!(lanes.together(&[0, 0, 1]), 1);
        lanes.acknowledge(&[0]);
        assert_eq!(lanes.together(&[0, 0, 1, 1]), 3);
        lanes.acknowledge(&[1]);
        assert_eq!(lanes.together(&[0, 1, 0, 1]), 4);
    }

    #[test]
    fn a_key_has_one_partition_and_records_without_one_go_round() {
        let lanes = Lanes::new(3);
        let record =
            |key: Option<&'static str>| Record { key: key.map(Into::into), value: None, headers: Vec::new() };
        let keyed = lanes.of(&[record(Some("a")), record(Some("a"))]);
        assert_eq!(keyed, [partition::of_key(b"a", 3); 2]);
        let mut keyless = lanes.of(&[record(None), record(None), record(None)]);
        keyless.sort_unstable();
        assert_eq!(keyless, [0, 1, 2]);
    }
}
