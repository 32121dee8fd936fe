//! Orders by the rules that the measured calls need: an order is created once, and processed once.

use cqrs_es::event_sink::EventSink;
use cqrs_es::{Aggregate, DomainEvent, EventEnvelope, View};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Default)]
pub(crate) enum Order {
    #[default]
    Absent,
    New,
    Processing,
}

pub(crate) enum OrderCommand {
    Create { name: String },
    Process,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum OrderEvent {
    OrderCreated { name: String },
    ProcessingStarted,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum OrderError {
    #[error("the order exists already")]
    Exists,
    #[error("there is no new order under this id")]
    NotNew,
}

impl DomainEvent for OrderEvent {
    fn event_type(&self) -> String {
        match self {
            Self::OrderCreated { .. } => "OrderCreated".to_owned(),
            Self::ProcessingStarted => "ProcessingStarted".to_owned(),
        }
    }

    fn event_version(&self) -> String {
        "1.0".to_owned()
    }
}

impl Aggregate for Order {
    const TYPE: &'static str = "order";
    type Command = OrderCommand;
    type Event = OrderEvent;
    type Error = OrderError;
    type Services = ();

    async fn handle(
        &mut self,
        command: OrderCommand,
        (): &(),
        sink: &EventSink<Self>,
    ) -> Result<(), OrderError> {
        let event = match (command, &self) {
            (OrderCommand::Create { name }, Self::Absent) => OrderEvent::OrderCreated { name },
            (OrderCommand::Create { .. }, _) => return Err(OrderError::Exists),
            (OrderCommand::Process, Self::New) => OrderEvent::ProcessingStarted,
            (OrderCommand::Process, _) => return Err(OrderError::NotNew),
        };
        sink.write(event, self).await;
        Ok(())
    }

    fn apply(&mut self, event: OrderEvent) {
        *self = match event {
            OrderEvent::OrderCreated { .. } => Self::New,
            OrderEvent::ProcessingStarted => Self::Processing,
        }
    }
}

/// An order as it is queried.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct OrderView {
    id: String,
    name: String,
    status: String,
    version: usize,
}

impl OrderView {
    pub(crate) fn version(&self) -> usize {
        self.version
    }
}

impl View<Order> for OrderView {
    fn update(&mut self, event: &EventEnvelope<Order>) {
        self.version = event.sequence;
        match &event.payload {
            OrderEvent::OrderCreated { name } => {
                self.id.clone_from(&event.aggregate_id);
                self.name.clone_from(name);
                "new".clone_into(&mut self.status);
            }
            OrderEvent::ProcessingStarted => "processing".clone_into(&mut self.status),
        }
    }
}
