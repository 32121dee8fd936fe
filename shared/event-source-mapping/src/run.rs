//! The loop that drives a mapping. It alone polls, commits and decides; invocations are tasks. Its decisions are in
//! [`crate::partition`] and [`crate::batch`].

use std::any::Any;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time;
use tracing::{debug, info, warn};

use crate::batch::{self, Batch, BatchPart, Bounds, NextBatch};
use crate::decode::DecodeOutcome;
use crate::discard::DeadLetter;
use crate::event::{BatchResponse, KafkaRecord};
use crate::invocation::{Ending, Invocation, OffsetRange};
use crate::mapping::{InvalidMapping, Mapping};
use crate::meters::Meters;
use crate::partition::{
    Discard, FlowControl, Grouping, NextStep, Partition, RetryLimits, UndecodedRecord, WaitingRecord,
};
use crate::{InvokeError, Source, SourceError, SourcePoll, Target, TopicPartition};

/// Runs a mapping until `shutdown` turns true (or its sender is gone). It passes the records of `source` to `target` and commits
/// those that are done. At the shutdown it invokes nothing more. It waits for running invocations, no longer than the mapping says,
/// and commits them. Records that are not done then stay uncommitted.
///
/// # Errors
/// [`InvalidMapping`], at once, when a setting is not allowed.
pub async fn run<S: Source, T: Target>(
    mapping: Mapping,
    source: S,
    target: T,
    mut shutdown: watch::Receiver<bool>,
) -> Result<(), InvalidMapping> {
    mapping.check()?;
    let mut driver = Driver::new(mapping, source, target);
    loop {
        let look_again = driver.advance().await;
        match driver.wait(look_again, &mut shutdown).await {
            Wakeup::Polled(polled) => driver.take_in(polled),
            Wakeup::Ended(ended) => driver.end(ended),
            Wakeup::LookedUp(place) => driver.decode_rest(place),
            Wakeup::Due => {}
            Wakeup::Shutdown => break,
        }
    }
    driver.drain().await;
    Ok(())
}

struct Driver<S, T> {
    mapping: Arc<Mapping>,
    bounds: Bounds,
    limits: RetryLimits,
    source: S,
    target: T,
    /// No partition is ever removed, so that an index stays valid.
    partitions: Vec<Partition>,
    running: JoinSet<JobResult>,
    jobs: HashMap<Id, Job>,
    invocations: usize,
    /// Schemas that are being looked up, each for the index of a partition.
    lookups: JoinSet<usize>,
    /// The number of records that the source is asked for.
    poll_limit: usize,
    source_failures: u32,
    /// The last error of the failure destination, by the index of each partition whose records it has not taken.
    refusals: HashMap<usize, String>,
    /// The time until which a source that failed is left alone.
    source_not_before: Option<Instant>,
    meters: Meters,
}

/// The work of a task. The records stay here, so that a task that panics loses none.
enum Job {
    Invocation { batch: Batch, started: Instant },
    Discard { part: BatchPart, discard: Discard },
}

/// The amount that waits, or that may wait.
struct Amount {
    records: usize,
    bytes: usize,
}

/// The result of a task.
enum JobResult {
    Invocation(Result<BatchResponse, InvokeError>),
    Discard(Result<(), String>),
}

/// The place that a polled record was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Intake {
    /// It waits to be invoked, or to be given up.
    Waits,
    /// The filter does not let it through.
    PassedOver,
    /// Its schema is being looked up.
    Undecoded,
}

enum Wakeup {
    Polled(Result<SourcePoll, SourceError>),
    Ended(Result<(Id, JobResult), JoinError>),
    /// A schema that the partition at this index has waited for may be known now.
    LookedUp(Result<usize, JoinError>),
    Due,
    Shutdown,
}

/// Tokio's clock, which tests can stop.
fn now() -> Instant {
    time::Instant::now().into_std()
}

impl<S: Source, T: Target> Driver<S, T> {
    fn new(mapping: Mapping, source: S, target: T) -> Self {
        Self {
            bounds: Bounds::of(&mapping),
            limits: RetryLimits {
                bisect: mapping.bisect_on_function_error,
                maximum_retry_attempts: mapping.maximum_retry_attempts,
            },
            poll_limit: mapping.batch_size,
            meters: Meters::new(&mapping.function),
            mapping: Arc::new(mapping),
            source,
            target,
            partitions: Vec::new(),
            running: JoinSet::new(),
            jobs: HashMap::new(),
            invocations: 0,
            lookups: JoinSet::new(),
            source_failures: 0,
            refusals: HashMap::new(),
            source_not_before: None,
        }
    }

    /// Does everything that can be done now. Returns the time when there will be more to do, if nothing happens before.
    async fn advance(&mut self) -> Option<Instant> {
        let now = now();
        if self.source_not_before.is_some_and(|until| until <= now) {
            self.source_not_before = None;
        }
        self.discard(now);
        let batch_not_before = self.invoke(now);
        self.commit(now).await;
        self.regulate();
        batch_not_before.into_iter().chain(self.source_not_before).min()
    }

    async fn wait(&mut self, look_again: Option<Instant>, shutdown: &mut watch::Receiver<bool>) -> Wakeup {
        let until = time::Instant::from_std(look_again.unwrap_or_else(now));
        let is_busy = self.invocations >= self.mapping.concurrency && self.mapping.window.is_zero();
        let polls = self.source_not_before.is_none() && !(is_busy && self.source.can_be_left());
        tokio::select! {
            biased;
            // An error means that the sender is gone.
            _ = shutdown.wait_for(|stop| *stop) => Wakeup::Shutdown,
            Some(ended) = self.running.join_next_with_id() => Wakeup::Ended(ended),
            Some(place) = self.lookups.join_next() => Wakeup::LookedUp(place),
            polled = self.source.poll(self.poll_limit), if polls => Wakeup::Polled(polled),
            () = time::sleep_until(until), if look_again.is_some() => Wakeup::Due,
        }
    }

    fn take_in(&mut self, polled: Result<SourcePoll, SourceError>) {
        let polled = match polled {
            Ok(polled) => polled,
            Err(error) => return self.leave_source_alone(&error, now()),
        };
        self.source_failures = 0;
        for revoked in &polled.revoked {
            if let Some(place) = self.partitions.iter().position(|partition| partition.at == *revoked) {
                self.partitions[place].revoke();
                self.refusals.remove(&place);
            }
        }
        let since = now();
        let mut place = 0;
        let mut passed_over = 0;
        for record in polled.records {
            place = self.place(&record, place);
            if self.partitions[place].has_undecoded() {
                self.partitions[place].push_undecoded(UndecodedRecord { record, since });
                continue;
            }
            let intake = self.take_in_record(place, UndecodedRecord { record, since });
            passed_over += usize::from(intake == Intake::PassedOver);
        }
        if passed_over > 0 {
            self.meters.passed_over(passed_over);
        }
    }

    /// Decodes a record with no undecoded record before it in its partition. Adds the record if the filter lets it through.
    fn take_in_record(&mut self, place: usize, undecoded: UndecodedRecord) -> Intake {
        let UndecodedRecord { record, since } = undecoded;
        let partition = &mut self.partitions[place];
        let original = self.mapping.decoder.decodes().then(|| Box::new(record.clone()));
        match self.mapping.decoder.decode(record) {
            DecodeOutcome::Record { record, json } => {
                let value = json.as_deref().or(record.value.as_deref());
                if !self.mapping.filter.matches(value) {
                    partition.pass_over(record.offset);
                    return Intake::PassedOver;
                }
                let bytes = record.json_size();
                partition.push(WaitingRecord { record, bytes, since, original, undecodable: None });
                Intake::Waits
            }
            DecodeOutcome::Undecodable { record, undecodable } => {
                let undecodable = Some(Box::new(undecodable));
                let bytes = record.json_size();
                partition.push(WaitingRecord { record, bytes, since, original: None, undecodable });
                Intake::Waits
            }
            DecodeOutcome::Later { record, lookup } => {
                partition.put_back_undecoded(UndecodedRecord { record, since });
                self.lookups.spawn(async move {
                    lookup.await;
                    place
                });
                Intake::Undecoded
            }
        }
    }

    /// Takes in the records that waited for a schema, and those behind them, as far as schemas are known. A lookup that panicked
    /// does not say its partition, so all of them are tried.
    fn decode_rest(&mut self, place: Result<usize, JoinError>) {
        let places = place.map_or(0..self.partitions.len(), |place| place..place + 1);
        for place in places {
            while let Some(undecoded) = self.partitions[place].pop_undecoded() {
                match self.take_in_record(place, undecoded) {
                    Intake::Undecoded => break,
                    Intake::PassedOver => self.meters.passed_over(1),
                    Intake::Waits => {}
                }
            }
        }
    }

    /// Returns the index of the record's partition. `guess` is the index of the last record's partition.
    fn place(&mut self, record: &KafkaRecord, guess: usize) -> usize {
        let is_its = |partition: &Partition| {
            partition.at.partition == record.partition && partition.at.topic == record.topic
        };
        if self.partitions.get(guess).is_some_and(is_its) {
            return guess;
        }
        self.partitions.iter().position(is_its).unwrap_or_else(|| {
            let at = TopicPartition { topic: Arc::clone(&record.topic), partition: record.partition };
            self.partitions.push(Partition::new(at));
            self.partitions.len() - 1
        })
    }

    fn leave_source_alone(&mut self, error: &SourceError, now: Instant) {
        self.source_failures += 1;
        let wait = self.mapping.backoff.with_jitter(self.source_failures, rand::random());
        warn!(function = self.mapping.function, %error, again_in = ?wait, "the source failed");
        self.source_not_before = Some(now + wait);
    }

    /// Invokes while something is due and a slot is free. Otherwise returns the time when something will be due.
    fn invoke(&mut self, now: Instant) -> Option<Instant> {
        while self.invocations < self.mapping.concurrency {
            let only_full = self.mapping.full_beside_others && self.invocations > 0;
            match batch::form(&mut self.partitions, &self.bounds, now, only_full) {
                NextBatch::Batch(batch) => self.start(batch, now),
                NextBatch::NotBefore(until) => return until,
            }
        }
        // The next invocation that ends frees a slot.
        None
    }

    fn start(&mut self, batch: Batch, now: Instant) {
        let event = batch.event(&self.partitions, &self.mapping.event_source);
        let target = self.target.clone();
        let timeout = self.mapping.invocation_timeout;
        let task = self.running.spawn(async move {
            let answer = time::timeout(timeout, target.invoke(event, now + timeout)).await;
            let late = |_| Err(InvokeError::Function(format!("it took more than {timeout:?}")));
            JobResult::Invocation(answer.unwrap_or_else(late))
        });
        self.invocations += 1;
        self.jobs.insert(task.id(), Job::Invocation { batch, started: now });
    }

    /// Starts to give up records that are too old, could not be decoded or failed too often.
    fn discard(&mut self, now: Instant) {
        let oldest = self
            .mapping
            .maximum_record_age
            .map(|age| milliseconds_since_1970().saturating_sub(as_milliseconds(age)));
        let sorts_out = oldest.is_some() || self.mapping.decoder.decodes();
        for place in 0..self.partitions.len() {
            let partition = &mut self.partitions[place];
            if sorts_out {
                partition.sort_out(|record| oldest.is_some_and(|oldest| record.timestamp < oldest));
            }
            if let NextStep::Discard(discard) = partition.next(now) {
                let part = BatchPart { partition: place, records: partition.take(discard.records) };
                self.start_discard(part, discard);
            }
        }
    }

    fn start_discard(&mut self, part: BatchPart, discard: Discard) {
        let mapping = Arc::clone(&self.mapping);
        let discarded = DeadLetter {
            function: mapping.function.clone(),
            records: part.records.iter().map(|waiting| waiting.as_in_kafka().clone()).collect(),
            reason: discard.reason,
            attempts: discard.attempts,
            error: discard.error.clone(),
        };
        let task =
            self.running.spawn(async move { JobResult::Discard(mapping.on_failure.take(discarded).await) });
        self.jobs.insert(task.id(), Job::Discard { part, discard });
    }

    fn end(&mut self, ended: Result<(Id, JobResult), JoinError>) {
        let (id, outcome) = match ended {
            Ok((id, outcome)) => (id, Ok(outcome)),
            Err(error) => (error.id(), Err(panic_message(error))),
        };
        match (self.jobs.remove(&id), outcome) {
            (Some(Job::Invocation { batch, started }), Ok(JobResult::Invocation(answer))) => {
                self.end_invocation(batch, started, answer);
            }
            (Some(Job::Invocation { batch, started }), Err(panic)) => {
                self.end_invocation(batch, started, Err(InvokeError::Function(panic)));
            }
            (Some(Job::Discard { part, discard }), Ok(JobResult::Discard(taken))) => {
                self.end_discard(part, discard, taken)
            }
            (Some(Job::Discard { part, discard }), Err(panic)) => self.end_discard(part, discard, Err(panic)),
            // Every task is known, and its outcome is of its own kind.
            _ => {}
        }
    }

    fn end_invocation(&mut self, batch: Batch, started: Instant, answer: Result<BatchResponse, InvokeError>) {
        self.invocations -= 1;
        let now = now();
        let answer = answer.and_then(|response| self.failures(&batch, &response));
        let ending = match &answer {
            Ok(failures) if failures.iter().all(Option::is_none) => Ending::Succeeded,
            Ok(_) => Ending::PartlyFailed,
            Err(InvokeError::Function(_)) => Ending::Failed,
            Err(InvokeError::Transport(_)) => Ending::NotReached,
        };
        self.meters.invoked(batch.records(), now - started, ending);
        self.tell(&batch, now - started, ending, &answer);
        let grouping = batch.grouping();
        // A part that went alone goes alone again. Any other may still go with others.
        let apart = if batch.is_alone { Grouping::Alone } else { Grouping::WithOthers };
        for (place, part) in batch.parts.into_iter().enumerate() {
            let partition = &mut self.partitions[part.partition];
            match &answer {
                Ok(failures) => match failures[place] {
                    None => {
                        partition.succeed();
                        continue;
                    }
                    Some(failed) => partition.fail_at(part.records, failed, NAMED, self.limits),
                },
                Err(error @ InvokeError::Function(_)) => {
                    partition.fail(part.records, grouping, &error.to_string(), self.limits);
                }
                Err(InvokeError::Transport(_)) => partition.put_back(part.records, apart),
            }
            self.meters.retried();
            self.back_off(part.partition, now);
        }
    }

    /// Returns, for each part, the index of the first record that failed, as the function says.
    fn failures(&self, batch: &Batch, response: &BatchResponse) -> Result<Vec<Option<usize>>, InvokeError> {
        let mut failures = vec![None; batch.parts.len()];
        if !self.mapping.report_batch_item_failures {
            return Ok(failures);
        }
        for failure in &response.batch_item_failures {
            let part =
                batch.parts.iter().position(|part| self.partitions[part.partition].name == failure.partition);
            let place = part.and_then(|part| {
                let records = &batch.parts[part].records;
                records
                    .iter()
                    .position(|waiting| waiting.record.offset == failure.offset)
                    .map(|first| (part, first))
            });
            let Some((part, first)) = place else {
                let (partition, offset) = (&failure.partition, failure.offset);
                let problem = format!("its answer names {partition} at {offset}, which it was not given");
                return Err(InvokeError::Function(problem));
            };
            failures[part] = Some(failures[part].map_or(first, |earlier: usize| earlier.min(first)));
        }
        Ok(failures)
    }

    fn end_discard(&mut self, part: BatchPart, discard: Discard, taken: Result<(), String>) {
        match taken {
            Ok(()) => {
                self.refusals.remove(&part.partition);
                self.partitions[part.partition].succeed();
                self.meters.discarded(discard.records, discard.reason);
            }
            Err(error) => {
                self.tell_refusal(part.partition, error);
                self.partitions[part.partition].keep_given_up(part.records, discard);
                self.back_off(part.partition, now());
            }
        }
    }

    /// Logs why the failure destination has not taken records. It warns once, as long as the error is the same for whichever
    /// partition.
    fn tell_refusal(&mut self, place: usize, error: String) {
        let function = &self.mapping.function;
        if self.refusals.values().any(|said| *said == error) {
            debug!(function, error, "the failure destination has still not taken records");
        } else {
            warn!(
                function,
                error, "the failure destination has not taken records: they are kept, and tried again"
            );
        }
        self.refusals.insert(place, error);
    }

    fn back_off(&mut self, place: usize, now: Instant) {
        let backoff = self.mapping.backoff;
        self.partitions[place].back_off(now, |failures| backoff.with_jitter(failures, rand::random()));
    }

    /// Commits how far each partition is done.
    async fn commit(&mut self, now: Instant) {
        if self.source_not_before.is_some() {
            return;
        }
        for place in 0..self.partitions.len() {
            let partition = &mut self.partitions[place];
            let Some(next_offset) = partition.to_commit() else { continue };
            match self.source.commit(&partition.at, next_offset).await {
                Ok(()) => partition.committed(next_offset),
                Err(error) => return self.leave_source_alone(&error, now),
            }
        }
    }

    /// Keeps the waiting records in memory bounded: one batch more than can be invoked at a time, over all partitions. When that is
    /// reached, a partition has its share of it, so that one that fails for long leaves the others theirs.
    fn regulate(&mut self) {
        let batches = self.mapping.concurrency + 1;
        let most = Amount {
            records: batches * self.mapping.batch_size,
            bytes: batches * self.mapping.payload_limit,
        };
        let waits = Amount {
            records: self.partitions.iter().map(Partition::held_records).sum(),
            bytes: self.partitions.iter().map(Partition::held_bytes).sum(),
        };
        let is_crowded = waits.records >= most.records || waits.bytes >= most.bytes;
        let sharers = if is_crowded { self.partitions.len().max(batches) } else { batches };
        let share = Amount { records: most.records.div_ceil(sharers), bytes: most.bytes.div_ceil(sharers) };
        self.poll_limit = most
            .records
            .saturating_sub(waits.records)
            .clamp(share.records.min(self.mapping.batch_size), self.mapping.batch_size);
        for partition in &mut self.partitions {
            match partition.flow(share.records, share.bytes) {
                Some(FlowControl::Pause) => self.source.pause(&partition.at),
                Some(FlowControl::Resume) => self.source.resume(&partition.at),
                None => {}
            }
        }
    }

    /// Waits for running tasks, for as long as the mapping says. The records of tasks that are dropped then stay uncommitted.
    async fn drain(mut self) {
        let until = time::Instant::now() + self.mapping.drain;
        while let Ok(Some(ended)) = time::timeout_at(until, self.running.join_next_with_id()).await {
            self.end(ended);
            // There is no later try, so a source that failed before is asked once more.
            self.source_not_before = None;
            self.commit(now()).await;
        }
        info!(function = self.mapping.function, left = self.running.len(), "the mapping has stopped");
    }

    fn tell(
        &self,
        batch: &Batch,
        took: Duration,
        ending: Ending,
        answer: &Result<Vec<Option<usize>>, InvokeError>,
    ) {
        let observer = &self.mapping.observer;
        if ending == Ending::Succeeded && !observer.wants_successes() {
            return;
        }
        let name = |part: &BatchPart| self.partitions[part.partition].name.clone();
        let range = |part: &BatchPart| {
            let (first, last) = part.records.first().zip(part.records.last())?;
            let (first, last) = (first.record.offset, last.record.offset);
            Some(OffsetRange { partition: name(part), first, last, records: part.records.len() })
        };
        let failed = answer.iter().flatten().zip(&batch.parts).filter_map(|(failed, part)| {
            let offset = part.records.get((*failed)?)?.record.offset;
            Some((name(part), offset))
        });
        observer.tell(Invocation {
            function: self.mapping.function.clone(),
            partitions: batch.parts.iter().filter_map(range).collect(),
            records: batch.records(),
            took,
            ending,
            failed: failed.collect(),
            error: answer.as_ref().err().map(ToString::to_string),
        });
    }
}

/// The error of a record that a batch response names.
const NAMED: &str = "the function named it in its batch response";

fn panic_message(error: JoinError) -> String {
    let Ok(panic) = error.try_into_panic() else { return "it was cancelled".to_owned() };
    let text = |panic: &Box<dyn Any + Send>| {
        let owned = panic.downcast_ref::<String>().cloned();
        owned.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
    };
    format!("it panicked: {}", text(&panic).unwrap_or_default())
}

fn milliseconds_since_1970() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, as_milliseconds)
}

fn as_milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
