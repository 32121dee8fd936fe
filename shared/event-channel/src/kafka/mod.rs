//! The channel on Apache Kafka, by librdkafka: one producer a process, members of consumer groups, and the topic.
//!
//! Nothing is connected to before the first record is published or the first poll; then the topic is created if it is not
//! there, and how large a record may be is asked.

mod beginning;
mod client;
mod consumer;
mod group;
mod lanes;
#[cfg(feature = "kafka-tls")]
mod msk_iam;
mod options;
mod producer;
mod progress;
mod pulse;
mod record;
mod security;
mod topic;

use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::RDKafkaErrorCode;
use tokio::sync::{Mutex as Turn, Notify};
use tokio::time::{self, Instant};
use tracing::{info, warn};

pub(crate) use self::consumer::KafkaConsumer;
use self::group::Group;
use self::options::Options;
use self::producer::{Failure, Producer};
use crate::{ConsumerSettings, Lag, OpenError, PublishError, Receipt, Record};

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
    /// The producer, once the topic is known to be there. Held for moments only, and never across an await.
    producer: Mutex<Option<Producer>>,
    /// Held by whoever connects; what the last attempt failed with, and when.
    connecting: Turn<Option<(Instant, Arc<str>)>>,
    /// Held by whoever asks whether brokers answer again.
    asking: Turn<()>,
    mood: AtomicU8,
    /// What brokers last refused records with, and when that was logged.
    told: Mutex<Option<(Instant, String)>>,
    /// Wakes those who wait for records to be acknowledged.
    room: Arc<Notify>,
    /// The members of groups in this process.
    members: Mutex<Vec<Weak<Group>>>,
}

/// What became of the last run, as a number: [`AtomicU8`] holds no enum.
mod mood {
    pub(super) const TAKES: u8 = 0;
    pub(super) const IS_FULL: u8 = 1;
    pub(super) const IS_DOWN: u8 = 2;
}

/// How long a missed wake-up can cost someone who waits for room.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// How long one call waits for brokers that are down, and how often it asks.
const PATIENCE: Duration = Duration::from_secs(30);
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(2);
/// How often a problem that lasts is logged.
const TELL_AGAIN: Duration = Duration::from_secs(60);

fn unavailable(problem: impl Into<Arc<str>>) -> PublishError {
    PublishError::Unavailable(problem.into())
}

impl KafkaChannel {
    /// Opens a channel as what follows `kafka:` says.
    pub(crate) fn open(url: &str) -> Result<Self, OpenError> {
        let options = Options::parse(url)?;
        let shared = Shared {
            topic: options.topic.as_str().into(),
            limit: AtomicUsize::new(options.largest),
            options,
            producer: Mutex::default(),
            connecting: Turn::default(),
            asking: Turn::default(),
            mood: AtomicU8::new(mood::TAKES),
            told: Mutex::default(),
            room: Arc::new(Notify::new()),
            members: Mutex::default(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    pub(crate) fn check(&self, record: &Record) -> Result<(), PublishError> {
        let (bytes, limit) = (record::size(record), self.largest());
        if bytes > limit { Err(PublishError::TooLarge { bytes, limit }) } else { Ok(()) }
    }

    pub(crate) fn largest(&self) -> usize {
        self.shared.limit.load(Ordering::Relaxed)
    }

    pub(crate) async fn prepare(&self) -> Result<(), PublishError> {
        self.shared.link().await.map(drop)
    }

    /// Sends a run in order, and returns when every record of it was acknowledged.
    pub(crate) async fn publish(&self, records: Vec<Record>) -> Result<Receipt, PublishError> {
        let producer = self.shared.link().await?;
        // All are looked at before any is sent: of a run with a record that never goes, nothing does.
        records.iter().try_for_each(|record| self.check(record))?;
        match producer.send(&records).await {
            Ok(()) => {
                self.shared.mood.store(mood::TAKES, Ordering::Relaxed);
                Ok(Receipt::Settled)
            }
            Err(failure) => Err(self.failed(&producer, failure, &records)),
        }
    }

    fn failed(&self, producer: &Producer, failure: Failure, records: &[Record]) -> PublishError {
        let shared = &self.shared;
        match failure {
            Failure::Full => {
                shared.mood.store(mood::IS_FULL, Ordering::Relaxed);
                PublishError::Full
            }
            Failure::Refused(RDKafkaErrorCode::MessageSizeTooLarge) => {
                // The topic's limit has changed: it is learned again.
                shared.unlink();
                let bytes = records.iter().map(record::size).max().unwrap_or_default();
                PublishError::TooLarge { bytes, limit: shared.limit.load(Ordering::Relaxed) }
            }
            Failure::Refused(code) => {
                if producer.is_broken() {
                    shared.unlink();
                }
                shared.mood.store(mood::IS_DOWN, Ordering::Relaxed);
                let problem = producer.explain(&code);
                shared.tell(&problem);
                unavailable(problem)
            }
        }
    }

    /// Waits, for a while, until what refused records last may take some again.
    pub(crate) async fn available(&self) {
        let shared = &self.shared;
        match shared.mood.load(Ordering::Relaxed) {
            mood::IS_FULL => {
                let _ = time::timeout(LOOK_AGAIN, shared.room.notified()).await;
            }
            mood::IS_DOWN => {
                let _ = time::timeout(PATIENCE, shared.until_brokers_answer()).await;
            }
            _ => {}
        }
    }

    /// A member of a group, which joins it with its first poll.
    pub(crate) fn subscribe(
        &self,
        group: &str,
        settings: ConsumerSettings,
        filter: impl Fn(Option<&[u8]>) -> bool + Send + Sync + 'static,
    ) -> Result<KafkaConsumer, OpenError> {
        if group.is_empty() {
            return Err(options::refused("a consumer group has no name".to_owned()));
        }
        Ok(KafkaConsumer::new(Arc::clone(&self.shared), group, settings, Box::new(filter)))
    }

    /// How far this process's members are behind in their partitions, as of two seconds ago at most.
    pub(crate) fn lag(&self) -> Vec<Lag> {
        let members: Vec<_> = locked(&self.shared.members).iter().filter_map(Weak::upgrade).collect();
        members.iter().flat_map(|member| member.lag()).collect()
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every change under these locks is one assignment, so a panic elsewhere left nothing half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// The producer of a topic that is there. Connects when that was not done.
    async fn link(self: &Arc<Self>) -> Result<Producer, PublishError> {
        if let Some(producer) = &*locked(&self.producer) {
            return Ok(producer.clone());
        }
        // A task, so that a caller who gives up does not stop it: what it finds is found by the next.
        let connecting = tokio::spawn(Arc::clone(self).connect(Instant::now()));
        match connecting.await {
            Ok(Ok(producer)) => Ok(producer),
            Ok(Err(problem)) => {
                self.mood.store(mood::IS_DOWN, Ordering::Relaxed);
                Err(unavailable(problem))
            }
            Err(error) => Err(unavailable(error.to_string())),
        }
    }

    /// Connects for whoever asked at `since`; of those who wait for their turn meanwhile, none tries again what has just failed.
    async fn connect(self: Arc<Self>, since: Instant) -> Result<Producer, Arc<str>> {
        let mut last = self.connecting.lock().await;
        if let Some(producer) = &*locked(&self.producer) {
            return Ok(producer.clone());
        }
        if let Some((at, problem)) = &*last
            && *at >= since
        {
            return Err(Arc::clone(problem));
        }
        match self.try_to_connect().await {
            Ok(producer) => {
                *locked(&self.producer) = Some(producer.clone());
                *last = None;
                Ok(producer)
            }
            Err(problem) => {
                let problem: Arc<str> = problem.into();
                // Once for each problem, however often it is tried.
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
            let producer = Producer::start(&self.options, limit, Arc::clone(&self.room));
            producer.map_err(|error| error.to_string())
        };
        let producer = start(self.options.largest)?;
        let topic = topic::ensure(&self.options, &producer).await?;
        let limit = topic.limit.map_or(self.options.largest, |limit| limit.min(self.options.largest));
        self.limit.store(limit, Ordering::Relaxed);
        info!(
            topic = &*self.topic,
            brokers = self.options.brokers,
            partitions = topic.partitions,
            largest = limit,
            "connected"
        );
        // What goes into one batch is decided by the producer, and a batch must be under the topic's limit as well.
        let producer = if limit < self.options.largest {
            let producer = start(limit.max(1_000))?;
            producer.metadata(topic::QUESTION.into()).await?;
            producer
        } else {
            producer
        };
        producer.get_ready().await?;
        Ok(producer.over(topic.partitions))
    }

    /// Logs what records are refused with: once a while, however many that are.
    fn tell(&self, problem: &str) {
        let mut told = locked(&self.told);
        let is_known = told.as_ref().is_some_and(|(at, known)| known == problem && at.elapsed() < TELL_AGAIN);
        if !is_known {
            warn!(topic = &*self.topic, brokers = self.options.brokers, "records are refused: {problem}");
            *told = Some((Instant::now(), problem.to_owned()));
        }
    }

    /// The next to need the producer connects anew. Whoever has it still may finish with it.
    fn unlink(&self) {
        *locked(&self.producer) = None;
    }

    async fn until_brokers_answer(self: &Arc<Self>) {
        // One asks for all.
        let _turn = self.asking.lock().await;
        let mut wait = FIRST_WAIT;
        while self.mood.load(Ordering::Relaxed) == mood::IS_DOWN {
            if self.brokers_answer().await {
                self.mood.store(mood::TAKES, Ordering::Relaxed);
                return;
            }
            time::sleep(wait).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    async fn brokers_answer(self: &Arc<Self>) -> bool {
        let Ok(producer) = self.link().await else { return false };
        let metadata = producer.metadata(topic::QUESTION.into()).await;
        metadata.is_ok_and(|metadata| topic::is_led(&self.options, &metadata))
    }

    /// Keeps an eye on a member for [`KafkaChannel::lag`].
    fn watch(&self, member: &BaseConsumer<Group>) {
        let mut members = locked(&self.members);
        members.retain(|known| known.strong_count() > 0);
        members.push(Arc::downgrade(member.context()));
    }
}
