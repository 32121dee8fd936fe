//! One partition as the mapping sees it: the records that wait, those that are with the function, and how far it is done. Pure:
//! times and jitter come in as arguments. [`State`] has the states of a partition and the steps between them.
//!
//! Every record that was polled and is not done is either in `waiting` or in the part that is in flight. That part always stood at
//! the front. So everything before the front is done, and nothing else is committed. A record whose schema is not known yet has not
//! come in: it and all behind it are in `undecoded` until it is.

use std::collections::VecDeque;
use std::mem;
use std::time::{Duration, Instant};

use crate::TopicPartition;
use crate::decode::DecodeError;
use crate::discard::DiscardReason;
use crate::event::KafkaRecord;

/// A record that waits.
#[derive(Debug)]
pub(crate) struct WaitingRecord {
    pub(crate) record: KafkaRecord,
    /// The record's size as JSON.
    pub(crate) bytes: usize,
    /// The time of the poll: its batch's window begins here.
    pub(crate) since: Instant,
    /// The record as it is in Kafka, if the function gets it in another form.
    pub(crate) original: Option<Box<KafkaRecord>>,
    /// The reason why the function does not get it, if it could not be decoded.
    pub(crate) undecodable: Option<Box<DecodeError>>,
}

impl WaitingRecord {
    pub(crate) fn as_in_kafka(&self) -> &KafkaRecord {
        self.original.as_deref().unwrap_or(&self.record)
    }
}

/// A record whose schema is being looked up, or that stands behind such a record.
#[derive(Debug)]
pub(crate) struct UndecodedRecord {
    pub(crate) record: KafkaRecord,
    pub(crate) since: Instant,
}

#[derive(Debug)]
pub(crate) struct Partition {
    pub(crate) at: TopicPartition,
    /// `topic-partition`.
    pub(crate) name: String,
    waiting: VecDeque<WaitingRecord>,
    bytes: usize,
    undecoded: VecDeque<UndecodedRecord>,
    undecoded_bytes: usize,
    /// Lengths of runs at the front that are invoked alone, one after the other, because they failed as a whole.
    alone: VecDeque<usize>,
    state: State,
    /// The number of failed invocations with the record at the front.
    attempts: u32,
    /// The number of failures since the last progress.
    streak: u32,
    /// The number of records at the front before the first that the function does not get; `None` if it gets them all.
    eligible: Option<usize>,
    /// The offset after the last record that was polled; `None` before the first.
    end: Option<i64>,
    committed: Option<i64>,
    paused: bool,
}

/// The state of a partition, which says what may be done with the records at its front.
///
/// ```text
/// Ready, BackingOff ────────── take ─────────────────────▶ InFlight
/// Ready, BackingOff ────────── sort_out ─────────────────▶ GivenUp
/// GivenUp ──────────────────── take ─────────────────────▶ InFlight
/// InFlight ─────────────────── succeed ──────────────────▶ Ready
/// InFlight ─────────────────── fail, put_back, back_off ─▶ BackingOff
/// InFlight ─────────────────── fail, one time too many ──▶ GivenUp
/// InFlight ─────────────────── keep_given_up ────────────▶ GivenUp
/// InFlight ─────────────────── revoke ───────────────────▶ Orphaned
/// Ready, BackingOff, GivenUp ─ revoke ───────────────────▶ Ready
/// Orphaned ─────────────────── the invocation ends ──────▶ Ready
/// ```
#[derive(Debug)]
enum State {
    /// The front may be invoked.
    Ready,
    /// The front failed, and is invoked again no earlier than this.
    BackingOff { until: Instant },
    /// Records at the front are given up, no earlier than `not_before`.
    GivenUp { discard: Discard, not_before: Option<Instant> },
    /// Records are with the function, or are being given up. They begin at this offset.
    InFlight { first: i64 },
    /// The partition was revoked while records were in flight. Their result is discarded.
    Orphaned,
}

/// The number of records at the front that are given up, and the reason.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Discard {
    pub(crate) records: usize,
    pub(crate) reason: DiscardReason,
    pub(crate) attempts: u32,
    pub(crate) error: String,
}

/// The next step of a partition.
#[derive(Debug, PartialEq)]
pub(crate) enum NextStep {
    /// Nothing waits, or the function has it.
    Idle,
    /// It failed, and waits until this time.
    Backoff(Instant),
    /// Records at the front are given up.
    Discard(Discard),
    /// This many at the front are invoked alone.
    Alone(usize),
    /// The waiting records may go together with other partitions.
    Together,
}

/// The rules for counting a failed invocation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RetryLimits {
    pub(crate) bisect: bool,
    pub(crate) maximum_retry_attempts: Option<u32>,
}

/// Says whether there were records of other partitions in the invocation, or might have been.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Grouping {
    WithOthers,
    Alone,
}

impl Partition {
    pub(crate) fn new(at: TopicPartition) -> Self {
        Self {
            name: format!("{}-{}", at.topic, at.partition),
            at,
            waiting: VecDeque::new(),
            bytes: 0,
            undecoded: VecDeque::new(),
            undecoded_bytes: 0,
            alone: VecDeque::new(),
            state: State::Ready,
            attempts: 0,
            streak: 0,
            eligible: None,
            end: None,
            committed: None,
            paused: false,
        }
    }

    /// Adds a record that the filter lets through.
    pub(crate) fn push(&mut self, waiting: WaitingRecord) {
        self.pass_over(waiting.record.offset);
        self.bytes += waiting.bytes;
        self.waiting.push_back(waiting);
    }

    /// Notes a record that is not for the function. It is done as soon as everything before it is.
    pub(crate) fn pass_over(&mut self, offset: i64) {
        self.committed.get_or_insert(offset);
        self.end = Some(offset + 1);
    }

    /// Adds a record that can't be decoded yet, behind all others.
    pub(crate) fn push_undecoded(&mut self, undecoded: UndecodedRecord) {
        self.undecoded_bytes += undecoded.record.json_size();
        self.undecoded.push_back(undecoded);
    }

    /// Puts a record that still can't be decoded back to where it stood.
    pub(crate) fn put_back_undecoded(&mut self, undecoded: UndecodedRecord) {
        self.undecoded_bytes += undecoded.record.json_size();
        self.undecoded.push_front(undecoded);
    }

    pub(crate) fn pop_undecoded(&mut self) -> Option<UndecodedRecord> {
        let undecoded = self.undecoded.pop_front()?;
        self.undecoded_bytes -= undecoded.record.json_size();
        Some(undecoded)
    }

    pub(crate) fn has_undecoded(&self) -> bool {
        !self.undecoded.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// The size of all waiting records, as JSON.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The number of records in memory, decoded or not.
    pub(crate) fn held_records(&self) -> usize {
        self.waiting.len() + self.undecoded.len()
    }

    /// The size of all records in memory, as JSON.
    pub(crate) fn held_bytes(&self) -> usize {
        self.bytes + self.undecoded_bytes
    }

    /// The waiting records, from the front.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = &WaitingRecord> {
        self.waiting.iter()
    }

    /// The waiting records from the front, up to the first that the function does not get. That one is given up when it is at the
    /// front.
    pub(crate) fn eligible(&self) -> impl Iterator<Item = &WaitingRecord> {
        self.waiting.iter().take(self.eligible.unwrap_or(usize::MAX))
    }

    fn front(&self) -> Option<i64> {
        self.waiting.front().map(|waiting| waiting.record.offset)
    }

    pub(crate) fn next(&self, now: Instant) -> NextStep {
        if self.waiting.is_empty() {
            return NextStep::Idle;
        }
        match &self.state {
            State::InFlight { .. } | State::Orphaned => return NextStep::Idle,
            State::BackingOff { until } | State::GivenUp { not_before: Some(until), .. } if *until > now => {
                return NextStep::Backoff(*until);
            }
            State::GivenUp { discard, .. } => return NextStep::Discard(discard.clone()),
            State::Ready | State::BackingOff { .. } => {}
        }
        match self.alone.front() {
            Some(&records) => NextStep::Alone(records.min(self.eligible.unwrap_or(usize::MAX))),
            None => NextStep::Together,
        }
    }

    /// Gives up the records at the front that the function must not get, or not any more: those that could not be decoded, or are
    /// too old. It also keeps such records further behind from being invoked. An old record may stand behind a young one, where
    /// producers set times out of order. This comes before anything is taken, because records age with time.
    pub(crate) fn sort_out(&mut self, is_too_old: impl Fn(&KafkaRecord) -> bool) {
        let not_before = match self.state {
            State::Ready => None,
            State::BackingOff { until } => Some(until),
            State::GivenUp { .. } | State::InFlight { .. } | State::Orphaned => return,
        };
        let fault = |waiting: &WaitingRecord| match &waiting.undecodable {
            Some(undecodable) => Some((**undecodable).clone()),
            None if is_too_old(&waiting.record) => {
                Some(DecodeError { reason: DiscardReason::TooOld, error: String::new() })
            }
            None => None,
        };
        let Some(first) = self.waiting.front().and_then(fault) else {
            let is_at_fault =
                |waiting: &WaitingRecord| waiting.undecodable.is_some() || is_too_old(&waiting.record);
            self.eligible = self.waiting.iter().position(is_at_fault);
            return;
        };
        let records = self.waiting.iter().take_while(|waiting| fault(waiting).as_ref() == Some(&first));
        let (records, attempts) = (records.count(), self.attempts);
        let discard = Discard { records, reason: first.reason, attempts, error: first.error };
        self.state = State::GivenUp { discard, not_before };
    }

    /// Takes records from the front. From here on nothing else of the partition is invoked until they come back.
    pub(crate) fn take(&mut self, records: usize) -> Vec<WaitingRecord> {
        if let Some(first) = self.front() {
            self.state = State::InFlight { first };
        }
        let taken: Vec<WaitingRecord> = self.waiting.drain(..records).collect();
        self.bytes -= taken.iter().map(|waiting| waiting.bytes).sum::<usize>();
        self.shorten_runs(records);
        taken
    }

    fn shorten_runs(&mut self, mut records: usize) {
        while let Some(run) = self.alone.front_mut() {
            if *run > records {
                *run -= records;
                return;
            }
            records -= *run;
            self.alone.pop_front();
        }
    }

    /// Notes that all taken records are done.
    pub(crate) fn succeed(&mut self) {
        if self.land() {
            self.progress();
        }
    }

    /// Notes that the taken records before `failed` are done. The rest comes again.
    pub(crate) fn fail_at(
        &mut self,
        mut taken: Vec<WaitingRecord>,
        failed: usize,
        error: &str,
        limits: RetryLimits,
    ) {
        if !self.land() {
            return;
        }
        if failed > 0 {
            self.progress();
        }
        let rest = taken.split_off(failed);
        let is_before_a_run = !self.alone.is_empty();
        self.give_back(rest, is_before_a_run);
        // The function named only the first record of the rest.
        self.count(1, error, limits);
    }

    /// Notes that the function failed with all taken records.
    pub(crate) fn fail(
        &mut self,
        taken: Vec<WaitingRecord>,
        grouping: Grouping,
        error: &str,
        limits: RetryLimits,
    ) {
        if !self.land() {
            return;
        }
        let records = taken.len();
        self.give_back(taken, true);
        if limits.bisect && grouping == Grouping::WithOthers {
            // The separation from the other partitions is the first halving.
            self.streak += 1;
        } else if limits.bisect && records > 1 {
            self.alone.pop_front();
            self.alone.push_front(records - records / 2);
            self.alone.push_front(records / 2);
            self.attempts = 0;
            self.streak += 1;
        } else {
            self.count(records, error, limits);
        }
    }

    /// Notes that the function was not reached. This says nothing about the records, so they come again as they were.
    pub(crate) fn put_back(&mut self, taken: Vec<WaitingRecord>, grouping: Grouping) {
        if self.land() {
            self.give_back(taken, grouping == Grouping::Alone);
            self.streak += 1;
        }
    }

    /// Notes that nobody took the records that were given up. They are still given up.
    pub(crate) fn keep_given_up(&mut self, taken: Vec<WaitingRecord>, discard: Discard) {
        if self.land() {
            self.give_back(taken, true);
            self.streak += 1;
            self.state = State::GivenUp { discard, not_before: None };
        }
    }

    /// After a failure, makes the partition wait. The wait is longer the more failures there were without progress: `wait` gets
    /// their number.
    pub(crate) fn back_off(&mut self, now: Instant, wait: impl FnOnce(u32) -> Duration) {
        if self.streak == 0 {
            return;
        }
        let until = now + wait(self.streak);
        match &mut self.state {
            State::Ready | State::BackingOff { .. } => self.state = State::BackingOff { until },
            State::GivenUp { not_before, .. } => *not_before = Some(until),
            State::InFlight { .. } | State::Orphaned => {}
        }
    }

    /// The partition is another process's now. The running invocation goes on to its end, and its result is discarded. To have the group
    /// wait for it would stop all partitions for as long as one invocation takes. The new owner's invocation does no harm beside it,
    /// since every receiver ignores what it has seen.
    pub(crate) fn revoke(&mut self) {
        let state = match self.state {
            State::InFlight { .. } | State::Orphaned => State::Orphaned,
            State::Ready | State::BackingOff { .. } | State::GivenUp { .. } => State::Ready,
        };
        *self = Self { state, ..Self::new(self.at.clone()) };
    }

    /// Returns the offset up to which the partition is done, if it is beyond the last committed one.
    pub(crate) fn to_commit(&self) -> Option<i64> {
        // Records in flight and waiting records are not done, and everything before them is. No other place decides this.
        let done = match self.state {
            State::Orphaned => None,
            State::InFlight { first } => Some(first),
            State::Ready | State::BackingOff { .. } | State::GivenUp { .. } => self.front().or(self.end),
        }?;
        Some(done).filter(|done| self.committed.is_none_or(|committed| committed < *done))
    }

    pub(crate) fn committed(&mut self, next_offset: i64) {
        self.committed = Some(next_offset);
    }

    /// Returns whether the source should pause or resume, if this much may wait.
    pub(crate) fn flow(&mut self, records: usize, bytes: usize) -> Option<FlowControl> {
        let is_full = self.held_records() >= records || self.held_bytes() >= bytes;
        let is_low = self.held_records() <= records / 2 && self.held_bytes() <= bytes / 2;
        let flow = match self.paused {
            false if is_full => FlowControl::Pause,
            true if is_low => FlowControl::Resume,
            _ => return None,
        };
        self.paused = !self.paused;
        Some(flow)
    }

    /// Notes that the invocation has ended. Returns `false` if its result is discarded.
    fn land(&mut self) -> bool {
        !matches!(mem::replace(&mut self.state, State::Ready), State::Orphaned)
    }

    fn progress(&mut self) {
        self.attempts = 0;
        self.streak = 0;
    }

    fn give_back(&mut self, taken: Vec<WaitingRecord>, alone: bool) {
        if alone {
            self.alone.push_front(taken.len());
        }
        for waiting in taken.into_iter().rev() {
            self.bytes += waiting.bytes;
            self.waiting.push_front(waiting);
        }
    }

    /// Counts one more failure of the record at the front, and gives up `records` if it was one too many.
    fn count(&mut self, records: usize, error: &str, limits: RetryLimits) {
        self.attempts += 1;
        self.streak += 1;
        if limits.maximum_retry_attempts.is_some_and(|most| self.attempts > most) {
            let discard = Discard {
                records,
                reason: DiscardReason::RetriesExhausted,
                attempts: self.attempts,
                error: error.to_owned(),
            };
            // The function does not get these records again, so there is nothing to wait for.
            self.state = State::GivenUp { discard, not_before: None };
            self.streak = 0;
        }
    }
}

/// The instruction to the source about a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FlowControl {
    Pause,
    Resume,
}
