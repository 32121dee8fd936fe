//! Takes a Kafka batch, fulfils its orders and records each outcome. The crate imports nothing that knows of the read store.
//!
//! - [`processor`]: finds the events that still need an outcome, calls the service, and decides whether the batch comes again.
//! - [`fulfilment`]: the service that is called, or a mock of it.
//! - [`answer`]: the service's answers.
//! - `tries`: decides which orders are set aside, so that no order stops another.
//! - [`breaker`]: stops calls while the service is down.

pub mod answer;
pub mod breaker;
pub mod fulfilment;
mod mapping;
pub mod processor;
mod tries;

use command_handler::CommandHandler;
use domain::{Aggregate, Order};
use event_source_mapping::Trigger;
use event_store::{Of, Reminders};
pub use fulfilment::{BadFulfilment, Fulfilment, FulfilmentSettings};
pub use mapping::mapping;
pub use processor::{BatchError, Processor};

/// The function as a trigger of a server.
///
/// # Errors
/// When the service's URL can't be used.
pub fn trigger(
    handler: CommandHandler<Order>,
    reminders: Of<Order, Reminders>,
    settings: FulfilmentSettings,
) -> Result<Trigger, BadFulfilment> {
    let concurrency = settings.fulfilment_concurrency.into();
    let processor = Processor::new(handler, reminders.into_part(), settings.open()?, concurrency);
    Ok(Trigger::new(Order::KIND, mapping(), &processor, async |processor: Processor, event, deadline| {
        processor.process(event, deadline).await
    }))
}
