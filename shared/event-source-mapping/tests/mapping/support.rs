//! A source in memory, whose records a test writes, and helpers to run a mapping over it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use event_source_mapping::event::{BatchItemFailure, BatchResponse, KafkaEvent, KafkaRecord, TimestampType};
use event_source_mapping::{Backoff, Mapping, Source, SourceError, SourcePoll, Target, TopicPartition, run};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// A time of the stopped clock, so that a test that hangs fails at once.
const PATIENCE: Duration = Duration::from_secs(24 * 3600);

/// A topic. Tests can look at what the mapping did to it.
#[derive(Clone, Default)]
pub(crate) struct Topic {
    state: Arc<Mutex<State>>,
    changed: Arc<Notify>,
}

#[derive(Default)]
struct State {
    partitions: BTreeMap<i32, Vec<KafkaRecord>>,
    positions: BTreeMap<i32, usize>,
    commits: Vec<(i32, i64)>,
    paused: BTreeSet<i32>,
    pauses: usize,
    revoked: Vec<TopicPartition>,
    failures: usize,
}

impl Topic {
    /// A topic with records `0..count` in each of these partitions.
    pub(crate) fn with(partitions: &[(i32, i64)]) -> Self {
        let topic = Self::default();
        for &(partition, count) in partitions {
            topic.write(partition, count);
        }
        topic
    }

    pub(crate) fn write(&self, partition: i32, count: i64) {
        for _ in 0..count {
            self.write_record(|_| {}, partition);
        }
    }

    pub(crate) fn write_record(&self, change: impl FnOnce(&mut KafkaRecord), partition: i32) {
        let mut state = self.state.lock().unwrap();
        let records = state.partitions.entry(partition).or_default();
        let offset = records.len() as i64;
        let mut record = KafkaRecord {
            topic: "t".into(),
            partition,
            offset,
            timestamp: SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64,
            timestamp_type: TimestampType::CreateTime,
            key: None,
            value: Some(format!("{partition}/{offset}").into()),
            headers: Vec::new(),
            key_schema_metadata: None,
            value_schema_metadata: None,
        };
        change(&mut record);
        records.push(record);
        self.changed.notify_waiters();
    }

    /// Makes this many of the next calls of the source fail.
    pub(crate) fn fail(&self, times: usize) {
        self.state.lock().unwrap().failures = times;
    }

    /// Gives the partition to another process.
    pub(crate) fn revoke(&self, partition: i32) {
        self.state.lock().unwrap().revoked.push(TopicPartition { topic: "t".into(), partition });
        self.changed.notify_waiters();
    }

    pub(crate) fn commits(&self) -> Vec<(i32, i64)> {
        self.state.lock().unwrap().commits.clone()
    }

    /// The offset up to which a partition is committed; 0 if it is not.
    pub(crate) fn committed(&self, partition: i32) -> i64 {
        let of = |(committed, next): &(i32, i64)| (*committed == partition).then_some(*next);
        self.state.lock().unwrap().commits.iter().filter_map(of).next_back().unwrap_or(0)
    }

    /// The number of records that the mapping has read.
    pub(crate) fn position(&self, partition: i32) -> usize {
        self.state.lock().unwrap().positions.get(&partition).copied().unwrap_or(0)
    }

    pub(crate) fn pauses(&self) -> usize {
        self.state.lock().unwrap().pauses
    }

    /// The number of partitions that are paused now.
    pub(crate) fn paused(&self) -> usize {
        self.state.lock().unwrap().paused.len()
    }

    /// Waits until a partition is committed up to here.
    pub(crate) async fn until_committed(&self, partition: i32, next_offset: i64) {
        let reached = async {
            loop {
                let changed = self.changed.notified();
                if self.committed(partition) >= next_offset {
                    return;
                }
                changed.await;
            }
        };
        let in_time = timeout(PATIENCE, reached).await;
        assert!(in_time.is_ok(), "t-{partition} is not committed up to {next_offset}: {:?}", self.commits());
    }

    fn take(&self, limit: usize) -> Result<Option<SourcePoll>, SourceError> {
        let mut state = self.state.lock().unwrap();
        if state.failures > 0 {
            state.failures -= 1;
            return Err(SourceError("on purpose".to_owned()));
        }
        let State { partitions, positions, paused, revoked, .. } = &mut *state;
        let mut polled = SourcePoll { revoked: std::mem::take(revoked), records: Vec::new() };
        for (partition, records) in partitions.iter().filter(|(partition, _)| !paused.contains(partition)) {
            let position = positions.entry(*partition).or_default();
            let end = records.len().min(*position + limit - polled.records.len());
            polled.records.extend_from_slice(&records[*position..end]);
            *position = end;
        }
        Ok(Some(polled).filter(|polled| *polled != SourcePoll::default()))
    }
}

impl Source for Topic {
    async fn poll(&mut self, limit: usize) -> Result<SourcePoll, SourceError> {
        loop {
            let changed = self.changed.clone();
            let changed = changed.notified();
            if let Some(polled) = self.take(limit)? {
                return Ok(polled);
            }
            changed.await;
        }
    }

    async fn commit(&mut self, partition: &TopicPartition, next_offset: i64) -> Result<(), SourceError> {
        let mut state = self.state.lock().unwrap();
        if state.failures > 0 {
            state.failures -= 1;
            return Err(SourceError("on purpose".to_owned()));
        }
        state.commits.push((partition.partition, next_offset));
        self.changed.notify_waiters();
        Ok(())
    }

    fn pause(&mut self, partition: &TopicPartition) {
        let mut state = self.state.lock().unwrap();
        state.paused.insert(partition.partition);
        state.pauses += 1;
    }

    fn resume(&mut self, partition: &TopicPartition) {
        self.state.lock().unwrap().paused.remove(&partition.partition);
        self.changed.notify_waiters();
    }
}

/// The invocations of a function: for each, its offsets by partition.
#[derive(Clone, Default)]
pub(crate) struct Calls(Arc<Mutex<Vec<Call>>>);

pub(crate) type Call = BTreeMap<i32, Vec<i64>>;

impl Calls {
    /// Notes an invocation and returns the number of earlier ones.
    pub(crate) fn note(&self, event: &KafkaEvent) -> usize {
        let mut calls = self.0.lock().unwrap();
        calls.push(offsets(event));
        calls.len() - 1
    }

    pub(crate) fn all(&self) -> Vec<Call> {
        self.0.lock().unwrap().clone()
    }

    /// The offsets of a partition, invocation by invocation.
    pub(crate) fn of(&self, partition: i32) -> Vec<Vec<i64>> {
        self.all().iter().filter_map(|call| call.get(&partition).cloned()).collect()
    }
}

pub(crate) fn offsets(event: &KafkaEvent) -> Call {
    let of = |records: &Vec<KafkaRecord>| {
        (records[0].partition, records.iter().map(|record| record.offset).collect())
    };
    event.records.values().map(of).collect()
}

pub(crate) fn ok() -> Result<BatchResponse, &'static str> {
    Ok(BatchResponse::default())
}

/// A response that names these records.
pub(crate) fn failed(records: &[(i32, i64)]) -> BatchResponse {
    let failure =
        |&(partition, offset): &(i32, i64)| BatchItemFailure { partition: format!("t-{partition}"), offset };
    BatchResponse { batch_item_failures: records.iter().map(failure).collect() }
}

/// A mapping without a batch window.
pub(crate) fn mapping() -> Mapping {
    Mapping {
        window: Duration::ZERO,
        backoff: Backoff { first: Duration::from_millis(100), longest: Duration::from_secs(1) },
        ..Mapping::new("f")
    }
}

/// A mapping that runs; it must be stopped.
pub(crate) struct MappingRun {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

pub(crate) fn start(mapping: Mapping, topic: &Topic, target: impl Target) -> MappingRun {
    let (stop, stopped) = watch::channel(false);
    let source = topic.clone();
    let task = tokio::spawn(async move { run(mapping, source, target, stopped).await.unwrap() });
    MappingRun { stop, task }
}

impl MappingRun {
    /// Asks it to stop, and does not wait.
    pub(crate) fn ask_to_stop(&self) {
        self.stop.send(true).unwrap();
    }

    pub(crate) async fn stop(self) {
        self.ask_to_stop();
        self.stopped().await;
    }

    pub(crate) async fn stopped(self) {
        timeout(PATIENCE, self.task).await.expect("it stops in time").unwrap();
    }
}
