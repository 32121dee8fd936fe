//! What a member of a group is told while it polls: partitions that come and go, commits that were taken or not, how far it
//! is behind. All of it is told on the polling thread.

use std::error::Error;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rdkafka::client::OAuthToken;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::{ClientContext, Offset, Statistics, TopicPartitionList};
use runtime::{KillPoint, kill_point};
use tracing::{debug, info, warn};

use super::client::Client;
use super::options::Options;
use super::progress::Progress;
use crate::Lag;

/// The context of a member's client.
pub(super) struct Group {
    name: String,
    topic: Arc<str>,
    client: Client,
    /// Rises with everything that was told, so that a poll that gave no record is not taken for the end of the queue.
    told: AtomicUsize,
    /// Rises with every statistics, which librdkafka's main thread gives: a sign of life.
    heard: AtomicUsize,
    /// Held for moments only, and never across an await.
    state: Mutex<State>,
}

/// What a member knows.
#[derive(Default)]
pub(super) struct State {
    pub(super) progress: Progress,
    /// Partitions that came and that nobody was told of.
    pub(super) assigned: Vec<i32>,
    /// Partitions that went and that nobody was told of.
    pub(super) revoked: Vec<i32>,
    /// The last commit was refused, and nobody was told.
    refused: Option<RDKafkaErrorCode>,
    lag: Vec<Lag>,
}

impl Group {
    pub(super) fn new(name: &str, topic: &Arc<str>, options: &Options) -> Self {
        Self {
            name: name.to_owned(),
            topic: Arc::clone(topic),
            client: Client::new(options),
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

    /// Whoever takes this member's place speaks for its partitions.
    pub(super) fn forget(&self) {
        *self.state() = State::default();
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        // Every change under the lock is whole, so a panic elsewhere left nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn lag(&self) -> Vec<Lag> {
        self.state().lag.clone()
    }

    /// What a failure comes to, with what was heard of the brokers since the last.
    pub(super) fn explain(&self, error: &impl ToString) -> String {
        let error = error.to_string();
        self.client.take_trouble().map_or_else(|| error.clone(), |trouble| format!("{error}: {trouble}"))
    }

    /// Notes what is done with, for librdkafka to commit: within [`COMMIT_INTERVAL`](super::consumer::COMMIT_INTERVAL), with all
    /// that is done until then, and again when it is refused. To commit here could not be waited for: of an asynchronous commit
    /// of ours librdkafka tells nothing to programs that take events, as rdkafka does.
    pub(super) fn note_what_is_done(&self, consumer: &BaseConsumer<Self>) {
        let offsets = self.state().progress.to_commit();
        if offsets.is_empty() {
            return;
        }
        if let Err(error) = self.list(offsets).and_then(|list| consumer.store_offsets(&list)) {
            debug!(group = self.name, %error, "what was done last may be done again");
        }
    }

    fn list(&self, offsets: impl IntoIterator<Item = (i32, i64)>) -> KafkaResult<TopicPartitionList> {
        let mut list = TopicPartitionList::new();
        for (partition, offset) in offsets {
            list.add_partition_offset(&self.topic, partition, Offset::Offset(offset))?;
        }
        Ok(list)
    }

    fn assign(&self, partitions: &[i32]) {
        info!(group = self.name, topic = &*self.topic, ?partitions, "took over partitions");
        let mut state = self.state();
        for &partition in partitions {
            state.progress.assign(partition);
            state.assigned.push(partition);
        }
    }

    fn revoke(&self, consumer: &BaseConsumer<Self>, partitions: &[i32]) {
        let lost = consumer.assignment_lost();
        info!(group = self.name, topic = &*self.topic, ?partitions, lost, "gave partitions up");
        // They are given up after this, and with them librdkafka commits what is noted; of what is lost already, another member
        // speaks.
        if !lost {
            self.note_what_is_done(consumer);
        }
        let mut state = self.state();
        for &partition in partitions {
            if state.progress.revoke(partition) {
                state.assigned.retain(|assigned| *assigned != partition);
                state.revoked.push(partition);
            }
        }
        state.lag.retain(|lag| !partitions.contains(&lag.partition));
    }
}

impl State {
    /// Takes in that everything of a partition before an offset is done with. `Err` when a commit was refused since this was
    /// last asked; it is sent again all the same.
    pub(super) fn finish(&mut self, partition: i32, next_offset: i64) -> Result<(), RDKafkaErrorCode> {
        if !self.progress.finish(partition, next_offset) {
            debug!(partition, next_offset, "a commit was passed over: the partition is another member's");
        }
        self.refused.take().map_or(Ok(()), Err)
    }

    fn refuse(&mut self, code: RDKafkaErrorCode) {
        // It goes without saying while a group shares its partitions out anew: the generation is about to end.
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

    /// The brokers' own numbers, as of the last fetch.
    fn stats(&self, statistics: Statistics) {
        self.told.fetch_add(1, Ordering::Relaxed);
        self.heard.fetch_add(1, Ordering::Relaxed);
        let Some(topic) = statistics.topics.get(&*self.topic) else { return };
        let mut state = self.state();
        let lag = state.progress.partitions().filter_map(|partition| {
            let known = topic.partitions.get(&partition).filter(|known| known.hi_offset >= 0)?;
            let committed = known.committed_offset.max(state.progress.known(partition));
            let behind = known.hi_offset - committed.max(known.lo_offset);
            Some(Lag {
                group: self.name.clone(),
                partition,
                records: u64::try_from(behind).unwrap_or_default(),
            })
        });
        state.lag = lag.collect();
    }
}

impl ConsumerContext for Group {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        self.told.fetch_add(1, Ordering::Relaxed);
        match rebalance {
            Rebalance::Assign(list) => self.assign(&partitions(list)),
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
        // Of what is another member's by now nobody here has to hear.
        let is_mine = offsets.elements().iter().any(|element| state.progress.has(element.partition()));
        if let Some(code) = refused.filter(|_| is_mine) {
            warn!(group = self.name, error = %code, "a commit was refused; it is sent again");
            state.refuse(code);
        }
    }
}
