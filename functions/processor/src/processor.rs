//! Which events still need an outcome, their calls, and what comes again.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use command_handler::{CommandError, CommandHandler, CommandRequest, KeyOrigin, command_hash};
use domain::wire::{self, RecordedEvent};
use domain::{Command, CommandId, Event, Order, OrderId, OrderName, Version};
use event_source_mapping::event::{BatchItemFailure, BatchResponse, KafkaEvent, KafkaRecord};
use event_store::{Commit, Load, Metadata, StoreError, fold};
use futures_util::{StreamExt, stream};
use runtime::{KillPoint, kill_point};

use crate::fulfilment::{Answer, Asked, Fulfilment};

/// Kept free at the end of an invocation, so that an outcome that is known can still be appended.
const MARGIN: Duration = Duration::from_secs(2);

/// Fulfils orders and records each outcome.
#[derive(Clone)]
pub struct Processor {
    handler: CommandHandler,
    fulfilment: Fulfilment,
    concurrency: usize,
}

/// A ProcessingStarted and where it came from.
struct Started {
    partition: String,
    offset: i64,
    version: Version,
}

impl Processor {
    /// A processor that appends through this handler and fulfils `concurrency` orders at the same time.
    #[must_use]
    pub fn new(handler: CommandHandler, fulfilment: Fulfilment, concurrency: usize) -> Self {
        Self { handler, fulfilment, concurrency }
    }

    /// Fulfils what a batch asks for. Orders side by side, events of one order in sequence. What could not be finished comes
    /// again, with all that stands behind it in its partition.
    ///
    /// # Errors
    /// When the event store is not available; the whole batch comes again then.
    pub async fn process(&self, event: KafkaEvent, deadline: Instant) -> Result<BatchResponse, StoreError> {
        let by_order = started(event);
        let orders: Vec<OrderId> = by_order.keys().cloned().collect();
        let loads =
            orders.iter().map(|order| Load { stream: order.clone(), after: Version::NONE, command: None });
        let streams = self.handler.store().load_many(loads.collect()).await?;
        let deadline = deadline - MARGIN.min(deadline.saturating_duration_since(Instant::now()) / 2);
        let work = by_order
            .into_values()
            .zip(streams)
            .map(|(events, stream)| async move { self.one_order(events, &stream.commits, deadline).await });
        let failed: Vec<Option<BatchItemFailure>> =
            stream::iter(work).buffer_unordered(self.concurrency).collect().await;
        Ok(BatchResponse { batch_item_failures: first_of_each_partition(failed.into_iter().flatten()) })
    }

    /// The events of one order, in sequence; the first that could not be finished.
    async fn one_order(
        &self,
        events: Vec<Started>,
        commits: &[Commit],
        deadline: Instant,
    ) -> Option<BatchItemFailure> {
        for started in events {
            if let Err(problem) = self.outcome(&started, commits, deadline).await {
                tracing::debug!(
                    partition = started.partition,
                    offset = started.offset,
                    problem,
                    "not fulfilled yet"
                );
                metrics::counter!("orders_fulfilments_total", "result" => "unknown").increment(1);
                return Some(BatchItemFailure { partition: started.partition, offset: started.offset });
            }
        }
        None
    }

    /// Sees to it that the event has its outcome.
    async fn outcome(&self, started: &Started, commits: &[Commit], deadline: Instant) -> Result<(), String> {
        let Some((commit, name)) = waiting_for_outcome(commits, started.version) else {
            return Ok(());
        };
        let traceparent = commit.metadata.traceparent.as_deref();
        let asked = Asked { order: &commit.stream, name: &name, version: started.version, traceparent };
        kill_point(KillPoint::BeforeFulfilment);
        let answer = self.fulfilment.fulfil(asked, deadline).await;
        kill_point(KillPoint::AfterFulfilment);
        let (command, result) = match answer {
            Answer::Fulfilled => (Command::Complete, "fulfilled"),
            Answer::Refused(reason) => (Command::Fail { reason }, "refused"),
            Answer::Unknown(problem) => return Err(problem),
        };
        self.record(commit, started.version, command).await?;
        metrics::counter!("orders_fulfilments_total", "result" => result).increment(1);
        Ok(())
    }

    /// Appends the outcome. Its command id follows from the event and its hash covers the event alone, so that whichever of two
    /// processors is first decides, and the other finds its own command done.
    async fn record(&self, commit: &Commit, version: Version, command: Command) -> Result<(), String> {
        let event = format!("{}@{version}", commit.stream);
        let command_id =
            CommandId::parse(&format!("fulfilment:{event}")).map_err(|error| error.to_string())?;
        let request = CommandRequest {
            stream: commit.stream.clone(),
            command,
            command_id,
            key: KeyOrigin::Sender,
            hash: command_hash("fulfilment", &commit.stream, event.as_bytes()),
            if_match: None,
            metadata: Metadata {
                correlation_id: commit.metadata.correlation_id.clone(),
                causation_id: Some(event),
                traceparent: commit.metadata.traceparent.clone(),
                actor: Some("processor".to_owned()),
            },
        };
        match self.handler.handle(request).await {
            Ok(_) => Ok(()),
            Err(CommandError::Rejected(rejection)) => {
                tracing::warn!(order = %commit.stream, %rejection, "an outcome came too late and changes nothing");
                Ok(())
            }
            Err(error) => Err(error.to_string()),
        }
    }
}

/// The ProcessingStarted events of a batch, by order, in order. What can't be decoded is the projector's to hold.
fn started(event: KafkaEvent) -> HashMap<OrderId, Vec<Started>> {
    let mut by_order: HashMap<OrderId, Vec<Started>> = HashMap::new();
    for (partition, records) in event.records {
        for record in records {
            if let Some(RecordedEvent { order, version, event: Event::ProcessingStarted, .. }) =
                decode(&record)
            {
                let events = by_order.entry(order).or_default();
                // Published twice, it stands twice in the partition; if the first fails, the second comes again with it.
                if events.iter().all(|other| other.version != version) {
                    events.push(Started { partition: partition.clone(), offset: record.offset, version });
                }
            }
        }
    }
    by_order
}

fn decode(record: &KafkaRecord) -> Option<RecordedEvent> {
    wire::decode(record.value.as_ref()?).ok()
}

/// The commit of the ProcessingStarted at this version and the order's name, if it is the stream's last event: any event behind it
/// is its outcome, or follows from that. A version that the store does not have asks for nothing: no command of ours stands behind it.
fn waiting_for_outcome(commits: &[Commit], version: Version) -> Option<(&Commit, OrderName)> {
    let commit = commits.last().filter(|commit| commit.last_version() == version)?;
    let order = fold(commit.stream.clone(), commits).ok()?.order;
    match (commit.events.last(), order) {
        (Some(Event::ProcessingStarted), Order::Present(details)) => Some((commit, details.name)),
        _ => None,
    }
}

fn first_of_each_partition(failed: impl Iterator<Item = BatchItemFailure>) -> Vec<BatchItemFailure> {
    let mut first: BTreeMap<String, i64> = BTreeMap::new();
    for failure in failed {
        let offset = first.entry(failure.partition).or_insert(failure.offset);
        *offset = (*offset).min(failure.offset);
    }
    first.into_iter().map(|(partition, offset)| BatchItemFailure { partition, offset }).collect()
}
