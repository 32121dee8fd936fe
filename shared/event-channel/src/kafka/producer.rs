//! Sends records to the brokers. A run is handed over in order, and records with different keys go at once. It is finished when
//! every record of it was acknowledged or failed.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use rdkafka::ClientContext;
use rdkafka::client::OAuthToken;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::metadata::Metadata;
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer as _, ProducerContext, ThreadedProducer};
use rdkafka::util::Timeout;
use runtime::{KillPoint, kill_point};
use tokio::sync::Notify;
use tokio::task;

use super::client::{self, Client};
use super::doubts::Doubts;
use super::lanes::Lanes;
use super::options::Options;
use super::ownership;
use super::record;
use super::run::{Run, RunFailure};
use crate::Record;

/// The most records that may wait for brokers in this process. More are refused, because their events are safe elsewhere.
const WAITING_RECORDS: &str = "100000";
const WAITING_KILOBYTES: &str = "32768";

/// The producer. Cheap to clone. Its threads end when the last clone is dropped.
#[derive(Clone)]
pub(super) struct Producer {
    inner: ThreadedProducer<DeliveryReports>,
    topic: Arc<str>,
    lanes: Arc<Lanes>,
}

impl Producer {
    /// Starts the producer's threads. It connects to brokers with the first question or record.
    pub(super) fn start(
        options: &Options,
        limit: usize,
        room: Arc<Notify>,
        doubts: &Arc<Doubts>,
    ) -> KafkaResult<Self> {
        let context = DeliveryReports { client: Client::new(options, doubts), room };
        let mut config = client::settings_with_identity(options);
        config
            // An acknowledged record is on every in-sync replica, once, and after all records that were sent before it.
            .set("acks", "all")
            .set("enable.idempotence", "true")
            .set("linger.ms", "0")
            .set("delivery.timeout.ms", options.delivery_timeout.as_millis().to_string())
            .set("message.max.bytes", limit.to_string())
            // A batch of several records is under the topic's limit too.
            .set("batch.size", limit.min(1_000_000).to_string())
            .set("queue.buffering.max.messages", WAITING_RECORDS)
            .set("queue.buffering.max.kbytes", WAITING_KILOBYTES);
        let inner = config.create_with_context(context)?;
        Ok(Self { inner, topic: options.topic.as_str().into(), lanes: Arc::new(Lanes::new(1)) })
    }

    /// Returns the same producer for a topic of this many partitions.
    pub(super) fn over(self, partitions: usize) -> Self {
        Self { lanes: Arc::new(Lanes::new(partitions)), ..self }
    }

    /// The number of partitions that the topic had at the start.
    pub(super) fn partitions(&self) -> usize {
        self.lanes.partitions()
    }

    /// Returns whether the topic's id has changed since the last call.
    pub(super) fn finds_another_topic(&self) -> bool {
        self.client().identity().take_change()
    }

    fn client(&self) -> &Client {
        &self.inner.client().context().client
    }

    /// The partitions that no member of a group has; `None` when the brokers do not answer.
    pub(super) async fn unowned(&self, group: String, partitions: usize) -> Option<BTreeSet<i32>> {
        let producer = self.clone();
        let asked = task::spawn_blocking(move || {
            let groups = producer.inner.client().fetch_group_list(Some(&group), client::QUESTION).ok()?;
            let members = groups.groups().iter().find(|known| known.name() == group)?.members();
            let mut unowned: BTreeSet<i32> = (0..i32::try_from(partitions).ok()?).collect();
            for assignment in members.iter().filter_map(|member| member.assignment()) {
                unowned.retain(|partition| {
                    !ownership::assigned(assignment, &producer.topic).contains(partition)
                });
            }
            Some(unowned)
        });
        asked.await.ok()?
    }

    /// Sends a run and waits until every record of it was acknowledged or failed, so that none of them arrives later.
    ///
    /// Guarantee: of the records with one key, the next is handed over after the one before it was acknowledged. librdkafka gives
    /// up a batch that is refused or too late, and goes on with the next. So with two batches on their way, brokers could take
    /// the second alone.
    pub(super) async fn send(&self, records: &[Record]) -> Result<(), RunFailure> {
        let lanes = self.lanes.of(records);
        let (mut records, mut lanes) = (records, &*lanes);
        while !records.is_empty() {
            let mut together = self.lanes.together(&lanes[..with_different_keys(records)]).await?;
            let now = together.records;
            self.send_at_once(&records[..now], &lanes[..now])
                .await
                .inspect_err(|failure| together.failed(*failure))?;
            (records, lanes) = (&records[now..], &lanes[now..]);
        }
        Ok(())
    }

    async fn send_at_once(&self, records: &[Record], lanes: &[usize]) -> Result<(), RunFailure> {
        let (run, settled) = Run::new();
        for (record, &lane) in records.iter().zip(lanes) {
            if let Err(error) = self.hand_over(record, lane, &run) {
                run.fail(&error);
                break;
            }
            kill_point(KillPoint::DuringPublish);
        }
        Run::let_go(run);
        // The last clone always settles the run, so this receive can't fail. If it did, the run would count as failed.
        match settled.await.unwrap_or(Some(RDKafkaErrorCode::Fail)) {
            None => {
                self.lanes.acknowledge(lanes);
                Ok(())
            }
            Some(RDKafkaErrorCode::QueueFull) => Err(RunFailure::Full),
            Some(code) => Err(RunFailure::Refused(code)),
        }
    }

    fn hand_over(&self, record: &Record, lane: usize, run: &Arc<Run>) -> KafkaResult<()> {
        let mut message: BaseRecord<'_, [u8], [u8], Arc<Run>> =
            BaseRecord::with_opaque_to(&self.topic, Arc::clone(run));
        message.partition = i32::try_from(lane).ok();
        message.key = record.key.as_deref();
        message.payload = record.value.as_deref();
        message.headers = record::headers(record);
        self.inner.send(message).map_err(|(error, _)| error)
    }

    /// Asks the brokers about the topic.
    pub(super) async fn metadata(&self, timeout: Timeout) -> Result<Metadata, String> {
        let producer = self.clone();
        let asked = task::spawn_blocking(move || {
            producer.inner.client().fetch_metadata(Some(&producer.topic), timeout)
        });
        match asked.await {
            Ok(Ok(metadata)) => Ok(metadata),
            Ok(Err(error)) => Err(self.explain(&error)),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Asks the brokers once more, through a producer that has already got an answer.
    ///
    /// The problem: librdkafka sends no record until a broker has given it a producer id. It asks for the id half a second after
    /// its start, or when a broker answers a question. The first answer comes over a connection that librdkafka then gives up. So
    /// a process's first record often waited for that half second.
    pub(super) async fn get_ready(&self) -> Result<(), String> {
        self.metadata(client::QUESTION.into()).await.map(drop)
    }

    /// Adds to a failure the last problem that was heard of the brokers.
    pub(super) fn explain(&self, error: &impl ToString) -> String {
        let trouble = self.client().take_trouble();
        let error = error.to_string();
        trouble.map_or_else(|| error.clone(), |trouble| format!("{error}: {trouble}"))
    }

    /// Returns whether this producer will never send again: after some errors librdkafka can't keep idempotence.
    pub(super) fn is_broken(&self) -> bool {
        self.inner.client().fatal_error().is_some()
    }
}

/// The number of records, from the first on, that have different keys.
fn with_different_keys(records: &[Record]) -> usize {
    let mut keys = HashSet::new();
    let again = records.iter().position(|record| record.key.as_ref().is_some_and(|key| !keys.insert(key)));
    again.unwrap_or(records.len())
}

/// The producer's context: takes the delivery report of each record.
struct DeliveryReports {
    client: Client,
    room: Arc<Notify>,
}

impl ClientContext for DeliveryReports {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.client.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.client.error(&error, reason);
    }

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        self.client.oauth_token()
    }
}

impl ProducerContext for DeliveryReports {
    type DeliveryOpaque = Arc<Run>;

    fn delivery(&self, delivery: &DeliveryResult<'_>, run: Arc<Run>) {
        if let Err((error, _)) = delivery {
            run.fail(error);
        }
        if Run::let_go(run) {
            self.room.notify_waiters();
        }
    }
}
