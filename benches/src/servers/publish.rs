//! Publishing to Kafka, against librdkafka with the same settings and the same records.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, bail};
use domain::{Aggregate, Order};
use event_channel::{EventChannel, Record};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::message::{Header as RawHeader, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{ClientContext, error::KafkaError};
use tokio::sync::oneshot;

use super::bench::Bench;
use super::commits::{Outbox, created};
use super::given::{Servers, fresh_name};
use super::rounds::{Numbers, medians, nothing, warm_rate};
use crate::table::Table;

/// The number of partitions, with which the channel creates its topic too.
const PARTITIONS: i32 = 8;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Contender {
    Ours,
    Raw,
}

pub(crate) async fn measure(bench: &Bench, callers: usize, table: &mut Table) -> anyhow::Result<()> {
    let rates = medians(bench.pace, &[Contender::Ours, Contender::Raw], async |contender| {
        let topic = Topic::fresh(&bench.servers).await?;
        let rate = match contender {
            Contender::Ours => ours(bench, callers, &topic).await?,
            Contender::Raw => raw(bench, callers, &topic).await?,
        };
        topic.remove().await?;
        Ok(rate)
    });
    let [ours, raw] = rates.await?[..] else { bail!("two contenders have two figures") };
    let at = if callers == 1 { "1 caller".to_owned() } else { format!("{callers} callers") };
    table.compared(format!("publish at {at} : rdkafka"), ours, raw, "a second");
    Ok(())
}

/// Returns the record of the event that a create makes, as the command handler makes it.
pub(crate) fn record(number: u64) -> anyhow::Result<Record> {
    let commit = created(number, Outbox::Unpublished)?;
    let (version, event) = commit.versioned().next().context("a commit has events")?;
    Ok(command_handler::record(Order::SOURCE, &commit, version, event))
}

async fn ours(bench: &Bench, callers: usize, topic: &Topic) -> anyhow::Result<f64> {
    let channel = EventChannel::open(&topic.url)?;
    let call = move |number| {
        let channel = channel.clone();
        async move {
            channel.publish(vec![record(number)?]).await?;
            Ok(())
        }
    };
    warm_rate(callers, bench.pace, &Numbers::endless(), call, nothing).await
}

async fn raw(bench: &Bench, callers: usize, topic: &Topic) -> anyhow::Result<f64> {
    let producer = Arc::new(RawProducer::start(&topic.brokers, &topic.name)?);
    let call = move |number| {
        let producer = Arc::clone(&producer);
        async move { producer.send(&record(number)?).await }
    };
    warm_rate(callers, bench.pace, &Numbers::endless(), call, nothing).await
}

/// librdkafka's producer with the settings of the channel's, each delivery awaited.
pub(crate) struct RawProducer {
    inner: ThreadedProducer<Deliveries>,
    topic: String,
}

struct Deliveries;

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Box<oneshot::Sender<Result<(), KafkaError>>>;

    fn delivery(&self, delivery: &DeliveryResult<'_>, told: Self::DeliveryOpaque) {
        // The caller that waited may have given up.
        let _ = told.send(delivery.as_ref().map(|_| ()).map_err(|(error, _)| error.clone()));
    }
}

impl RawProducer {
    pub(crate) fn start(brokers: &str, topic: &str) -> anyhow::Result<Self> {
        let mut config = settings(brokers);
        config
            .set("acks", "all")
            .set("enable.idempotence", "true")
            .set("linger.ms", "0")
            .set("delivery.timeout.ms", "8000")
            .set("message.max.bytes", "1000000")
            .set("batch.size", "1000000")
            .set("queue.buffering.max.messages", "100000")
            .set("queue.buffering.max.kbytes", "32768");
        Ok(Self { inner: config.create_with_context(Deliveries)?, topic: topic.to_owned() })
    }

    /// Sends a record and waits until the brokers have acknowledged it.
    pub(crate) async fn send(&self, record: &Record) -> anyhow::Result<()> {
        let (tell, told) = oneshot::channel();
        let mut headers = OwnedHeaders::new_with_capacity(record.headers.len());
        for header in &record.headers {
            headers = headers.insert(RawHeader { key: &header.name, value: header.value.as_deref() });
        }
        let mut message: BaseRecord<'_, [u8], [u8], _> =
            BaseRecord::with_opaque_to(&self.topic, Box::new(tell)).headers(headers);
        message.key = record.key.as_deref();
        message.payload = record.value.as_deref();
        self.inner.send(message).map_err(|(error, _)| error)?;
        Ok(told.await??)
    }
}

fn settings(brokers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", brokers)
        .set("allow.auto.create.topics", "false")
        .set("socket.keepalive.enable", "true")
        // The partitioner of the channel, which is that of every other client of Kafka.
        .set("partitioner", "murmur2");
    config
}

/// A topic that nobody else has.
pub(crate) struct Topic {
    /// The URL, as that of a channel.
    pub(crate) url: String,
    pub(crate) name: String,
    pub(crate) brokers: String,
    admin: AdminClient<DefaultClientContext>,
}

impl Topic {
    /// Returns the milliseconds that a new producer takes to connect and to send one record that all in-sync replicas acknowledge.
    /// It is not idempotent: librdkafka would ask for its producer id only after half a second.
    pub(crate) async fn connect_and_send(&self) -> anyhow::Result<f64> {
        let record = record(1)?;
        let began = Instant::now();
        let mut config = settings(&self.brokers);
        config.set("acks", "all").set("linger.ms", "0");
        let producer =
            RawProducer { inner: config.create_with_context(Deliveries)?, topic: self.name.clone() };
        producer.send(&record).await?;
        let time = began.elapsed().as_secs_f64() * 1e3;
        // Its end waits for its threads.
        tokio::task::spawn_blocking(move || drop(producer)).await?;
        Ok(time)
    }

    /// Creates the topic, and waits until every partition has a leader.
    pub(crate) async fn fresh(servers: &Servers) -> anyhow::Result<Self> {
        let (name, brokers) = (fresh_name(), servers.brokers()?.to_owned());
        let admin: AdminClient<DefaultClientContext> = settings(&brokers).create()?;
        let topic = NewTopic::new(&name, PARTITIONS, TopicReplication::Fixed(-1));
        let created = admin.create_topics([&topic], &AdminOptions::new()).await?;
        created
            .into_iter()
            .collect::<Result<Vec<_>, _>>()
            .map_err(|(name, code)| anyhow::anyhow!("the topic {name} was not created: {code}"))?;
        let topic = Self { url: servers.kafka(&name), name, brokers, admin };
        topic.wait_for_leaders().await?;
        Ok(topic)
    }

    async fn wait_for_leaders(&self) -> anyhow::Result<()> {
        let producer = Arc::new(RawProducer::start(&self.brokers, &self.name)?);
        let end = std::time::Instant::now() + super::bench::PATIENCE;
        while std::time::Instant::now() < end {
            let (asking, name) = (Arc::clone(&producer), self.name.clone());
            let asked =
                move || asking.inner.client().fetch_metadata(Some(&name), std::time::Duration::from_secs(5));
            let metadata = tokio::task::spawn_blocking(asked).await??;
            let led = metadata.topics().iter().any(|topic| {
                !topic.partitions().is_empty() && topic.partitions().iter().all(|part| part.leader() >= 0)
            });
            if led {
                return Ok(());
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        bail!("the topic {} has partitions without a leader", self.name)
    }

    /// Deletes the topic.
    pub(crate) async fn remove(self) -> anyhow::Result<()> {
        let deleted = self.admin.delete_topics(&[&self.name], &AdminOptions::new()).await?;
        for topic in deleted {
            topic.map_err(|(name, code)| anyhow::anyhow!("the topic {name} was not deleted: {code}"))?;
        }
        Ok(())
    }
}
