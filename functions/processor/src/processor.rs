//! Finds the events that still need an outcome, calls the service for them, and decides whether the batch comes again.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use command_handler::{CommandError, CommandHandler, CommandRequest, KeyOrigin, command_hash};
use domain::{Command, CommandId, Event, Order, OrderId, OrderName, Reason, RecordedEvent, Version, wire};
use event_source_mapping::event::{BatchResponse, KafkaEvent, KafkaRecord};
use event_store::{Commit, CommitId, Load, Metadata, Reminders, StoreError, Stream, UnreadableStream, fold};
use futures_util::{StreamExt, stream};
use runtime::{KillPoint, kill_point};
use thiserror::Error;

use crate::answer::{Answer, Failure};
use crate::fulfilment::{Fulfilment, FulfilmentRequest};
use crate::tries::{Next, Tries};

/// The time that is kept free at the end of an invocation, so that a known outcome can still be appended.
const MARGIN: Duration = Duration::from_secs(2);

/// Fulfils orders and records each outcome.
#[derive(Clone)]
pub struct Processor {
    handler: CommandHandler<Order>,
    reminders: Reminders,
    fulfilment: Fulfilment,
    concurrency: usize,
    tries: Arc<Tries>,
}

/// A ProcessingStarted event that a record brought.
struct StartedOrder {
    version: Version,
    /// The number of the reminder that brought it, or 0.
    reminder: u32,
}

/// An order's commits in the event store, and the order that they make.
struct OrderHistory {
    commits: Vec<Commit>,
    order: Order,
}

impl OrderHistory {
    fn of(id: OrderId, stream: Stream) -> Result<Self, UnreadableStream> {
        let order = fold(id, &stream.commits)?.state;
        Ok(Self { commits: stream.commits, order })
    }

    /// Returns the commit of the ProcessingStarted event at this version and the order's name, if this is the stream's last
    /// event. A later event is its outcome, or follows from the outcome. A version that the store does not have asks for nothing,
    /// because no command of ours caused it.
    fn waiting_for_outcome(&self, version: Version) -> Option<(&Commit, &OrderName)> {
        let commit = self.commits.last().filter(|commit| commit.last_version() == version)?;
        match &self.order {
            Order::Present(details) if commit.awaits_outcome => Some((commit, &details.name)),
            _ => None,
        }
    }
}

/// The reason why a batch comes again.
#[derive(Debug, Error)]
pub enum BatchError {
    /// The event store could not load the orders.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The service is down, the time was too short, or an outcome could not be recorded.
    #[error("{orders} of the batch's orders are not fulfilled yet, one because {problem}")]
    NotFulfilled {
        /// The number of these orders.
        orders: usize,
        /// The problem that stopped one of them.
        problem: String,
    },
}

/// The result of asking the service for an order, retries included.
enum FulfilmentResult {
    /// The order is fulfilled, or refused for good.
    Answered(Result<(), Reason>),
    /// The service fails with this order while others succeed, or has failed with it too often.
    GivenUp(Failure),
    /// The service is down, or there is no time left.
    Down(String),
}

/// The end of recording an outcome. In both cases the outcome is not recorded again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum OutcomeRecord {
    /// The outcome is in the stream, or came too late for it.
    Decided,
    /// Its command id was used for something else.
    KeyReused,
}

impl Processor {
    /// Returns a processor that fulfils `concurrency` orders at the same time. It appends through this handler and sets orders
    /// aside with these reminders.
    #[must_use]
    pub fn new(
        handler: CommandHandler<Order>,
        reminders: Reminders,
        fulfilment: Fulfilment,
        concurrency: usize,
    ) -> Self {
        Self { handler, reminders, fulfilment, concurrency, tries: Arc::default() }
    }

    /// Fulfils the orders of a batch: orders side by side, events of one order in sequence. An order that is itself at fault is
    /// set aside, and its reminder brings it back.
    ///
    /// # Errors
    /// When an order could not be finished and the fault is not its own. Then the whole batch comes again, and orders that are
    /// done are passed over.
    pub async fn process(&self, event: KafkaEvent, deadline: Instant) -> Result<BatchResponse, BatchError> {
        let by_order = started(event);
        let orders: Vec<OrderId> = by_order.keys().cloned().collect();
        let loads = orders.iter().map(|order| Load::whole(order.clone()));
        let streams = self.handler.store().load_many(loads.collect()).await?;
        let deadline = deadline - MARGIN.min(deadline.saturating_duration_since(Instant::now()) / 2);
        let work = by_order.into_iter().zip(streams).map(|((order, events), stream)| async move {
            let known = stream.and_then(|stream| OrderHistory::of(order.clone(), stream));
            match known {
                Ok(known) => self.one_order(&events, &known, deadline).await,
                Err(problem) => self.unreadable(&order, &events, &problem).await,
            }
        });
        let ends: Vec<Result<(), String>> =
            stream::iter(work).buffer_unordered(self.concurrency).collect().await;
        let mut problems = ends.into_iter().filter_map(Result::err);
        match problems.next() {
            None => Ok(BatchResponse::default()),
            Some(problem) => Err(BatchError::NotFulfilled { orders: 1 + problems.count(), problem }),
        }
    }

    /// Guarantee: an order that can't be read stops no other. It is set aside; a newer program may read it.
    async fn unreadable(
        &self,
        order: &OrderId,
        events: &[StartedOrder],
        problem: &UnreadableStream,
    ) -> Result<(), String> {
        tracing::error!(%problem, "an order can't be fulfilled");
        metrics::counter!("unreadable_streams_total", "by" => "processor").increment(1);
        let Some(started) = events.last() else { return Ok(()) };
        // A ProcessingStarted event is alone in its commit, so both have the same version.
        let at = CommitId { stream: order.clone(), version: started.version };
        self.set_aside(&at, started, &problem.to_string(), Duration::ZERO).await
    }

    /// Handles the events of one order in sequence, up to the first that could not be finished.
    async fn one_order(
        &self,
        events: &[StartedOrder],
        known: &OrderHistory,
        deadline: Instant,
    ) -> Result<(), String> {
        for started in events {
            if let Err(problem) = self.outcome(started, known, deadline).await {
                tracing::debug!(version = %started.version, problem, "not fulfilled yet");
                metrics::counter!("fulfilments_total", "result" => "unknown").increment(1);
                return Err(problem);
            }
        }
        Ok(())
    }

    /// Makes sure that the event gets its outcome, unless it has one already or its order is set aside.
    async fn outcome(
        &self,
        started: &StartedOrder,
        known: &OrderHistory,
        deadline: Instant,
    ) -> Result<(), String> {
        let Some((commit, name)) = known.waiting_for_outcome(started.version) else {
            return Ok(());
        };
        let traceparent = commit.metadata.traceparent.as_deref();
        let asked = FulfilmentRequest { order: &commit.stream, name, version: started.version, traceparent };
        let (command, result) = match self.ask(asked, started, deadline).await {
            FulfilmentResult::Answered(Ok(())) => (Command::Complete, "fulfilled"),
            FulfilmentResult::Answered(Err(reason)) => (Command::Fail { reason }, "refused"),
            FulfilmentResult::GivenUp(Failure { problem, pause }) => {
                let at = CommitId { stream: commit.stream.clone(), version: commit.version };
                return self.set_aside(&at, started, &problem, pause.unwrap_or_default()).await;
            }
            FulfilmentResult::Down(problem) => return Err(problem),
        };
        self.tries.succeeded(&commit.stream, started.version);
        let recorded = self.record(commit, started.version, command).await?;
        let result = if recorded == OutcomeRecord::KeyReused { "key-reused" } else { result };
        metrics::counter!("fulfilments_total", "result" => result).increment(1);
        Ok(())
    }

    /// Asks the service until it answers, until it is down, or until the order is given up.
    async fn ask(
        &self,
        asked: FulfilmentRequest<'_>,
        started: &StartedOrder,
        deadline: Instant,
    ) -> FulfilmentResult {
        loop {
            kill_point(KillPoint::BeforeFulfilment);
            let answer = self.fulfilment.fulfil(&asked, deadline).await;
            kill_point(KillPoint::AfterFulfilment);
            let failure = match answer {
                Answer::Fulfilled => return FulfilmentResult::Answered(Ok(())),
                Answer::Refused(reason) => return FulfilmentResult::Answered(Err(reason)),
                Answer::Failed(failure) => failure,
                Answer::NotAsked(why) => return FulfilmentResult::Down(why.to_owned()),
            };
            match self.tries.failed(asked.order, asked.version, started.reminder) {
                Next::TryAgain(pause) if Instant::now() + pause < deadline => tokio::time::sleep(pause).await,
                Next::TryAgain(_) | Next::ComeAgain => return FulfilmentResult::Down(failure.problem),
                Next::SetAside => return FulfilmentResult::GivenUp(failure),
            }
        }
    }

    /// Guarantee: an order that is at fault stops no other. Its record is finished, and its reminder brings the order back.
    async fn set_aside(
        &self,
        at: &CommitId,
        started: &StartedOrder,
        problem: &str,
        pause: Duration,
    ) -> Result<(), String> {
        kill_point(KillPoint::BeforeSetAside);
        let set_aside = self.reminders.set_aside(at, started.reminder, problem, pause).await;
        set_aside.map_err(|error| error.to_string())?;
        kill_point(KillPoint::AfterSetAside);
        tracing::warn!(order = %at.stream, version = %started.version, problem, "an order is set aside");
        metrics::counter!("fulfilments_total", "result" => "set-aside").increment(1);
        Ok(())
    }

    /// Appends the outcome. Its command id is derived from the event, and its hash covers the event alone. So the first of two
    /// processors decides, and the other finds its own command done.
    async fn record(
        &self,
        commit: &Commit,
        version: Version,
        command: Command,
    ) -> Result<OutcomeRecord, String> {
        let event = format!("{}@{version}", commit.stream);
        let command_id =
            CommandId::system(&format!("fulfilment:{event}")).map_err(|error| error.to_string())?;
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
            published: version,
        };
        match self.handler.handle(request).await {
            Ok(_) => Ok(OutcomeRecord::Decided),
            Err(CommandError::Rejected(rejection)) => {
                tracing::warn!(order = %commit.stream, %rejection, "an outcome came too late and changes nothing");
                Ok(OutcomeRecord::Decided)
            }
            // No client can use the id of an outcome, so another program has used it. A retry would hold up the partition for
            // ever.
            Err(error @ CommandError::KeyReused) => {
                tracing::error!(order = %commit.stream, %version, %error, "an outcome can't be recorded");
                Ok(OutcomeRecord::KeyReused)
            }
            Err(error) => Err(error.to_string()),
        }
    }
}

/// Returns the ProcessingStarted events of a batch by order, in their sequence. The projector holds the records that can't be
/// decoded.
fn started(event: KafkaEvent) -> HashMap<OrderId, Vec<StartedOrder>> {
    let mut by_order: HashMap<OrderId, Vec<StartedOrder>> = HashMap::new();
    for record in event.records.into_values().flatten() {
        if let Some(RecordedEvent { stream, version, event: Event::ProcessingStarted, .. }) = decode(&record)
        {
            let events = by_order.entry(stream).or_default();
            // An event that was published twice is in the partition twice.
            if events.iter().all(|other| other.version != version) {
                events.push(StartedOrder { version, reminder: reminder(&record) });
            }
        }
    }
    by_order
}

/// Returns the number of the reminder that brought a record, or 0.
fn reminder(record: &KafkaRecord) -> u32 {
    wire::occasion(record.headers.iter().map(|(name, value)| (&**name, value.as_deref()))).number()
}

fn decode(record: &KafkaRecord) -> Option<RecordedEvent> {
    wire::decode(record.value.as_ref()?).ok()
}
