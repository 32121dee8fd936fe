//! The target of the commands: the event store, or nothing.

use std::collections::HashMap;
use std::time::Duration;

use command_handler::{CommandError, CommandHandler, CommandRequest, KeyOrigin};
use domain::{Aggregate, Command, Event, Order, OrderId, Version};
use event_store::{EventStore, Load, Metadata, StoreError, Stream, fold};

use crate::document::SeedCommand;
use crate::report::TakeOutcome;

/// The actor that imported commits name.
pub(crate) const ACTOR: &str = "import-seed";

/// How often a command is tried while the event store is not available or other commands win the stream. The pauses between tries
/// double, and after the last try the import ends.
const TRIES: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// The target of the commands.
pub(crate) enum Target {
    /// The event store, by way of the handler of all commands.
    EventStore(CommandHandler<Order>),
    /// Nothing: the event store is only read.
    DryRun(EventStore),
}

impl Target {
    /// Creates the taker of one lane's commands.
    pub(crate) fn taker(&self) -> Taker {
        match self {
            Self::EventStore(handler) => {
                Taker { store: handler.store().clone(), way: TakeMode::Handle(handler.clone()) }
            }
            Self::DryRun(store) => Taker { store: store.clone(), way: TakeMode::Decide(HashMap::new()) },
        }
    }
}

/// Takes commands, one after the other.
pub(crate) struct Taker {
    store: EventStore,
    way: TakeMode,
}

enum TakeMode {
    Handle(CommandHandler<Order>),
    /// The orders that an import would have changed, in the state that they would have.
    Decide(HashMap<OrderId, Order>),
}

impl Taker {
    /// Takes a command. A try that failed may have made its commit; the next try finds that commit.
    ///
    /// # Errors
    /// When the event store is not available, or other commands win the stream, at each try.
    pub(crate) async fn take(&mut self, seed: &SeedCommand) -> anyhow::Result<TakeOutcome> {
        let (mut tries, mut pause) = (1, FIRST_PAUSE);
        loop {
            match self.try_to_take(seed).await {
                Ok(taken) => return Ok(taken),
                Err(CommandError::Store(StoreError::Unavailable(_)) | CommandError::Contended)
                    if tries < TRIES =>
                {
                    tokio::time::sleep(pause).await;
                    (tries, pause) = (tries + 1, pause * 2);
                }
                Err(error @ (CommandError::Store(StoreError::Unavailable(_)) | CommandError::Contended)) => {
                    return Err(error.into());
                }
                Err(error) => return Ok(TakeOutcome::Refused(error.to_string())),
            }
        }
    }

    async fn try_to_take(&mut self, seed: &SeedCommand) -> Result<TakeOutcome, CommandError<Order>> {
        let load = Load { command: Some(seed.command_id.clone()), ..Load::whole(seed.order.clone()) };
        let stream = self.store.load(load).await?;
        if let Some(answered) = stream.answered {
            return Ok(match answered.command_hash == seed.hash {
                true => TakeOutcome::AlreadyThere,
                false => TakeOutcome::Refused(
                    "a command that asked something else was imported from this _id".into(),
                ),
            });
        }
        if seed.command == Command::Process && was_started(&stream)? {
            return Ok(TakeOutcome::AlreadyThere);
        }
        let changes = match &mut self.way {
            TakeMode::Handle(handler) => handler.handle(request(seed)).await?.with_events,
            TakeMode::Decide(orders) => changes(orders, seed, &stream)?,
        };
        Ok(if changes { TakeOutcome::Imported } else { TakeOutcome::AlreadyThere })
    }
}

/// Returns `true` if the order's processing was started. In the original program, to process an order again did nothing. Here it
/// would start a failed order anew. Each import would do so again, once the small record of the first command has been forgotten.
fn was_started(stream: &Stream) -> Result<bool, StoreError> {
    for commit in &stream.commits {
        if commit.recorded::<Event>()?.iter().any(|recorded| recorded.event == Event::ProcessingStarted) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn request(seed: &SeedCommand) -> CommandRequest<Order> {
    CommandRequest {
        stream: seed.order.clone(),
        command: seed.command.clone(),
        command_id: seed.command_id.clone(),
        key: KeyOrigin::Sender,
        hash: seed.hash,
        if_match: None,
        metadata: Metadata {
            correlation_id: seed.command_id.id().to_owned(),
            causation_id: None,
            traceparent: None,
            actor: Some(ACTOR.to_owned()),
        },
        published: Version::NONE,
    }
}

/// Returns `true` if the command would change its order, and keeps the changed order in `orders`.
fn changes(
    orders: &mut HashMap<OrderId, Order>,
    seed: &SeedCommand,
    stream: &Stream,
) -> Result<bool, CommandError<Order>> {
    let order = match orders.get(&seed.order) {
        Some(order) => order.clone(),
        None => fold(seed.order.clone(), &stream.commits).map_err(StoreError::from)?.state,
    };
    let events = order.decide(seed.command.clone()).map_err(CommandError::Rejected)?;
    if events.is_empty() {
        return Ok(false);
    }
    orders.insert(seed.order.clone(), events.iter().fold(order, Order::evolve));
    Ok(true)
}
