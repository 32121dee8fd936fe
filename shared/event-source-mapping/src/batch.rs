//! Chooses the records that are invoked together. Pure, as [`crate::partition`] is.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::event::{KafkaEvent, KafkaRecord, size_of_list};
use crate::mapping::{EventSource, Mapping};
use crate::partition::{Grouping, NextStep, Partition, WaitingRecord};

/// Records that are invoked together: one invocation.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) parts: Vec<BatchPart>,
    /// `true` if its records are of one partition and go alone, because they failed before.
    pub(crate) is_alone: bool,
}

/// The records of one partition in a batch.
#[derive(Debug)]
pub(crate) struct BatchPart {
    /// The partition's index among all.
    pub(crate) partition: usize,
    pub(crate) records: Vec<WaitingRecord>,
}

/// The bounds of a batch.
#[derive(Clone, Debug)]
pub(crate) struct Bounds {
    pub(crate) records: usize,
    /// Bytes of the records and their lists, without the rest of the event.
    pub(crate) bytes: usize,
    pub(crate) window: Duration,
    /// `true` if other batches may be invoked at the same time.
    pub(crate) with_others: bool,
}

impl Bounds {
    pub(crate) fn of(mapping: &Mapping) -> Self {
        let envelope = event(&mapping.event_source, BTreeMap::new()).json_size();
        Self {
            records: mapping.batch_size,
            bytes: mapping.payload_limit.saturating_sub(envelope),
            window: mapping.window,
            with_others: mapping.concurrency > 1,
        }
    }
}

/// An event with these records.
pub(crate) fn event(source: &EventSource, records: BTreeMap<String, Vec<KafkaRecord>>) -> KafkaEvent {
    KafkaEvent {
        event_source: source.name.clone(),
        event_source_arn: source.arn.clone(),
        bootstrap_servers: source.bootstrap_servers.clone(),
        records,
    }
}

/// A batch, or the time of the next look.
#[derive(Debug)]
pub(crate) enum NextBatch {
    Batch(Batch),
    /// No batch is due before this time. With `None`, none is due before something happens.
    NotBefore(Option<Instant>),
}

/// Takes the next batch from the partitions that have nothing in flight. Records that must go alone come first. Otherwise the batch
/// takes as much as fits from all partitions together. If other batches may run beside it, it takes no more partitions than fill
/// it, so that some are left for those. With `only_full`, a shared batch must be full.
pub(crate) fn form(
    partitions: &mut [Partition],
    bounds: &Bounds,
    now: Instant,
    only_full: bool,
) -> NextBatch {
    let mut together = Vec::new();
    let mut alone = None;
    let mut not_before: Option<Instant> = None;
    for (place, partition) in partitions.iter().enumerate() {
        match partition.next(now) {
            NextStep::Together => together.push(place),
            NextStep::Alone(records) => alone = alone.or(Some((place, records))),
            NextStep::Backoff(until) => {
                not_before = Some(not_before.map_or(until, |earliest| earliest.min(until)));
            }
            NextStep::Idle | NextStep::Discard(_) => {}
        }
    }
    if let Some((place, records)) = alone {
        let part = BatchPart { partition: place, records: partitions[place].take(records) };
        return NextBatch::Batch(Batch { parts: vec![part], is_alone: true });
    }
    let is_full = fills(partitions, &mut together, bounds);
    if together.is_empty() || (only_full && !is_full) {
        return NextBatch::NotBefore(not_before);
    }
    let gathers_until = if is_full { None } else { gathers_until(partitions, &together, bounds.window) };
    match gathers_until.filter(|until| *until > now) {
        Some(until) => NextBatch::NotBefore(Some(not_before.map_or(until, |earliest| earliest.min(until)))),
        None => NextBatch::Batch(take_together(partitions, together, bounds)),
    }
}

/// Returns whether these partitions have a full batch. If they do and other batches may run beside it, it keeps only the partitions
/// that fill it: those whose records have waited the longest.
fn fills(partitions: &[Partition], together: &mut Vec<usize>, bounds: &Bounds) -> bool {
    if bounds.with_others {
        together.sort_by_key(|place| partitions[*place].waiting().next().map(|waiting| waiting.since));
    }
    let (mut records, mut bytes) = (0, 0);
    let filling = together.iter().position(|place| {
        records += partitions[*place].len();
        bytes += partitions[*place].bytes();
        records >= bounds.records || bytes >= bounds.bytes
    });
    if let (Some(last), true) = (filling, bounds.with_others) {
        together.truncate(last + 1);
    }
    filling.is_some()
}

/// The time until which a batch that is not full waits for more records; `None` if it does not wait.
fn gathers_until(partitions: &[Partition], together: &[usize], window: Duration) -> Option<Instant> {
    if window.is_zero() {
        return None;
    }
    let first = |place: &usize| partitions[*place].waiting().next().map(|waiting| waiting.since);
    together.iter().filter_map(first).min().map(|first| first + window)
}

fn take_together(partitions: &mut [Partition], mut together: Vec<usize>, bounds: &Bounds) -> Batch {
    // The shortest partition comes first, so that the rest of its equal share goes to those that have more.
    together.sort_by_key(|place| partitions[*place].len());
    let (mut records_left, mut bytes_left) = (bounds.records, bounds.bytes);
    let mut parts = Vec::with_capacity(together.len());
    for (done, &place) in together.iter().enumerate() {
        let share = records_left.div_ceil(together.len() - done);
        let partition = &mut partitions[place];
        let (mut count, bytes) = fit(partition, share, bytes_left);
        if count == 0 && parts.is_empty() {
            // The record is too large for any batch. It goes alone, and the invoked function decides.
            count = 1;
        }
        if count > 0 {
            parts.push(BatchPart { partition: place, records: partition.take(count) });
            records_left -= count;
            bytes_left = bytes_left.saturating_sub(bytes);
        }
        if records_left == 0 || bytes_left == 0 {
            break;
        }
    }
    Batch { parts, is_alone: false }
}

/// Returns the number of records from the front that fit, and their bytes.
fn fit(partition: &Partition, records: usize, bytes: usize) -> (usize, usize) {
    // The size counts a comma after the list and after each record, and the last ones have none. So it is 2 bytes on the safe side.
    let mut size = size_of_list(&partition.name) + 1;
    let mut count = 0;
    for waiting in partition.eligible().take(records) {
        let with = size + waiting.bytes + 1;
        if with > bytes {
            break;
        }
        size = with;
        count += 1;
    }
    (count, size)
}

impl Batch {
    /// The event that the function is invoked with. Keys and values are shared, not copied.
    pub(crate) fn event(&self, partitions: &[Partition], source: &EventSource) -> KafkaEvent {
        let list = |part: &BatchPart| {
            let records = part.records.iter().map(|waiting| waiting.record.clone()).collect();
            (partitions[part.partition].name.clone(), records)
        };
        event(source, self.parts.iter().map(list).collect())
    }

    pub(crate) fn records(&self) -> usize {
        self.parts.iter().map(|part| part.records.len()).sum()
    }

    pub(crate) fn grouping(&self) -> Grouping {
        if self.parts.len() > 1 { Grouping::WithOthers } else { Grouping::Alone }
    }
}
