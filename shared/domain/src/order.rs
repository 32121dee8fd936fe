//! The whole aggregate, in reading order: commands and events, the fold, the decisions.
//!
//! ```text
//! new ──────► processing ──────► processed
//!  │              │   ▲
//!  │              ▼   │ process again
//!  └► cancelled ◄ failed
//! ```

use event_sourcing::{Aggregate, EventType, RejectionKind};
use serde::{Deserialize, Serialize};
use strum::{Display, EnumString, IntoStaticStr, VariantNames};
use thiserror::Error;

use crate::values::{OrderName, Reason};

// ── Commands and events ──────────────────────────────────────────────────────────────────────────────

/// A command for an order.
#[derive(Clone, Debug, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub enum Command {
    /// Create an order with this name.
    Create {
        /// The order's name.
        name: OrderName,
    },
    /// Start fulfilment, or start it again after it failed.
    Process,
    /// Fulfilment succeeded.
    Complete,
    /// Fulfilment was refused.
    Fail {
        /// The reason.
        reason: Reason,
    },
    /// Cancel the order, which is no longer wanted.
    Cancel {
        /// The reason.
        reason: Reason,
    },
}

/// An event of an order. Stores, records and filters see the names of the variants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(event_sourcing::schema::JsonSchema))]
pub enum Event {
    /// The first event of every order.
    OrderCreated {
        /// The order's name.
        name: OrderName,
    },
    /// Fulfilment was requested; exactly one outcome follows.
    ProcessingStarted,
    /// The outcome: fulfilled.
    OrderProcessed,
    /// The outcome: refused.
    ProcessingFailed {
        /// The reason.
        reason: Reason,
    },
    /// The order was withdrawn.
    OrderCancelled {
        /// The reason.
        reason: Reason,
    },
}

impl EventType for Event {}

// ── Fold ─────────────────────────────────────────────────────────────────────────────────────────────

/// The state in an order's life.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Serialize,
    Deserialize,
    Display,
    EnumString,
    IntoStaticStr,
    VariantNames,
)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum Status {
    /// Created, and not yet processed.
    New,
    /// Fulfilment is under way.
    Processing,
    /// Fulfilled. Final.
    Processed,
    /// Fulfilment was refused. It can be requested again, or the order can be cancelled.
    Failed,
    /// Withdrawn. Final.
    Cancelled,
}

/// The state of an order that decisions need.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Order {
    /// The order does not exist.
    #[default]
    Absent,
    /// The order exists.
    Present(Details),
}

/// The state of an order that exists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Details {
    /// The order's name.
    pub name: OrderName,
    /// The order's status.
    pub status: Status,
    /// The reason why it failed or was cancelled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
}

/// Returns true if this event can come next in the life of this order.
#[must_use]
pub fn follows(order: &Order, event: &Event) -> bool {
    let Order::Present(Details { status, .. }) = order else {
        return matches!(event, Event::OrderCreated { .. });
    };
    match event {
        Event::OrderCreated { .. } => false,
        Event::ProcessingStarted | Event::OrderCancelled { .. } => {
            matches!(status, Status::New | Status::Failed)
        }
        Event::OrderProcessed | Event::ProcessingFailed { .. } => matches!(status, Status::Processing),
    }
}

// ── Decisions ────────────────────────────────────────────────────────────────────────────────────────

/// The reason for which a command was refused. A refused command changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Rejection {
    /// The order does not exist.
    #[error("there is no such order")]
    NotFound,
    /// The id belongs to an order with another name.
    #[error("an order with this id and another name exists")]
    IdTaken,
    /// The order's state does not allow the command.
    #[error("an order that is {status} can't be {wanted}; allowed from: {allowed}")]
    NotAllowed {
        /// The order's status.
        status: Status,
        /// The result that the command wanted, as a participle: `processed`, `cancelled`.
        wanted: &'static str,
        /// The states in which the command is allowed.
        allowed: &'static str,
    },
}

impl event_sourcing::Rejection for Rejection {
    fn kind(&self) -> RejectionKind {
        let conflict = |code, title, field| RejectionKind::Conflict { code, title, field };
        match self {
            Self::NotFound => RejectionKind::NotFound,
            Self::IdTaken => conflict("id-taken", "Another order has this id", Some("id")),
            Self::NotAllowed { .. } => {
                conflict("not-allowed-in-state", "The order's state does not allow this", None)
            }
        }
    }
}

impl Aggregate for Order {
    const KIND: &'static str = "order";
    const SOURCE: &'static str = "/orders";
    const REVISION: u32 = 1;

    type Command = Command;
    type Event = Event;
    type Rejection = Rejection;

    fn decide(&self, command: Command) -> Result<Vec<Event>, Rejection> {
        let details = match (self, command) {
            (Self::Absent, Command::Create { name }) => return Ok(vec![Event::OrderCreated { name }]),
            (Self::Absent, _) => return Err(Rejection::NotFound),
            (Self::Present(details), command) => (details, command),
        };
        match details {
            (Details { name, .. }, Command::Create { name: wanted }) if *name == wanted => Ok(vec![]),
            (_, Command::Create { .. }) => Err(Rejection::IdTaken),
            (Details { status, .. }, Command::Process) => process(*status),
            (Details { status, .. }, Command::Complete) => complete(*status),
            (Details { status, .. }, Command::Fail { reason }) => fail(*status, reason),
            (Details { status, .. }, Command::Cancel { reason }) => cancel(*status, reason),
        }
    }

    fn evolve(self, event: &Event) -> Self {
        if !follows(&self, event) {
            return self;
        }
        let (status, reason) = match event {
            Event::OrderCreated { name } => {
                return Self::Present(Details { name: name.clone(), status: Status::New, reason: None });
            }
            Event::ProcessingStarted => (Status::Processing, None),
            Event::OrderProcessed => (Status::Processed, None),
            Event::ProcessingFailed { reason } => (Status::Failed, Some(reason.clone())),
            Event::OrderCancelled { reason } => (Status::Cancelled, Some(reason.clone())),
        };
        match self {
            Self::Present(details) => Self::Present(Details { status, reason, ..details }),
            Self::Absent => Self::Absent,
        }
    }

    fn awaits_outcome(event: &Event) -> bool {
        matches!(event, Event::ProcessingStarted)
    }
}

impl event_sourcing::Command for Command {
    fn name(&self) -> &'static str {
        self.into()
    }

    fn creates(&self) -> bool {
        matches!(self, Self::Create { .. })
    }
}

fn process(status: Status) -> Result<Vec<Event>, Rejection> {
    match status {
        Status::New | Status::Failed => Ok(vec![Event::ProcessingStarted]),
        Status::Processing | Status::Processed => Ok(vec![]),
        Status::Cancelled => {
            Err(Rejection::NotAllowed { status, wanted: "processed", allowed: "new, failed" })
        }
    }
}

fn complete(status: Status) -> Result<Vec<Event>, Rejection> {
    match status {
        Status::Processing => Ok(vec![Event::OrderProcessed]),
        Status::Processed => Ok(vec![]),
        _ => Err(Rejection::NotAllowed { status, wanted: "completed", allowed: "processing" }),
    }
}

fn fail(status: Status, reason: Reason) -> Result<Vec<Event>, Rejection> {
    match status {
        Status::Processing => Ok(vec![Event::ProcessingFailed { reason }]),
        Status::Failed => Ok(vec![]),
        _ => Err(Rejection::NotAllowed { status, wanted: "failed", allowed: "processing" }),
    }
}

fn cancel(status: Status, reason: Reason) -> Result<Vec<Event>, Rejection> {
    match status {
        Status::New | Status::Failed => Ok(vec![Event::OrderCancelled { reason }]),
        Status::Cancelled => Ok(vec![]),
        _ => Err(Rejection::NotAllowed { status, wanted: "cancelled", allowed: "new, failed" }),
    }
}
