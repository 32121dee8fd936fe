//! The callbacks of a group's member: partitions that come and go, results of commits, statistics about its lag. librdkafka calls
//! all of them on the polling thread.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use rdkafka::client::OAuthToken;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::{ClientContext, Offset, Statistics, TopicPartitionList};
use runtime::{KillPoint, kill_point};
use tracing::{debug, info, warn};

use super::TELL_AGAIN;
use super::client::Client;
use super::doubts::Doubts;
use super::options::Options;
use super::progress::{Position, Progress};
use crate::{Doubt, Lag};

/// The longest time for the brokers' answer about a group's positions, during a rebalance.
const KNOWN: Duration = Duration::from_secs(2);

/// The interval at which a lower position is committed again, until statistics show that the brokers have it. librdkafka reports
/// the result of this commit in no other way.
const COMMIT_AGAIN: Duration = Duration::from_millis(500);

/// The context of a member's client.
pub(super) struct Group {
    name: String,
    topic: Arc<str>,
    client: Client,
    /// Counts the callbacks. A poll without a record may have run one, so it does not mean that the queue is empty.
    told: AtomicUsize,
    /// Counts the statistics. librdkafka's main thread gives them, so each is a sign of life.
    heard: AtomicUsize,
    /// Locked for moments only, and never across an await.
    state: Mutex<MemberState>,
}

/// The state of a member.
#[derive(Default)]
pub(super) struct MemberState {
    pub(super) progress: Progress,
    /// Newly assigned partitions that the next poll still has to give a queue.
    pub(super) assigned: Vec<i32>,
    /// Revoked partitions that the next poll still has to report.
    pub(super) revoked: Vec<i32>,
    /// The id of the topic to which each partition's position belongs, where it is known.
    topics: BTreeMap<i32, Arc<str>>,
    /// The time when lower positions were last committed.
    lowered: Option<Instant>,
    /// The error of the last refused commit, until a call of `finish` returns it.
    refused: Option<RDKafkaErrorCode>,
    /// The time when a refused commit was last logged.
    logged: Option<Instant>,
    lag: Vec<Lag>,
    /// The partitions that no member of the group has.
    unowned: BTreeSet<i32>,
    /// `true` when, by the last statistics, the member waits for no answer to its join.
    has_joined: bool,
}

impl Group {
    pub(super) fn new(name: &str, topic: &Arc<str>, options: &Options, doubts: &Arc<Doubts>) -> Self {
        Self {
            name: name.to_owned(),
            topic: Arc::clone(topic),
            client: Client::new(options, doubts),
            told: AtomicUsize::new(0),
            heard: AtomicUsize::new(0),
            state: Mutex::default(),
        }
    }

    pub(super) fn told(&self) -> usize {
        self.told.load(Ordering::Relaxed)
    }

    pub(super) fn heard(&self) -> usize {
        self.heard.load(Ordering::Relaxed)
    }

    /// Forgets everything. The member that replaces this one is now responsible for the partitions.
    pub(super) fn forget(&self) {
        *self.state() = MemberState::default();
    }

    pub(super) fn state(&self) -> MutexGuard<'_, MemberState> {
        self.state.lock()
    }

    pub(super) fn lag(&self) -> Vec<Lag> {
        let state = self.state();
        let others = state.unowned.iter().filter(|partition| !state.progress.has(**partition));
        let unknown = others.map(|&partition| Lag { group: self.name.clone(), partition, records: None });
        state.lag.iter().cloned().chain(unknown).collect()
    }

    pub(super) fn has_joined(&self) -> bool {
        self.state().has_joined
    }

    pub(super) fn doubt(&self, doubt: Doubt) {
        self.client.doubt(doubt);
    }

    /// Adds to a failure the last problem that was heard of the brokers.
    pub(super) fn explain(&self, error: &impl ToString) -> String {
        let error = error.to_string();
        self.client.take_trouble().map_or_else(|| error.clone(), |trouble| format!("{error}: {trouble}"))
    }

    /// Stores the finished offsets, for librdkafka to commit. It commits within
    /// [`COMMIT_INTERVAL`](super::consumer::COMMIT_INTERVAL), together with all offsets stored until then, and again when the
    /// commit is refused.
    ///
    /// This crate does not commit rising positions itself, because it could not learn the result. librdkafka reports nothing
    /// about an asynchronous commit to programs that take events, as rdkafka does.
    pub(super) fn note_what_is_done(&self, consumer: &BaseConsumer<Self>) {
        let positions = self.state().progress.to_commit();
        if positions.is_empty() {
            return;
        }
        if let Err(error) = self.list(&positions).and_then(|list| consumer.store_offsets(&list)) {
            debug!(group = self.name, %error, "what was done last may be done again");
        }
        self.commit_lower(consumer, positions);
    }

    /// Commits the positions that are lower than the last commit. librdkafka does so only for an explicit commit.
    fn commit_lower(&self, consumer: &BaseConsumer<Self>, mut positions: Vec<Position>) {
        positions.retain(|position| position.is_lower);
        if positions.is_empty() || self.state().lowered.is_some_and(|at| at.elapsed() < COMMIT_AGAIN) {
            return;
        }
        self.state().lowered = Some(Instant::now());
        let committed = self.list(&positions).and_then(|list| consumer.commit(&list, CommitMode::Async));
        info!(group = self.name, topic = &*self.topic, ?positions, ?committed, "positions went down");
    }

    /// The positions as librdkafka takes them. Each carries its topic's id, so that it is not used for a later topic of the same
    /// name.
    fn list(&self, positions: &[Position]) -> KafkaResult<TopicPartitionList> {
        let id = self.client.identity().id();
        let mut state = self.state();
        let mut list = TopicPartitionList::new();
        for &Position { partition, offset, .. } in positions {
            if let Some(id) = &id {
                state.topics.entry(partition).or_insert_with(|| Arc::clone(id));
            }
            let mut element = list.add_partition(&self.topic, partition);
            element.set_offset(Offset::Offset(offset))?;
            if let Some(topic) = state.topics.get(&partition) {
                element.set_metadata(topic);
            }
        }
        Ok(list)
    }

    fn assign(&self, consumer: &BaseConsumer<Self>, partitions: &[i32]) {
        info!(group = self.name, topic = &*self.topic, ?partitions, "took over partitions");
        let known = self.ask_positions(consumer, partitions);
        let mut state = self.state();
        for &partition in partitions {
            let (offset, topic) = known.get(&partition).cloned().unwrap_or_default();
            state.progress.assign(partition, offset);
            match topic {
                Some(topic) => drop(state.topics.insert(partition, topic)),
                None => drop(state.topics.remove(&partition)),
            }
            state.assigned.push(partition);
        }
    }

    /// Asks the brokers for the group's positions in these partitions, and for the id of the topic that each belongs to. This is
    /// one request for each assignment.
    fn ask_positions(
        &self,
        consumer: &BaseConsumer<Self>,
        partitions: &[i32],
    ) -> BTreeMap<i32, (i64, Option<Arc<str>>)> {
        let mut asked = TopicPartitionList::new();
        for &partition in partitions {
            asked.add_partition(&self.topic, partition);
        }
        let known = match consumer.committed_offsets(asked, KNOWN) {
            Ok(known) => known,
            Err(error) => {
                debug!(group = self.name, %error, "the brokers did not say how far the group is");
                return BTreeMap::new();
            }
        };
        let (mut positions, mut is_new) = (BTreeMap::new(), false);
        for element in known.elements() {
            match element.offset() {
                Offset::Offset(offset) => {
                    // rdkafka panics when another program has stored metadata that is not UTF-8.
                    let noted = catch_unwind(AssertUnwindSafe(|| element.metadata().to_owned())).ok();
                    let topic = noted.filter(|topic| !topic.is_empty()).map(Into::into);
                    positions.insert(element.partition(), (offset, topic));
                }
                _ => is_new |= element.error().is_ok(),
            }
        }
        if is_new {
            self.doubt(Doubt::NoPosition);
        }
        positions
    }

    /// The partitions whose position belongs to another topic of the same name.
    pub(super) fn strange(&self) -> Vec<i32> {
        let Some(id) = self.client.identity().id() else { return Vec::new() };
        let state = self.state();
        let strange =
            state.topics.iter().filter(|(partition, topic)| **topic != id && state.progress.has(**partition));
        strange.map(|(&partition, _)| partition).collect()
    }

    /// Begins a partition again at offset 0 of the present topic.
    pub(super) fn begin_anew(&self, partition: i32) {
        self.doubt(Doubt::TopicMadeAnew);
        let id = self.client.identity().id();
        let mut state = self.state();
        state.progress.begin_anew(partition);
        state.topics.extend(id.map(|id| (partition, id)));
    }

    fn revoke(&self, consumer: &BaseConsumer<Self>, partitions: &[i32]) {
        let lost = consumer.assignment_lost();
        info!(group = self.name, topic = &*self.topic, ?partitions, lost, "gave partitions up");
        // After this callback librdkafka commits the stored offsets and gives the partitions up. A lost partition is another
        // member's already, so nothing is stored for it.
        if !lost {
            self.note_what_is_done(consumer);
        }
        let mut state = self.state();
        for &partition in partitions {
            state.topics.remove(&partition);
            if state.progress.revoke(partition) {
                state.assigned.retain(|assigned| *assigned != partition);
                state.revoked.push(partition);
            }
        }
        state.lag.retain(|lag| !partitions.contains(&lag.partition));
    }
}

impl MemberState {
    /// Sets the partitions that no member of the group has now.
    pub(super) fn set_unowned(&mut self, partitions: BTreeSet<i32>) {
        self.unowned = partitions;
    }

    /// Notes that everything in a partition before an offset is finished. Returns `Err` when a commit was refused since the last
    /// call; librdkafka sends that commit again all the same.
    pub(super) fn finish(&mut self, partition: i32, next_offset: i64) -> Result<(), RDKafkaErrorCode> {
        if !self.progress.finish(partition, next_offset) {
            debug!(partition, next_offset, "a commit was passed over: the partition is another member's");
        }
        self.refused.take().map_or(Ok(()), Err)
    }

    fn refuse(&mut self, code: RDKafkaErrorCode) {
        // During a rebalance this error is expected: the group's generation is about to end.
        if code != RDKafkaErrorCode::RebalanceInProgress {
            self.refused = Some(code);
        }
    }
}

fn partitions(list: &TopicPartitionList) -> Vec<i32> {
    list.elements().iter().map(|element| element.partition()).collect()
}

impl ClientContext for Group {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.told.fetch_add(1, Ordering::Relaxed);
        self.client.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.told.fetch_add(1, Ordering::Relaxed);
        self.client.error(&error, reason);
    }

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        self.told.fetch_add(1, Ordering::Relaxed);
        self.client.oauth_token()
    }

    /// Takes the brokers' own numbers, as of the last fetch.
    fn stats(&self, statistics: Statistics) {
        self.told.fetch_add(1, Ordering::Relaxed);
        self.heard.fetch_add(1, Ordering::Relaxed);
        let mut state = self.state();
        state.has_joined = statistics
            .cgrp
            .is_some_and(|group| !["wait-join", "wait-sync"].contains(&group.join_state.as_str()));
        let Some(topic) = statistics.topics.get(&*self.topic) else { return };
        for (&partition, known) in &topic.partitions {
            if known.committed_offset >= 0 {
                state.progress.committed(partition, known.committed_offset);
            }
        }
        let lag = state.progress.partitions().filter_map(|partition| {
            let known = topic.partitions.get(&partition).filter(|known| known.hi_offset >= 0)?;
            let committed = state.progress.known(partition);
            let behind = known.hi_offset - committed.max(known.lo_offset);
            Some(Lag {
                group: self.name.clone(),
                partition,
                records: Some(u64::try_from(behind).unwrap_or_default()),
            })
        });
        state.lag = lag.collect();
    }
}

impl ConsumerContext for Group {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        self.told.fetch_add(1, Ordering::Relaxed);
        match rebalance {
            Rebalance::Assign(list) => self.assign(consumer, &partitions(list)),
            Rebalance::Revoke(list) => self.revoke(consumer, &partitions(list)),
            Rebalance::Error(error) => warn!(group = self.name, %error, "partitions could not be shared out"),
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, offsets: &TopicPartitionList) {
        self.told.fetch_add(1, Ordering::Relaxed);
        let mut state = self.state();
        if result.is_ok() {
            kill_point(KillPoint::AfterKafkaOffsetCommit);
        }
        let whole = result.err().and_then(|error| error.rdkafka_error_code());
        let mut refused = whole;
        for element in offsets.elements() {
            let own = element.error().err().and_then(|error| error.rdkafka_error_code());
            match (own, element.offset()) {
                (None, Offset::Offset(offset)) if whole.is_none() => {
                    state.progress.committed(element.partition(), offset);
                }
                (own, _) => refused = refused.or(own),
            }
        }
        // A refusal that concerns only other members' partitions is not reported.
        let is_mine = offsets.elements().iter().any(|element| state.progress.has(element.partition()));
        if let Some(code) = refused.filter(|_| is_mine) {
            // A refusal may come ten times a second while its cause lasts.
            if state.logged.is_none_or(|at| at.elapsed() >= TELL_AGAIN) {
                warn!(group = self.name, error = %code, "a commit was refused; it is sent again");
                state.logged = Some(Instant::now());
            }
            state.refuse(code);
        }
    }
}
