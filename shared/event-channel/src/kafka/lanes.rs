//! Which partition a record goes to, and which partitions the brokers know this producer in.
//!
//! A broker that knows nothing of a producer in a partition takes any first sequence number. So when the first record of all
//! is refused (the broker does not lead the partition yet) and one that was sent right behind it is taken, the first one's
//! repetition passes for a duplicate: it is acknowledged and lost. Hence the first record to a partition goes alone.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, MutexGuard};

use super::producer::Failure;
use crate::{Record, partition};

/// Brokers forget producers that were idle for a day (`producer.id.expiration.ms`); well before, a partition is begun anew.
const KNOWN_FOR: Duration = Duration::from_secs(600);

pub(super) struct Lanes {
    began: Instant,
    by_partition: Vec<Lane>,
    next_keyless: AtomicUsize,
}

#[derive(Default)]
struct Lane {
    /// When something was last acknowledged there: milliseconds since [`Lanes::began`], and 1; 0 is never.
    acknowledged: AtomicU64,
    /// Held by whoever sends a first record, to this partition alone: one without a leader holds up no other.
    beginning: Mutex<LastFailure>,
}

/// When the last first record failed, and with what.
type LastFailure = Option<(Instant, Failure)>;

/// Some of a run that go at once.
pub(super) struct Together<'a> {
    /// How many.
    pub(super) records: usize,
    /// Held while the last of them, the first to its partition, is on its way.
    turn: Option<MutexGuard<'a, LastFailure>>,
}

impl Together<'_> {
    pub(super) fn failed(&mut self, failure: Failure) {
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

    /// The partition of each record. Their number is that of the beginning: to let a key change its partition when some are
    /// added would be to lose its order.
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

    /// How many of the records may go at once: up to the first that begins a partition, and that one with them. Waits for its turn
    /// there.
    ///
    /// # Errors
    /// What the partition's beginning failed with while it was waited for: of those who wait, none tries again what has just failed.
    pub(super) async fn together(&self, lanes: &[usize]) -> Result<Together<'_>, Failure> {
        let Some(first) = lanes.iter().position(|lane| !self.is_known(*lane)) else {
            return Ok(Together { records: lanes.len(), turn: None });
        };
        let (lane, since) = (lanes[first], Instant::now());
        let turn = self.by_partition[lane].beginning.lock().await;
        match *turn {
            Some((at, failure)) if at >= since => Err(failure),
            // Somebody else has begun it meanwhile, so that nobody need wait for these.
            _ => Ok(Together { records: first + 1, turn: (!self.is_known(lane)).then_some(turn) }),
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

    /// How many go together at once; none where there is a turn to wait for.
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
        begins.failed(Failure::Full);
        drop(begins);
        assert_eq!(waits.now_or_never().unwrap().err(), Some(Failure::Full));
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
