//! The event channel: publishes and delivers records. Each has a key, a value and headers. Knows nothing of orders.
//!
//! Records with the same key keep their order. The key chooses the partition, as in Kafka's default partitioner (murmur2), and
//! each consumer group reads a partition in order. Records that a group has not committed are delivered again.

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
    /// The headers, in order. Several may have the same name.
    pub headers: Vec<Header>,
}

/// A header of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The header's name.
    pub name: Cow<'static, str>,
    /// The header's value: any bytes.
    pub value: Option<Bytes>,
}

/// A record as a consumer gets it.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The topic of the record.
    pub topic: Arc<str>,
    /// The partition, from 0.
    pub partition: i32,
    /// The offset in the partition, from 0, the same for every group. It rises. A group sees gaps where its filter refused a
    /// record (in memory) or where the broker keeps markers of its own (Kafka).
    pub offset: i64,
    /// The time of publication: milliseconds since 1970.
    pub timestamp: i64,
    /// The clock that set the timestamp.
    pub timestamp_type: TimestampType,
    /// The record itself.
    pub record: Arc<Record>,
}

/// The clock that sets a record's timestamp.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimestampType {
    /// The producer's clock.
    #[default]
    CreateTime,
    /// The broker's clock, when the topic has `message.timestamp.type=LogAppendTime`.
    LogAppendTime,
}

/// The place where a consumer group begins in partitions in which it has committed nothing yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Beginning {
    /// With the oldest record.
    #[default]
    Oldest,
    /// With the first record that is published from now on.
    Newest,
    /// With the first record that has this timestamp or a later one: milliseconds since 1970.
    At(i64),
}

/// The settings of a consumer group's member. By default its group begins with the oldest record, and brokers gather no records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConsumerSettings {
    /// The place where a new group begins.
    pub beginning: Beginning,
    /// The longest time for which brokers gather records while they have fewer than 64 KB. With zero they hand over each record
    /// at once; then every published record costs them an answer and another request. In memory it changes nothing.
    pub gather: Duration,
}

/// The result of a poll. It has at least one record or one revoked partition.
#[derive(Clone, Debug, Default)]
pub struct PollResult {
    /// Partitions that are another member's from now on. That member may get the records of earlier polls again, and a commit of
    /// them here is ignored. Revocations come before the deliveries. A partition that comes back is not paused.
    pub revoked: Vec<i32>,
    /// The records, in order within each partition.
    pub deliveries: Vec<Delivery>,
}

/// The lag of a group in a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lag {
    /// The consumer group.
    pub group: String,
    /// The partition.
    pub partition: i32,
    /// The number of records that are published and not yet committed by the group. `None` when no member of the group reads the
    /// partition, because the number is unknown then.
    pub records: Option<u64>,
}

/// The reason why records may have been missed: published, acknowledged, and never delivered to a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Doubt {
    /// A group's position was invalid: the records after it are gone, or never were there.
    #[error("a position of the group is out of range")]
    OffsetReset,
    /// A group has no position in a partition: the group is new, or the topic is new, or the brokers have forgotten the position.
    #[error("the group has no position")]
    NoPosition,
    /// The topic is gone, or was replaced by another one of the same name.
    #[error("the topic is gone or was made anew")]
    TopicMadeAnew,
    /// No member of a group read a partition for longer than a rebalance takes.
    #[error("nobody of the group read a partition")]
    PartitionUnowned,
}

/// The reason why a channel can't be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// This program knows no channel with the URL's scheme.
    #[error("the channel {url:?} has an unknown scheme; allowed: {allowed}")]
    UnknownScheme {
        /// The URL.
        url: SecretUrl,
        /// The schemes that are allowed.
        allowed: String,
    },
    /// The scheme is known, but the rest of the URL can't be used.
    #[error("the channel can't be opened: {0}")]
    Refused(String),
}

/// The reason why a run of records was not published as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PublishError {
    /// A partition is full (in memory), or too many records of this process wait for brokers (Kafka). In memory no record of the
    /// run was taken. On Kafka its first records may have been taken; they come twice when the run is published again.
    #[error("the channel is full")]
    Full,
    /// A record is larger than the channel's limit, so it can never be published.
    #[error("a record of {bytes} bytes is over the channel's limit of {limit}")]
    TooLarge {
        /// The record's size.
        bytes: usize,
        /// The channel's limit.
        limit: usize,
    },
    /// The channel can't be reached. Some records of the run may have arrived.
    #[error("the channel is not available: {0}")]
    Unavailable(Arc<str>),
}

/// A channel. The scheme of its URL chooses the variant. Cheap to clone.
#[derive(Clone)]
pub enum EventChannel {
    /// In this process: `memory:`, optionally `memory:?partitions=8&capacity=1024&topic=events`. The capacity is the number of
    /// records that one group may leave uncommitted in one partition.
    #[cfg(feature = "embedded")]
    InMemory(in_memory::InMemoryChannel),
    /// On Apache Kafka: `kafka://host:port,host:port/topic`. The channel creates a missing topic with `?partitions=8` and
    /// `&replication=N` (default: the brokers' own). With `?create=false` it waits for the topic instead. An existing topic keeps
    /// its partitions.
    ///
    /// More options: `&delivery_timeout_ms=8000`, `&session_timeout_ms=6000`, `&largest=1000000` (bytes of a record; less where
    /// the topic's `max.message.bytes` is less), `&group_prefix=TEXT`, `&client_id=TEXT`.
    ///
    /// Security: `&security=plaintext|tls|sasl_plaintext|sasl_tls`, `&ca=FILE` (default: the system's certificates).
    ///
    /// Login: `user:password@` before the hosts, in percent-encoding, with `&mechanism=PLAIN|SCRAM-SHA-256|SCRAM-SHA-512`. The
    /// default mechanism is SCRAM-SHA-512. With a login, TLS is the default.
    ///
    /// AWS IAM: `&mechanism=AWS_MSK_IAM&region=REGION`. The channel signs with the environment's credentials, and the topic must
    /// exist. With the feature `msk-admin` it signs with the credentials of the process's role, and creates the topic.
    #[cfg(feature = "kafka")]
    Kafka(kafka::KafkaChannel),
}

/// The receipt for records that the channel has accepted.
pub enum Receipt {
    /// In memory: every group still has to commit the records.
    #[cfg(feature = "embedded")]
    InMemory(in_memory::InMemoryReceipt),
    /// Nothing more is to come: the brokers have acknowledged the records, or no group in memory wanted them.
    Settled,
}

impl Receipt {
    /// Waits until the channel can't lose the records any more: in memory, until every group has committed them. Returns `false`
    /// when the channel was closed before that.
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
    /// A member on an in-memory channel.
    #[cfg(feature = "embedded")]
    InMemory(in_memory::InMemoryConsumer),
    /// A member on Kafka.
    #[cfg(feature = "kafka")]
    Kafka(kafka::KafkaConsumer),
}

impl EventChannel {
    /// Opens the channel that the URL names. On Kafka it connects later, with the first use.
    ///
    /// # Errors
    /// [`OpenError`] when the scheme is unknown or the rest of the URL can't be used.
    pub fn open(url: impl Into<SecretUrl>) -> Result<Self, OpenError> {
        Self::open_part(url, None)
    }

    /// Opens the channel as [`EventChannel::open`] does, on a topic of its own for this part of an application: the URL's topic,
    /// a dot and the part's name. Without a part it is the URL's topic.
    ///
    /// # Errors
    /// As [`EventChannel::open`], and when the topic's name gets too long.
    pub fn open_part(url: impl Into<SecretUrl>, part: Option<&str>) -> Result<Self, OpenError> {
        let url = url.into();
        let opened = match url.expose().split_once(':') {
            #[cfg(feature = "embedded")]
            Some(("memory", options)) => in_memory::InMemoryChannel::open(options, part).map(Self::InMemory),
            #[cfg(feature = "kafka")]
            Some(("kafka", rest)) => {
                url.check().map_err(|problem| OpenError::Refused(format!("kafka: {problem}")))?;
                kafka::KafkaChannel::open(rest, part).map(Self::Kafka)
            }
            _ => return Err(OpenError::UnknownScheme { url, allowed: SCHEMES.join(", ") }),
        };
        // The error may quote a part of the URL, so the URL's secrets are removed from it.
        opened.map_err(|error| match error {
            OpenError::Refused(problem) => OpenError::Refused(url.scrub(&problem)),
            error => error,
        })
    }

    /// Checks that the channel takes a record of this size at all, so that a command is refused before its events are stored. It
    /// uses the limit known so far: the first connection learns the broker's own limit. In memory every record is taken.
    ///
    /// # Errors
    /// [`PublishError::TooLarge`] when the record is over the limit.
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

    /// The size in bytes of the largest record that the channel takes, as far as is known; `None` means any size.
    /// [`EventChannel::check`] uses this limit.
    #[must_use]
    pub fn largest(&self) -> Option<usize> {
        match self {
            #[cfg(feature = "embedded")]
            Self::InMemory(_) => None,
            #[cfg(feature = "kafka")]
            Self::Kafka(channel) => Some(channel.largest()),
        }
    }

    /// Connects, and creates a topic that is not there. Without this call, the first record or the first poll does so.
    ///
    /// # Errors
    /// When the channel is not available, or the topic does not exist and may not be created.
    pub async fn prepare(&self) -> Result<(), PublishError> {
        match self {
            #[cfg(feature = "embedded")]
            Self::InMemory(_) => Ok(()),
            #[cfg(feature = "kafka")]
            Self::Kafka(channel) => channel.prepare().await,
        }
    }

    /// Publishes a run of records, in order, and returns when the channel has accepted all of them. In memory, that is when they
    /// are in their partitions' queues: all or none, at once. On Kafka, that is when the brokers have acknowledged each record.
    ///
    /// In memory an empty queue takes a run of more records than its capacity, so that no run is refused for ever.
    ///
    /// # Errors
    /// [`PublishError`]. The caller must then publish the run again from its first record, before any later record of the same
    /// key.
    pub async fn publish(&self, records: Vec<Record>) -> Result<Receipt, PublishError> {
        match self {
            #[cfg(feature = "embedded")]
            Self::InMemory(channel) => channel.publish(records),
            #[cfg(feature = "kafka")]
            Self::Kafka(channel) => channel.publish(records).await,
        }
    }

    /// Waits until a channel that refused records may take some again. It may still refuse the same records, so publish in a
    /// loop. Returns at once when there has been room since the last refusal.
    pub async fn available(&self) {
        match self {
            #[cfg(feature = "embedded")]
            Self::InMemory(channel) => channel.available().await,
            #[cfg(feature = "kafka")]
            Self::Kafka(channel) => channel.available().await,
        }
    }

    /// Joins a consumer group. It gets only the records for whose value `filter` returns `true`. A group whose consumer is
    /// dropped keeps its position: the next member gets the records that were not committed.
    ///
    /// In memory a group has one member, and must be joined before records are published. On Kafka the members share the
    /// partitions, the first poll joins the group, and the group begins with the oldest record.
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

    /// Joins a consumer group as [`EventChannel::subscribe`] does, with settings.
    ///
    /// On Kafka the first poll decides for good where the group begins. So no record is skipped because a member died before its
    /// first commit. A partition that the topic gets later is read from its oldest record. In memory a group begins when it
    /// joins, whatever the settings say.
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

    /// Starts another look at the topic, if the topic can change: whether it is there, its partitions, its limit. A topic that is
    /// gone is created again where that is allowed.
    ///
    /// Does not wait for the look. Many calls in a short time cause one look. Meant to be called now and then.
    pub fn look_again(&self) {
        match self {
            #[cfg(feature = "embedded")]
            Self::InMemory(_) => {}
            #[cfg(feature = "kafka")]
            Self::Kafka(channel) => channel.look_again(),
        }
    }

    /// Waits until records may have been missed, and returns the reason. Several doubts at the same time are returned as one. In
    /// memory there are none, so this never returns. Cancel safe. Each doubt is returned once, to one caller.
    pub async fn doubted(&self) -> Doubt {
        match self {
            #[cfg(feature = "embedded")]
            Self::InMemory(_) => std::future::pending().await,
            #[cfg(feature = "kafka")]
            Self::Kafka(channel) => channel.doubted().await,
        }
    }

    /// The lag of each group, as far as this process knows it.
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
    /// Returns whether the member keeps its partitions when it does not poll for any length of time.
    #[must_use]
    pub const fn can_be_left(&self) -> bool {
        match self {
            #[cfg(feature = "embedded")]
            Self::InMemory(_) => true,
            #[cfg(feature = "kafka")]
            Self::Kafka(_) => false,
        }
    }

    /// The topic of all records that this member takes.
    #[must_use]
    pub fn topic(&self) -> &Arc<str> {
        match self {
            #[cfg(feature = "embedded")]
            Self::InMemory(consumer) => consumer.topic(),
            #[cfg(feature = "kafka")]
            Self::Kafka(consumer) => consumer.topic(),
        }
    }

    /// Waits for records and takes up to `limit` of them, in order within each partition, from partitions that are not paused.
    /// Cancel safe: after a dropped call, the next one takes the records.
    ///
    /// # Errors
    /// When the channel is closed or not available.
    pub async fn poll(&mut self, limit: usize) -> Result<PollResult, PublishError> {
        match self {
            #[cfg(feature = "embedded")]
            Self::InMemory(consumer) => consumer.poll(limit).await,
            #[cfg(feature = "kafka")]
            Self::Kafka(consumer) => consumer.poll(limit).await,
        }
    }

    /// Marks everything in a partition before this offset as processed. A commit for another member's partition is ignored.
    ///
    /// On Kafka this call does not wait for the brokers. The commit goes within a tenth of a second, together with others. When
    /// the brokers refuse it, the next call returns the error, and the commit is sent again.
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

    /// Pauses a partition: polls take no more of its records until it is resumed.
    pub fn pause(&mut self, partition: i32) {
        match self {
            #[cfg(feature = "embedded")]
            Self::InMemory(consumer) => consumer.pause(partition),
            #[cfg(feature = "kafka")]
            Self::Kafka(consumer) => consumer.pause(partition),
        }
    }

    /// Resumes a paused partition.
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
