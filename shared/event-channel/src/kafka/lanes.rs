//! The partition of each record, and the partitions in which the brokers know this producer.
//!
//! The problem: a broker that does not know a producer in a partition takes any first sequence number. Suppose the very first
//! record is refused, since the broker does not lead the partition yet, and the one right behind it is taken. Then the broker
//! takes the retry of the first record for a duplicate: it acknowledges the record and loses it.
//!
//! The solution: no record follows the first one to a partition until the first one is acknowledged. The test
//! `the_first_record_of_a_partition_is_the_last_of_those_that_go_together` covers this.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, MutexGuard};

use super::run::RunFailure;
use crate::{Record, partition};

/// The time for which a partition counts as known. Brokers forget a producer that was idle for a day
/// (`producer.id.expiration.ms`). Well before that, the next record to the partition goes alone again.
const KNOWN_FOR: Duration = Duration::from_secs(600);

pub(super) struct Lanes {
    began: Instant,
    by_partition: Vec<Lane>,
    next_keyless: AtomicUsize,
}

#[derive(Default)]
struct Lane {
    /// The time of the last acknowledgement in this partition: milliseconds since [`Lanes::began`], plus 1; 0 means never.
    acknowledged: AtomicU64,
    /// Locked while the first record is sent to this partition. A partition without a leader does not block the others.
    beginning: Mutex<LastFailure>,
}

/// The time and the error of the last first record that failed.
type LastFailure = Option<(Instant, RunFailure)>;

/// The records of a run that may go at once.
pub(super) struct SendWindow<'a> {
    /// The number of records.
    pub(super) records: usize,
    /// Held while the last of the records is sent, when it is the first to its partition.
    turn: Option<MutexGuard<'a, LastFailure>>,
}

impl SendWindow<'_> {
    pub(super) fn failed(&mut self, failure: RunFailure) {
        if let Some(last) = &mut self.turn {
            **last = Some((Instant::now(), failure));
        }
    }
}

impl Lanes {
    pub(super) fn new(partitions: usize) -> Self {
        Self {
            began: Instant::now(),
            by_partition: std::iter::repeat_with(Lane::default).take(partitions.max(1)).collect(),
            next_keyless: AtomicUsize::new(0),
        }
    }

    pub(super) fn partitions(&self) -> usize {
        self.by_partition.len()
    }

    /// The partition of each record. The number of partitions stays as it was at the start. Otherwise, when partitions are added,
    /// a key could move to another one and lose its order.
    pub(super) fn of(&self, records: &[Record]) -> Vec<usize> {
        let partitions = self.by_partition.len();
        let of = |record: &Record| match &record.key {
            Some(key) => partition::of_key(key, partitions),
            None => self.next_keyless.fetch_add(1, Ordering::Relaxed) % partitions,
        };
        records.iter().map(of).collect()
    }

    fn is_known(&self, lane: usize) -> bool {
        let acknowledged = self.by_partition[lane].acknowledged.load(Ordering::Acquire);
        acknowledged > 0 && self.now().saturating_sub(acknowledged) < KNOWN_FOR.as_millis() as u64
    }

    pub(super) fn acknowledge(&self, lanes: &[usize]) {
        let now = self.now();
        for &lane in lanes {
            self.by_partition[lane].acknowledged.store(now, Ordering::Release);
        }
    }

    /// Returns how many of the records may go at once: all up to and including the first one that begins a partition. Waits for
    /// its turn in that partition.
    ///
    /// # Errors
    /// When another task has failed to begin the partition during the wait: none that waited tries again what has just failed.
    pub(super) async fn together(&self, lanes: &[usize]) -> Result<SendWindow<'_>, RunFailure> {
        let Some(first) = lanes.iter().position(|lane| !self.is_known(*lane)) else {
            return Ok(SendWindow { records: lanes.len(), turn: None });
        };
        let (lane, since) = (lanes[first], Instant::now());
        let turn = self.by_partition[lane].beginning.lock().await;
        match *turn {
            Some((at, failure)) if at >= since => Err(failure),
            // When another task began the partition meanwhile, these need no turn.
            _ => Ok(SendWindow { records: first + 1, turn: (!self.is_known(lane)).then_some(turn) }),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX - 1) + 1
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::FutureExt;

    use super::*;

    /// The number of records that go at once; `None` when there is a turn to wait for.
    fn at_once(lanes: &Lanes, of: &[usize]) -> Option<usize> {
        Some(lanes.together(of).now_or_never()?.unwrap().records)
    }

    #[test]
    fn the_first_record_of_a_partition_is_the_last_of_those_that_go_together() {
        let lanes = Lanes::new(3);
        assert_eq!(at_once(&lanes, &[0, 0, 1]), Some(1));
        lanes.acknowledge(&[0]);
        assert_eq!(at_once(&lanes, &[0, 0, 1, 1]), Some(3));
        lanes.acknowledge(&[1]);
        assert_eq!(at_once(&lanes, &[0, 1, 0, 1]), Some(4));
    }

    #[test]
    fn a_partition_that_is_being_begun_holds_up_no_other() {
        let lanes = Lanes::new(2);
        let begins = lanes.together(&[0]).now_or_never();
        assert_eq!((at_once(&lanes, &[0]), at_once(&lanes, &[1])), (None, Some(1)));
        drop(begins);
        assert_eq!(at_once(&lanes, &[0]), Some(1));
    }

    #[test]
    fn who_waits_for_a_partitions_beginning_fails_with_it_and_the_next_tries_again() {
        let lanes = Lanes::new(1);
        let mut begins = lanes.together(&[0]).now_or_never().unwrap().unwrap();
        let mut waits = pin!(lanes.together(&[0]));
        assert!(waits.as_mut().now_or_never().is_none());
        begins.failed(RunFailure::Full);
        drop(begins);
        assert_eq!(waits.now_or_never().unwrap().err(), Some(RunFailure::Full));
        assert_eq!(at_once(&lanes, &[0]), Some(1));
    }

    #[test]
    fn who_waits_for_a_partitions_beginning_waits_for_nobody_once_it_is_begun() {
        let lanes = Lanes::new(1);
        let begins = lanes.together(&[0]).now_or_never();
        let mut waits = pin!(lanes.together(&[0]));
        assert!(waits.as_mut().now_or_never().is_none());
        lanes.acknowledge(&[0]);
        drop(begins);
        assert!(waits.now_or_never().unwrap().unwrap().turn.is_none());
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
