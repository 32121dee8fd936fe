//! The channel on Apache Kafka, through librdkafka: one producer for each process, members of consumer groups, and the topic.
//!
//! The channel connects with the first published record or the first poll. Then it creates the topic if it is not there, and asks
//! how large a record may be.

mod beginning;
mod client;
mod consumer;
mod doubts;
mod group;
mod identity;
mod lanes;
#[cfg(feature = "msk-admin")]
mod msk_admin;
#[cfg(feature = "kafka-tls")]
mod msk_iam;
mod options;
mod ownership;
mod producer;
mod progress;
mod pulse;
mod record;
mod run;
mod security;
mod topic;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::metadata::Metadata;
use runtime::Backoff;
use tokio::runtime::Handle;
use tokio::sync::{Mutex as Turn, Notify};
use tokio::time::{self, Instant};
use tracing::{info, warn};

pub(crate) use self::consumer::KafkaConsumer;
use self::doubts::Doubts;
use self::group::Group;
use self::options::Options;
use self::producer::Producer;
use self::run::RunFailure;
use crate::{ConsumerSettings, Doubt, Lag, OpenError, PublishError, Receipt, Record};

/// A handle to the channel.
#[derive(Clone)]
pub struct KafkaChannel {
    shared: Arc<Shared>,
}

type Filter = Box<dyn Fn(Option<&[u8]>) -> bool + Send + Sync>;

struct Shared {
    options: Options,
    topic: Arc<str>,
    /// The largest record in bytes, as far as is known.
    limit: AtomicUsize,
    /// The producer, once the topic is known to be there. Locked for moments only, and never across an await.
    producer: Mutex<Option<Producer>>,
    /// Locked while a task connects. Holds the time and the error of the last attempt, if it failed.
    connecting: Turn<Option<(Instant, Arc<str>)>>,
    /// Locked while a task asks whether the brokers answer again.
    asking: Turn<()>,
    /// Locked for moments only, and never across an await.
    health: Mutex<Health>,
    /// The last error with which brokers refused records, and the time when it was logged.
    told: Mutex<Option<(Instant, String)>>,
    /// Wakes the publishers that wait for acknowledgements.
    room: Arc<Notify>,
    /// The members of groups in this process.
    members: Mutex<Vec<Weak<Group>>>,
    doubts: Arc<Doubts>,
    /// The times of the last look at the topic and of the last look at its size limit.
    looked: Mutex<(Option<Instant>, Option<Instant>)>,
    /// Set when a record was refused for its size.
    limit_is_in_doubt: AtomicBool,
    /// How often the topic was found gone or created again.
    losses: AtomicUsize,
}

/// The outcome of the last run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Health {
    /// The brokers took it.
    Takes,
    /// Too many records waited for the brokers.
    Full,
    /// The brokers refused it, or did not answer.
    Down,
}

/// The longest delay that a missed wake-up can cost a publisher that waits for room.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// The longest time that one call waits for brokers that are down, and the waits between its questions.
const PATIENCE: Duration = Duration::from_secs(30);
const WAITS: Backoff = Backoff { first: Duration::from_millis(100), longest: Duration::from_secs(2) };
/// The least time between two looks at the topic: normally, and after an error that concerns the topic. The third constant is for
/// the size limit, which takes a client of its own.
const LOOK: Duration = Duration::from_secs(5);
const LOOK_AFTER_ERROR: Duration = Duration::from_secs(1);
const LOOK_AT_LIMIT: Duration = Duration::from_secs(30);
/// The interval at which a lasting problem is logged again.
const TELL_AGAIN: Duration = Duration::from_secs(60);

fn unavailable(problem: impl Into<Arc<str>>) -> PublishError {
    PublishError::Unavailable(problem.into())
}

impl KafkaChannel {
    /// Opens a channel with the rest of the URL that follows `kafka:`, on the topic of a part of the application.
    pub(crate) fn open(url: &str, part: Option<&str>) -> Result<Self, OpenError> {
        let options = Options::parse(url)?.of_part(part)?;
        let shared = Shared {
            topic: options.topic.as_str().into(),
            limit: AtomicUsize::new(options.largest),
            options,
            producer: Mutex::default(),
            connecting: Turn::default(),
            asking: Turn::default(),
            health: Mutex::new(Health::Takes),
            told: Mutex::default(),
            room: Arc::new(Notify::new()),
            members: Mutex::default(),
            doubts: Arc::default(),
            looked: Mutex::default(),
            limit_is_in_doubt: AtomicBool::new(false),
            losses: AtomicUsize::new(0),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    pub(crate) fn check(&self, record: &Record) -> Result<(), PublishError> {
        let (bytes, limit) = (record::size(record), self.largest());
        if bytes <= limit {
            return Ok(());
        }
        // The topic's limit may have been raised, so it is looked up again soon.
        self.shared.limit_is_in_doubt.store(true, Ordering::Relaxed);
        self.shared.look_soon(LOOK_AFTER_ERROR);
        Err(PublishError::TooLarge { bytes, limit })
    }

    pub(crate) fn look_again(&self) {
        self.shared.look_soon(LOOK);
    }

    pub(crate) async fn doubted(&self) -> Doubt {
        self.shared.doubts.next().await
    }

    pub(crate) fn largest(&self) -> usize {
        self.shared.limit.load(Ordering::Relaxed)
    }

    pub(crate) async fn prepare(&self) -> Result<(), PublishError> {
        self.shared.link().await.map(drop)
    }

    /// Sends a run in order, and returns when the brokers have acknowledged every record of it.
    pub(crate) async fn publish(&self, records: Vec<Record>) -> Result<Receipt, PublishError> {
        let producer = self.shared.link().await?;
        // All records are checked before any is sent. So when one record is too large, none of its run is sent.
        records.iter().try_for_each(|record| self.check(record))?;
        match producer.send(&records).await {
            Ok(()) => {
                *self.shared.health.lock() = Health::Takes;
                Ok(Receipt::Settled)
            }
            Err(failure) => Err(self.failed(&producer, failure, &records)),
        }
    }

    fn failed(&self, producer: &Producer, failure: RunFailure, records: &[Record]) -> PublishError {
        let shared = &self.shared;
        match failure {
            RunFailure::Full => {
                *shared.health.lock() = Health::Full;
                PublishError::Full
            }
            RunFailure::Refused(RDKafkaErrorCode::MessageSizeTooLarge) => {
                // The topic's limit has changed. The next connection learns it.
                shared.unlink();
                let bytes = records.iter().map(record::size).max().unwrap_or_default();
                PublishError::TooLarge { bytes, limit: shared.limit.load(Ordering::Relaxed) }
            }
            RunFailure::Refused(code) => {
                if producer.is_broken() {
                    shared.unlink();
                }
                if speaks_of_topic(code) {
                    shared.look_soon(LOOK_AFTER_ERROR);
                }
                *shared.health.lock() = Health::Down;
                let problem = producer.explain(&code);
                shared.tell(&problem);
                unavailable(problem)
            }
        }
    }

    /// Waits, for a limited time, until the cause of the last refusal may be gone.
    pub(crate) async fn available(&self) {
        let shared = &self.shared;
        let health = *shared.health.lock();
        match health {
            Health::Full => {
                let _ = time::timeout(LOOK_AGAIN, shared.room.notified()).await;
            }
            Health::Down => {
                let _ = time::timeout(PATIENCE, shared.until_brokers_answer()).await;
            }
            Health::Takes => {}
        }
    }

    /// Returns a member of a group. It joins the group with its first poll.
    pub(crate) fn subscribe(
        &self,
        group: &str,
        settings: ConsumerSettings,
        filter: impl Fn(Option<&[u8]>) -> bool + Send + Sync + 'static,
    ) -> Result<KafkaConsumer, OpenError> {
        if group.is_empty() {
            return Err(security::refused("a consumer group has no name".to_owned()));
        }
        Ok(KafkaConsumer::new(Arc::clone(&self.shared), group, settings, Box::new(filter)))
    }

    /// The lag of this process's members in their partitions, at most two seconds old.
    pub(crate) fn lag(&self) -> Vec<Lag> {
        let members: Vec<_> = self.shared.members.lock().iter().filter_map(Weak::upgrade).collect();
        members.iter().flat_map(|member| member.lag()).collect()
    }
}

/// Returns whether an error says that the topic has changed.
fn speaks_of_topic(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode::{UnknownPartition, UnknownTopic, UnknownTopicOrPartition};
    matches!(code, UnknownPartition | UnknownTopic | UnknownTopicOrPartition)
}

impl Shared {
    /// Returns the producer, and connects first where there is none. Its topic exists.
    async fn link(self: &Arc<Self>) -> Result<Producer, PublishError> {
        if let Some(producer) = &*self.producer.lock() {
            return Ok(producer.clone());
        }
        // This is a task, so that it goes on when its caller gives up. The next caller then finds its result.
        let connecting = tokio::spawn(Arc::clone(self).connect(Instant::now()));
        match connecting.await {
            Ok(Ok(producer)) => Ok(producer),
            Ok(Err(problem)) => {
                *self.health.lock() = Health::Down;
                Err(unavailable(problem))
            }
            Err(error) => Err(unavailable(error.to_string())),
        }
    }

    /// Connects for a caller that asked at `since`. When an attempt has failed while the caller waited for its turn, it gets that
    /// error and does not try again.
    async fn connect(self: Arc<Self>, since: Instant) -> Result<Producer, Arc<str>> {
        let mut last = self.connecting.lock().await;
        if let Some(producer) = &*self.producer.lock() {
            return Ok(producer.clone());
        }
        if let Some((at, problem)) = &*last
            && *at >= since
        {
            return Err(Arc::clone(problem));
        }
        match self.try_to_connect().await {
            Ok(producer) => {
                *self.producer.lock() = Some(producer.clone());
                *last = None;
                Ok(producer)
            }
            Err(problem) => {
                let problem: Arc<str> = problem.into();
                // A problem is logged once, even when many attempts meet it.
                if last.as_ref().is_none_or(|(_, known)| *known != problem) {
                    warn!(topic = &*self.topic, brokers = self.options.brokers, "{problem}");
                }
                *last = Some((Instant::now(), Arc::clone(&problem)));
                Err(problem)
            }
        }
    }

    async fn try_to_connect(&self) -> Result<Producer, String> {
        let start = |limit| {
            let producer = Producer::start(&self.options, limit, Arc::clone(&self.room), &self.doubts);
            producer.map_err(|error| error.to_string())
        };
        let producer = start(self.options.largest)?;
        let get_ready = async {
            let partitions = topic::ensure(&self.options, &producer).await?;
            producer.get_ready().await.map(|()| partitions)
        };
        // The limit takes a client and a connection of its own, so both connect at once.
        let (partitions, limit) = tokio::join!(get_ready, topic::limit(&self.options));
        let partitions = partitions?;
        let limit = match limit {
            // There was no topic yet, or nobody knows.
            None => topic::limit(&self.options).await.unwrap_or(usize::MAX),
            Some(limit) => limit,
        };
        let limit = limit.min(self.options.largest);
        self.limit.store(limit, Ordering::Relaxed);
        info!(topic = &*self.topic, brokers = self.options.brokers, partitions, largest = limit, "connected");
        // The producer decides how many records go into one batch, and a batch must be under the topic's limit as well. So a
        // lower limit needs a new producer.
        let producer = if limit < self.options.largest {
            let producer = start(limit.max(1_000))?;
            producer.metadata(client::QUESTION.into()).await?;
            producer.get_ready().await?;
            producer
        } else {
            producer
        };
        Ok(producer.over(partitions))
    }

    /// Logs the error with which records are refused, at most once in [`TELL_AGAIN`] for the same error.
    fn tell(&self, problem: &str) {
        let mut told = self.told.lock();
        let is_known = told.as_ref().is_some_and(|(at, known)| known == problem && at.elapsed() < TELL_AGAIN);
        if !is_known {
            warn!(topic = &*self.topic, brokers = self.options.brokers, "records are refused: {problem}");
            *told = Some((Instant::now(), problem.to_owned()));
        }
    }

    /// Drops the channel's producer, so that the next caller connects anew. Callers that still have the old one may finish with
    /// it.
    fn unlink(&self) {
        *self.producer.lock() = None;
    }

    /// Starts a task that looks at the topic, unless the last look was less than `at_least` ago. Does not wait for it.
    fn look_soon(self: &Arc<Self>, at_least: Duration) {
        let Ok(runtime) = Handle::try_current() else { return };
        {
            let looked = &mut self.looked.lock().0;
            if looked.is_some_and(|at| at.elapsed() < at_least) {
                return;
            }
            *looked = Some(Instant::now());
        }
        let shared = Arc::clone(self);
        runtime.spawn(async move { shared.look().await });
    }

    /// Asks the brokers for the topic's partitions and limit, and connects anew where they have changed. That also creates a
    /// topic that is gone, if the URL allows it.
    async fn look(self: Arc<Self>) {
        // When connecting fails, `link` has logged the problem.
        let Ok(producer) = self.link().await else { return };
        let Ok(metadata) = producer.metadata(client::QUESTION.into()).await else { return };
        let is_as_known = !self.is_lost(&producer, &metadata) && !self.is_limit_another().await;
        if !is_as_known {
            self.unlink();
            let _ = self.link().await;
        }
    }

    /// Returns whether the topic is gone, has fewer partitions or was created again. If so, notes a doubt and counts the loss.
    /// Added partitions are no loss: the others stay as they are.
    fn is_lost(&self, producer: &Producer, metadata: &Metadata) -> bool {
        let Ok(partitions) = topic::partitions(&self.options, metadata) else { return false };
        let is_lost = partitions.is_none_or(|partitions| partitions < producer.partitions());
        if !is_lost && !producer.finds_another_topic() {
            return false;
        }
        self.losses.fetch_add(1, Ordering::Relaxed);
        self.doubts.note(&self.topic, Doubt::TopicMadeAnew);
        true
    }

    async fn is_limit_another(&self) -> bool {
        let is_in_doubt = self.limit_is_in_doubt.swap(false, Ordering::Relaxed);
        {
            let looked = &mut self.looked.lock().1;
            if !is_in_doubt && looked.is_some_and(|at| at.elapsed() < LOOK_AT_LIMIT) {
                return false;
            }
            *looked = Some(Instant::now());
        }
        let limit = topic::limit(&self.options).await;
        limit.is_some_and(|limit| limit.min(self.options.largest) != self.limit.load(Ordering::Relaxed))
    }

    /// Returns whether this many partitions are all of the topic's, as far as is known.
    fn has_as_many(&self, partitions: usize) -> bool {
        self.producer.lock().as_ref().is_some_and(|producer| producer.partitions() <= partitions)
    }

    /// The topic's partitions that no member of the group has; `None` when the brokers do not answer.
    async fn unowned(self: Arc<Self>, group: String) -> Option<BTreeSet<i32>> {
        let producer = self.link().await.ok()?;
        let metadata = producer.metadata(client::QUESTION.into()).await.ok()?;
        let partitions = topic::partitions(&self.options, &metadata).ok()??;
        producer.unowned(group, partitions).await
    }

    async fn until_brokers_answer(self: &Arc<Self>) {
        // One task asks for all.
        let _turn = self.asking.lock().await;
        let mut failures = 0;
        while *self.health.lock() == Health::Down {
            if self.brokers_answer().await {
                *self.health.lock() = Health::Takes;
                return;
            }
            failures += 1;
            time::sleep(WAITS.after(failures)).await;
        }
    }

    async fn brokers_answer(self: &Arc<Self>) -> bool {
        let Ok(producer) = self.link().await else { return false };
        let metadata = producer.metadata(client::QUESTION.into()).await;
        let Ok(metadata) = metadata else { return false };
        if self.is_lost(&producer, &metadata) {
            self.unlink();
            return false;
        }
        topic::is_led(&self.options, &metadata)
    }

    /// Adds a member to those that [`KafkaChannel::lag`] reports.
    fn watch(&self, member: &BaseConsumer<Group>) {
        let mut members = self.members.lock();
        members.retain(|known| known.strong_count() > 0);
        members.push(Arc::downgrade(member.context()));
    }
}
