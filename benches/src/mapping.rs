//! An event source mapping between a real Kafka and a function in this process: `benches mapping`. It knows the library alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::Args;
use event_channel::{EventChannel, PublishError, Record};
use event_source_mapping::event::{BatchResponse, KafkaEvent};
use event_source_mapping::{ChannelSource, FilterCriteria, InProcessTarget, Mapping, NO_WINDOW, run};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use crate::args::Common;
use crate::table::{Table, median};
use crate::template;

const PATIENCE: Duration = Duration::from_secs(300);
/// The number of records that are published at once.
const RUN: usize = 1_000;
/// The lowest number of records a second that a mapping must pass on, with batches of 1,000 or more.
const LEAST: f64 = 20_000.0;
const LEAST_BATCH: usize = 1_000;
/// The longest time for reading a template of 2 MB with 500 resources, in milliseconds.
const LONGEST_READING: f64 = 100.0;

#[derive(Args)]
pub(crate) struct MappingArgs {
    #[command(flatten)]
    pub(crate) common: Common,

    /// The broker, by default that of `deploy/services up kafka`; a topic is made there and deleted
    #[arg(long, env = "TEST_KAFKA", value_name = "URL", default_value = "kafka://127.0.0.1:29092")]
    kafka: String,

    /// How many records
    #[arg(long, value_name = "N", default_value_t = 200_000, value_parser = clap::value_parser!(u64).range(1..))]
    records: u64,

    /// How many bytes each value has
    #[arg(long, value_name = "N", default_value_t = 200)]
    bytes: usize,

    /// How many records a batch has at most
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    batch_size: usize,

    /// How often the topic is read, each time by a new group; the median counts
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
}

/// The counts of the function.
#[derive(Default)]
struct Counted {
    records: AtomicU64,
    bytes: AtomicU64,
    invocations: AtomicU64,
    changed: Notify,
}

pub(crate) async fn measure(args: &MappingArgs) -> anyhow::Result<Table> {
    let brokers = args.kafka.strip_prefix("kafka://").context("--kafka is kafka://HOST:PORT")?;
    let brokers = brokers.split(['/', '?']).next().unwrap_or_default();
    let topic = format!("benches.mapping.{}", jiff::Timestamp::now().as_millisecond());
    let channel = EventChannel::open(format!("kafka://{brokers}/{topic}?partitions=8&replication=1"))?;
    let measured = measure_on(&channel, args).await;
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", brokers).create()?;
    admin.delete_topics(&[&topic], &AdminOptions::new()).await?;
    measured
}

async fn measure_on(channel: &EventChannel, args: &MappingArgs) -> anyhow::Result<Table> {
    publish(channel, args).await?;
    let (mut plain, mut filtered, mut with_json, mut batches) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for round in 0..args.rounds {
        plain.push(read(channel, args, &format!("plain-{round}"), Work::Count, &mut batches).await?);
        filtered.push(read(channel, args, &format!("filter-{round}"), Work::Filter, &mut batches).await?);
        with_json.push(read(channel, args, &format!("json-{round}"), Work::Json, &mut batches).await?);
    }
    let mut table = Table::new(format!(
        "Event source mapping from Kafka into this process, {} records of {} bytes, batches of {}",
        args.records, args.bytes, args.batch_size
    ));
    let plain = median(plain);
    table.alone("read, invoked and committed", plain, "records/s");
    table.alone("the same, with a filter on a field of each JSON value", median(filtered), "records/s");
    table.alone(
        "without the filter, and each event written and read as JSON",
        median(with_json),
        "records/s",
    );
    table.alone("records in a batch", median(batches), "records");
    let reading = template::measure()?;
    table.alone("a template of 2 MB with 500 resources is read", reading, "ms");
    if reading > LONGEST_READING {
        table.failed(format!("a template took {reading:.0} ms to be read; {LONGEST_READING} is the most"));
    }
    if args.batch_size >= LEAST_BATCH && plain < LEAST {
        table.failed(format!("{plain:.0} records/s were passed on; {LEAST} is the least"));
    }
    Ok(table)
}

async fn publish(channel: &EventChannel, args: &MappingArgs) -> anyhow::Result<()> {
    let (head, tail) = (format!(r#"{{"{FIELD}":"{TEXT}","rest":""#), r#""}"#);
    let rest = args.bytes.saturating_sub(head.len() + tail.len());
    let value = bytes::Bytes::from(format!("{head}{}{tail}", "x".repeat(rest)));
    let record = |number: u64| Record {
        key: Some(format!("key-{}", number % 1_000).into()),
        value: Some(value.clone()),
        headers: Vec::new(),
    };
    let mut published = 0;
    while published < args.records {
        let next = args.records.min(published + RUN as u64);
        match channel.publish((published..next).map(record).collect()).await {
            Ok(_) => published = next,
            Err(PublishError::Full) => channel.available().await,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// A field of each value, and its text.
const FIELD: &str = "type";
const TEXT: &str = "TaskOpened";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Work {
    Count,
    Filter,
    Json,
}

/// Returns the records a second, from the first records that the function took to the last one.
async fn read(
    channel: &EventChannel,
    args: &MappingArgs,
    group: &str,
    work: Work,
    batches: &mut Vec<f64>,
) -> anyhow::Result<f64> {
    let counted = Arc::new(Counted::default());
    let is_filtered = work == Work::Filter;
    let filter = if is_filtered { FilterCriteria::field_is(FIELD, TEXT) } else { FilterCriteria::default() };
    let source = ChannelSource::new(channel.subscribe(group, |_| true)?);
    let counts = Arc::clone(&counted);
    let target = InProcessTarget::new(move |event, _| {
        let counts = Arc::clone(&counts);
        async move { counts.take(&event, work) }
    });
    let mapping = Mapping {
        batch_size: args.batch_size,
        window: NO_WINDOW,
        concurrency: 4,
        filter,
        ..Mapping::new("bench")
    };
    let (stop, stopped) = watch::channel(false);
    let running = tokio::spawn(run(mapping, source, target, stopped));
    // Joining a group takes seconds, and is not part of the measurement.
    timeout(PATIENCE, counted.until(1)).await.context("nothing was read")?;
    let (began, before) = (Instant::now(), counted.records.load(Ordering::Relaxed));
    timeout(PATIENCE, counted.until(args.records)).await.context("not everything was read")?;
    let took = began.elapsed();
    stop.send_replace(true);
    running.await??;
    let taken = counted.records.load(Ordering::Relaxed);
    ensure!(taken == args.records, "{taken} records were taken, and {} were there", args.records);
    batches.push(taken as f64 / counted.invocations.load(Ordering::Relaxed) as f64);
    Ok((taken - before) as f64 / took.as_secs_f64())
}

impl Counted {
    fn take(&self, event: &KafkaEvent, work: Work) -> Result<BatchResponse, serde_json::Error> {
        let records = match work {
            Work::Count | Work::Filter => records(event),
            Work::Json => records(&serde_json::from_slice(&serde_json::to_vec(event)?)?),
        };
        self.bytes.fetch_add(records.1, Ordering::Relaxed);
        self.records.fetch_add(records.0, Ordering::Relaxed);
        self.invocations.fetch_add(1, Ordering::Relaxed);
        self.changed.notify_waiters();
        Ok(BatchResponse::default())
    }

    async fn until(&self, records: u64) {
        loop {
            let changed = self.changed.notified();
            if self.records.load(Ordering::Relaxed) >= records {
                return;
            }
            changed.await;
        }
    }
}

/// Returns the number of records, and the bytes of their values.
fn records(event: &KafkaEvent) -> (u64, u64) {
    let all = event.records.values().flatten();
    all.fold((0, 0), |(records, bytes), record| {
        (records + 1, bytes + record.value.as_ref().map_or(0, |value| value.len() as u64))
    })
}
