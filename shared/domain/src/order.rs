//! The aggregate whole, in the order in which it is read: commands and events, the fold, the decisions.
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

/// What somebody wants of an order.
#[derive(Clone, Debug, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub enum Command {
    /// Let there be an order with this name.
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
        /// Why.
        reason: Reason,
    },
    /// The order is no longer wanted.
    Cancel {
        /// Why.
        reason: Reason,
    },
}

/// What happened to an order. The variants' names are those that stores, records and filters see.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// The first event of every order.
    OrderCreated {
        /// The order's name.
        name: OrderName,
    },
    /// Fulfilment was asked for; exactly one outcome follows.
    ProcessingStarted,
    /// The outcome: fulfilled.
    OrderProcessed,
    /// The outcome: refused.
    ProcessingFailed {
        /// Why.
        reason: Reason,
    },
    /// The order was withdrawn.
    OrderCancelled {
        /// Why.
        reason: Reason,
    },
}

impl EventType for Event {}

// ── Fold ─────────────────────────────────────────────────────────────────────────────────────────────

/// Where an order stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Display, EnumString, IntoStaticStr, VariantNames)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum Status {
    /// Created, nothing asked yet.
    New,
    /// Fulfilment is under way.
    Processing,
    /// Fulfilled. Final.
    Processed,
    /// Fulfilment was refused; it can be asked for again, or the order cancelled.
    Failed,
    /// Withdrawn. Final.
    Cancelled,
}

/// What decisions about an order need to know of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Order {
    /// There is no such order.
    #[default]
    Absent,
    /// There is.
    Present(Details),
}

/// What is known of an order that exists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Details {
    /// Its name.
    pub name: OrderName,
    /// Where it stands.
    pub status: Status,
    /// Why it failed or was cancelled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
}

/// Whether this event can come next in the life of this order.
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

/// Why a command was refused. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Rejection {
    /// The command is for an order that does not exist.
    #[error("there is no such order")]
    NotFound,
    /// The id belongs to an order with another name.
    #[error("an order with this id and another name exists")]
    IdTaken,
    /// The order's state does not allow it.
    #[error("an order that is {status} can't be {wanted}; allowed from: {allowed}")]
    NotAllowed {
        /// Where the order stands.
        status: Status,
        /// What was asked, as a participle: `processed`, `cancelled`.
        wanted: &'static str,
        /// The states from which it is allowed.
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
