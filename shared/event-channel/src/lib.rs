//! The event channel: records in and out, each with a key, a value and headers. Knows nothing of orders.
//!
//! Records with the same key keep their order: a partition is chosen by key, as Kafka's default partitioner does
//! (murmur2), and each consumer group reads a partition in order. What a group has not committed is delivered again.

#[cfg(feature = "embedded")]
mod in_memory;
#[cfg(feature = "kafka")]
mod kafka;
#[cfg(any(feature = "embedded", feature = "kafka"))]
mod partition;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use runtime::SecretUrl;
use thiserror::Error;

/// A record to publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Chooses the partition; records with the same key keep their order.
    pub key: Option<Bytes>,
    /// The content; `None` is Kafka's tombstone.
    pub value: Option<Bytes>,
    /// Names and values, in order; a name may come more than once.
    pub headers: Vec<Header>,
}

/// A header of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Its name.
    pub name: Cow<'static, str>,
    /// Its value, any bytes.
    pub value: Option<Bytes>,
}

/// A record as a consumer gets it.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition, from 0.
    pub partition: i32,
    /// The place in the partition, from 0, the same for every group. Rising; a group sees gaps where its filter refused a
    /// record (in memory) or where the broker keeps marks of its own (Kafka).
    pub offset: i64,
    /// When it was published: milliseconds since 1970.
    pub timestamp: i64,
    /// Who says so.
    pub timestamp_type: TimestampType,
    /// The record.
    pub record: Arc<Record>,
}

/// Who set a record's timestamp.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimestampType {
    /// The producer.
    #[default]
    CreateTime,
    /// The broker, where the topic has `message.timestamp.type=LogAppendTime`.
    LogAppendTime,
}

/// Where a consumer group begins in partitions of which it has committed nothing yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Beginning {
    /// With the oldest record.
    #[default]
    Oldest,
    /// With what is published from now on.
    Newest,
    /// With the first record whose timestamp is this or later: milliseconds since 1970.
    At(i64),
}

/// How a member of a consumer group is served. By default its group begins with the oldest record, and it waits for nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConsumerSettings {
    /// Where the group begins, if it is new.
    pub beginning: Beginning,
    /// How long brokers gather records before they hand over fewer than 64 KB. With zero they hand over whatever comes at once, and
    /// each record that is published costs them an answer and another question. In memory it changes nothing.
    pub gather: Duration,
}

/// What a poll found. Never nothing at all.
#[derive(Clone, Debug, Default)]
pub struct Polled {
    /// Partitions that are another member's from now on: what was taken from them before may come again there, and commits of
    /// it are passed over. They come before the deliveries. A partition that comes back is not paused.
    pub revoked: Vec<i32>,
    /// The records, in order within each partition.
    pub deliveries: Vec<Delivery>,
}

/// How far a group is behind in a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lag {
    /// The consumer group.
    pub group: String,
    /// The partition.
    pub partition: i32,
    /// Records published and not yet committed by the group; none where that is not known, because nobody of the group reads the
    /// partition.
    pub records: Option<u64>,
}

/// Why records may have been missed: published, acknowledged, and never delivered to a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Doubt {
    /// A group's position was of no use any more: what came after it is gone, or never was.
    #[error("a position of the group is out of range")]
    OffsetReset,
    /// A group has no position in a partition: it is new, or its topic is, or brokers have forgotten.
    #[error("the group has no position")]
    NoPosition,
    /// The topic is gone, or is another of the same name.
    #[error("the topic is gone or was made anew")]
    TopicMadeAnew,
    /// Nobody of a group read a partition for longer than a rebalance takes.
    #[error("nobody of the group read a partition")]
    PartitionUnowned,
}

/// A channel can't be opened as its URL says.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The URL's scheme is none that this program has.
    #[error("the channel {url:?} has an unknown scheme; allowed: {allowed}")]
    UnknownScheme {
        /// The URL.
        url: SecretUrl,
        /// What would have been right.
        allowed: String,
    },
    /// The URL's scheme is known, but not what follows.
    #[error("the channel can't be opened: {0}")]
    Refused(String),
}

/// A run of records was not published, or not all of it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PublishError {
    /// A partition, or what this process may have on its way to brokers, is full. In memory nothing of the run was taken; on Kafka its
    /// beginning may have been, and comes twice when the run is published again.
    #[error("the channel is full")]
    Full,
    /// A record is larger than the channel takes; it never will be.
    #[error("a record of {bytes} bytes is over the channel's limit of {limit}")]
    TooLarge {
        /// The record's size.
        bytes: usize,
        /// The channel's limit.
        limit: usize,
    },
    /// The channel can't be reached. Some records may have arrived.
    #[error("the channel is not available: {0}")]
    Unavailable(Arc<str>),
}

/// A channel; the scheme of its URL chooses which. Cheap to clone.
#[derive(Clone)]
pub enum EventChannel {
    /// In this process: `memory:`, optionally `memory:?partitions=8&capacity=1024&topic=events`. The capacity is how many
    /// records one group may leave uncommitted in one partition.
    #[cfg(feature = "embedded")]
    InMemory(in_memory::InMemoryChannel),
    /// On Apache Kafka: `kafka://host:port,host:port/topic`. A topic that is not there is created with `?partitions=8` and
    /// `&replication=N` (default: the brokers' own), or waited for with `?create=false`; one that is there keeps its
    /// partitions.
    ///
    /// Also `&delivery_timeout_ms=8000`, `&session_timeout_ms=6000`, `&largest=1000000` (bytes of a record; less where the
    /// topic's `max.message.bytes` is less), `&group_prefix=TEXT`, `&client_id=TEXT`.
    ///
    /// Security: `&security=plaintext|tls|sasl_plaintext|sasl_tls`, `&ca=FILE` (default: the system's certificates),
    /// `user:password@` before the hosts in percent-encoding with `&mechanism=PLAIN|SCRAM-SHA-256|SCRAM-SHA-512` (default
    /// SCRAM-SHA-512, and then TLS); or `&mechanism=AWS_MSK_IAM&region=REGION`, which signs with the environment's
    /// credentials, and for which the topic must be there; with the feature `msk-admin` with those of the process's role, and creates it.
    #[cfg(feature = "kafka")]
    Kafka(kafka::KafkaChannel),
}

/// Records that the channel has accepted.
pub enum Receipt {
    /// In memory, every group still has to commit them.
    #[cfg(feature = "embedded")]
    InMemory(in_memory::InMemoryReceipt),
    /// Nothing more is to come: the brokers have acknowledged them.
    Settled,
}

impl Receipt {
    /// Waits until the channel will not forget the records: in memory, until every group has committed them.
    /// `false` when that will never be, because the channel was closed before.
    pub async fn settled(self) -> bool {
        match self {
            #[cfg(feature = "embedded")]
            Self::InMemory(receipt) => receipt.settled().await,
            Self::Settled => true,
        }
    }
}

/// A member of a consumer group.
pub enum Consumer {
    /// Of an in-memory channel.
    #[cfg(feature = "embedded")]
    InMemory(in_memory::InMemoryConsumer),
    /// Of a channel on Kafka.
    #[cfg(feature = "kafka")]
    Kafka(kafka::KafkaConsumer),
}

impl EventChannel {
    /// Opens the channel that the URL names; brokers are connected to lazily.
    ///
    /// # Errors
    /// [`OpenError`] when the scheme is unknown or the rest of the URL can't be used.
    pub fn open(url: impl Into<SecretUrl>) -> Result<Self, OpenError> {
        let url = url.into();
        let opened = match url.expose().split_once(':') {
            #[cfg(feature = "embedded")]
            Some(("memory", options)) => in_memory::InMemoryChannel::open(options).map(Self::InMemory),
            #[cfg(feature = "kafka")]
            Some(("kafka", rest)) => {
                url.check().map_err(|problem| OpenError::Refused(format!("kafka: {problem}")))?;
                kafka::KafkaChannel::open(rest).map(Self::Kafka)
            }
            _ => return Err(OpenError::UnknownScheme { url, allowed: SCHEMES.join(", ") }),
        };
        // What is said of a part of the URL may quote it.
        opened.map_err(|error| match error {
            OpenError::Refused(problem) => OpenError::Refused(url.scrub(&problem)),
            error => error,
        })
    }

    /// Whether the channel takes a record of this size at all, so that a command is refused before its events are kept. As far as
    /// is known: a broker's own limit is learned with the first connection. In memory every record is taken.
    ///
    /// # Errors
    /// [`PublishError::TooLarge`].
    pub fn check(&self, record: &Record) -> Result<(), PublishError> {
        match self {
            #[cfg(feature = "embedded")]
            Self::InMemory(_) => {
                let _ = record;
                Ok(())
            }
            #[cfg(feature = "kafka")]
            Self::Kafka(channel) => channel.check(record),
        }
    }

    /// The largest record in bytes that the channel takes, as far as is known; `None` is any. What [`EventChannel::check`] goes by.
    #[must_use]
    pub fn largest(&self) -> Option<usize> {
        match self {
            #[cfg(feature = "embedded")]
            Self::InMemory(_) => None,
            #[cfg(feature = "kafka")]
            Self::Kafka(channel) => Some(channel.largest()),
        }
    }

    /// Connects, and creates a topic that is not there; otherwise that comes with the first record or the first poll.
    ///
    /// # Errors
    /// When the channel is not available, or there is no such topic and it may not be created.
    pub async fn prepare(&self) -> Result<(), PublishError> {
        match self {
            #[cfg(feature = "embedded")]
            Self::InMemory(_) => Ok(()),
            #[cfg(feature = "kafka")]
            Self::Kafka(channel) => channel.prepare().await,
        }
    }

    /// Publishes a run of records, in order, and returns when the channel has accepted all of them: in memory, when they are in
    /// their partitions' queues (all or none, at once); on Kafka, when the brokers have acknowledged each. In memory a run of
    /// more records than a queue's capacity is taken when that queue is empty, so that no run is refused for ever.
    ///
    /// # Errors
    /// [`PublishError`]; then the run is sent again from its first record before anything later of the same key.
    pub async fn publish(&self, records: Vec<Record>) -> Result<Receipt, PublishError> {
        match self {
            #[cfg(feature = "embedded")]
            Self::InMemory(channel) => channel.publish(records),
            #[cfg(feature = "kafka")]
            Self::Kafka(channel) => channel.publish(records).await,
        }
    }

    /// Waits until a channel that refused records may take some again; it may still refuse the same ones, so publish in a
    /// loop. Returns at once when there has been room since the last refusal.
    pub async fn available(&self) {
        match self {
            #[cfg(feature = "embedded")]
            Self::InMemory(channel) => channel.available().await,
            #[cfg(feature = "kafka")]
            Self::Kafka(channel) => channel.available().await,
        }
    }

    /// Joins a consumer group, which gets only records for whose value `filter` holds. A group whose consumer is dropped keeps its
    /// place: who joins next gets what was not committed.
    ///
    /// In memory a group has one member, and must be joined before records are published. On Kafka its members share the
    /// partitions, it is joined with the first poll, and it begins with the oldest record.
    ///
    /// # Errors
    /// [`OpenError::Refused`] when the group has a member already (in memory) or no name (on Kafka).
    pub fn subscribe(
        &self,
        group: &str,
        filter: impl Fn(Option<&[u8]>) -> bool + Send + Sync + 'static,
    ) -> Result<Consumer, OpenError> {
        self.subscribe_with(group, ConsumerSettings::default(), filter)
    }

    /// The same, and says how. Where a group begins is settled for good on Kafka with the first poll, and a partition that the topic
    /// gets later is read from its oldest record: nothing is passed over because a member died before its first commit. In memory a
    /// group begins when it joins, whatever is said here.
    ///
    /// # Errors
    /// As [`EventChannel::subscribe`].
    pub fn subscribe_with(
        &self,
        group: &str,
        settings: ConsumerSettings,
        filter: impl Fn(Option<&[u8]>) -> bool + Send + Sync + 'static,
    ) -> Result<Consumer, OpenError> {
        match self {
            #[cfg(feature = "embedded")]
            Self::InMemory(channel) => {
                let _ = settings;
                channel.subscribe(group, filter).map(Consumer::InMemory)
            }
            #[cfg(feature = "kafka")]
            Self::Kafka(channel) => channel.subscribe(group, settings, filter).map(Consumer::Kafka),
        }
    }

    /// Has it asked again what the topic is like, where that may change: whether it is there, its partitions, its limit. Not waited for,
    /// and within bounds however often it is called; for whoever comes by now and then. A topic that is gone is created again where that
    /// is allowed.
    pub fn look_again(&self) {
        match self {
            #[cfg(feature = "embedded")]
            Self::InMemory(_) => {}
            #[cfg(feature = "kafka")]
            Self::Kafka(channel) => channel.look_again(),
        }
    }

    /// Waits until records may have been missed, and says why; doubts that come together are told as one. In memory none are. Cancel
    /// safe. Each doubt is told once, to one.
    pub async fn doubted(&self) -> Doubt {
        match self {
            #[cfg(feature = "embedded")]
            Self::InMemory(_) => std::future::pending().await,
            #[cfg(feature = "kafka")]
            Self::Kafka(channel) => channel.doubted().await,
        }
    }

    /// How far each group is behind, where this process can tell.
    #[must_use]
    pub fn lag(&self) -> Vec<Lag> {
        match self {
            #[cfg(feature = "embedded")]
            Self::InMemory(channel) => channel.lag(),
            #[cfg(feature = "kafka")]
            Self::Kafka(channel) => channel.lag(),
        }
    }
}

impl Consumer {
    /// Whether the member keeps its partitions while it does not poll, however long that is.
    #[must_use]
    pub const fn can_be_left(&self) -> bool {
        match self {
            #[cfg(feature = "embedded")]
            Self::InMemory(_) => true,
            #[cfg(feature = "kafka")]
            Self::Kafka(_) => false,
        }
    }

    /// The topic of everything that it takes.
    #[must_use]
    pub fn topic(&self) -> &Arc<str> {
        match self {
            #[cfg(feature = "embedded")]
            Self::InMemory(consumer) => consumer.topic(),
            #[cfg(feature = "kafka")]
            Self::Kafka(consumer) => consumer.topic(),
        }
    }

    /// Waits for records and takes up to `limit` of them, in order within each partition, from partitions that are not
    /// paused. Cancel safe: what a dropped call would have taken is taken by the next.
    ///
    /// # Errors
    /// When the channel is closed or not available.
    pub async fn poll(&mut self, limit: usize) -> Result<Polled, PublishError> {
        match self {
            #[cfg(feature = "embedded")]
            Self::InMemory(consumer) => consumer.poll(limit).await,
            #[cfg(feature = "kafka")]
            Self::Kafka(consumer) => consumer.poll(limit).await,
        }
    }

    /// Everything of a partition before this offset is done with. On Kafka a commit goes together with all that is done within a
    /// tenth of a second, and is not waited for: one that the brokers refuse is the error of the next call, and is sent again.
    /// Of a partition that is another member's, a commit is passed over.
    ///
    /// # Errors
    /// When the channel is not available, or an earlier commit was refused; the records may come again then.
    pub async fn commit(&mut self, partition: i32, next_offset: i64) -> Result<(), PublishError> {
        match self {
            #[cfg(feature = "embedded")]
            Self::InMemory(consumer) => {
                consumer.commit(partition, next_offset);
                Ok(())
            }
            #[cfg(feature = "kafka")]
            Self::Kafka(consumer) => consumer.commit(partition, next_offset),
        }
    }

    /// Takes no more from a partition until it is resumed.
    pub fn pause(&mut self, partition: i32) {
        match self {
            #[cfg(feature = "embedded")]
            Self::InMemory(consumer) => consumer.pause(partition),
            #[cfg(feature = "kafka")]
            Self::Kafka(consumer) => consumer.pause(partition),
        }
    }

    /// Takes from a partition again.
    pub fn resume(&mut self, partition: i32) {
        match self {
            #[cfg(feature = "embedded")]
            Self::InMemory(consumer) => consumer.resume(partition),
            #[cfg(feature = "kafka")]
            Self::Kafka(consumer) => consumer.resume(partition),
        }
    }
}

const SCHEMES: &[&str] = &[
    #[cfg(feature = "embedded")]
    "memory:",
    #[cfg(feature = "kafka")]
    "kafka://host:port/topic",
];
