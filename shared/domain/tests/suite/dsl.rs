//! Given these events, when this command, then these events: `given([created]).when(process).then([started])`.
//!
//! Events and commands are functions, so that a test names them without building them.

use domain::{Aggregate, Command, Event, Order, OrderName, Reason, order::follows};
use event_sourcing::given::Given;

/// A history, as a test names it.
pub(crate) type History<const N: usize> = [fn() -> Event; N];

pub(crate) const ABSENT: History<0> = [];
pub(crate) const NEW: History<1> = [created];
pub(crate) const PROCESSING: History<2> = [created, processing_started];
pub(crate) const PROCESSED: History<3> = [created, processing_started, processed];
pub(crate) const FAILED: History<3> = [created, processing_started, processing_failed];
pub(crate) const CANCELLED: History<2> = [created, cancelled];

/// Creates the order with this history. Each event must be able to follow the one before it.
#[track_caller]
pub(crate) fn given<const N: usize>(history: History<N>) -> Given<Order> {
    let state = history.into_iter().fold(Order::default(), |order, event| {
        let event = event();
        assert!(follows(&order, &event), "{event:?} can't happen to {order:?}");
        order.evolve(&event)
    });
    Given { state }
}

pub(crate) fn name(text: &str) -> OrderName {
    OrderName::parse(text).unwrap()
}

pub(crate) fn reason(text: &str) -> Reason {
    Reason::parse(text).unwrap()
}

// ── Commands ─────────────────────────────────────────────────────────────────────────────────────────

pub(crate) fn create() -> Command {
    Command::Create { name: name("a lamp") }
}

pub(crate) fn create_another() -> Command {
    Command::Create { name: name("a chair") }
}

pub(crate) fn process() -> Command {
    Command::Process
}

pub(crate) fn complete() -> Command {
    Command::Complete
}

pub(crate) fn fail() -> Command {
    Command::Fail { reason: reason("out of stock") }
}

pub(crate) fn cancel() -> Command {
    Command::Cancel { reason: reason("no longer wanted") }
}

// ── Events ───────────────────────────────────────────────────────────────────────────────────────────

pub(crate) fn created() -> Event {
    Event::OrderCreated { name: name("a lamp") }
}

pub(crate) fn processing_started() -> Event {
    Event::ProcessingStarted
}

pub(crate) fn processed() -> Event {
    Event::OrderProcessed
}

pub(crate) fn processing_failed() -> Event {
    Event::ProcessingFailed { reason: reason("out of stock") }
}

pub(crate) fn cancelled() -> Event {
    Event::OrderCancelled { reason: reason("no longer wanted") }
}
