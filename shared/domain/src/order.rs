//! The aggregate whole, in the order in which it is read: commands and events, the fold, the decisions.
//!
//! ```text
//! new ──────► processing ──────► processed
//!  │              │   ▲
//!  │              ▼   │ process again
//!  └► cancelled ◄ failed
//! ```

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::ids::{OrderName, Reason};

// ── Commands and events ──────────────────────────────────────────────────────────────────────────────

/// What somebody wants of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
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

/// What happened to an order.
#[derive(Clone, Debug, PartialEq, Eq)]
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

impl Event {
    /// Whether another event must follow, which somebody else brings about: until then it is published again from time to time.
    #[must_use]
    pub const fn awaits_outcome(&self) -> bool {
        matches!(self, Self::ProcessingStarted)
    }
}

// ── Fold ─────────────────────────────────────────────────────────────────────────────────────────────

/// Where an order stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
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

impl Status {
    /// Every status, in the order of an order's life.
    pub const ALL: [Self; 5] = [Self::New, Self::Processing, Self::Processed, Self::Failed, Self::Cancelled];

    /// The name that clients and stores see.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Processing => "processing",
            Self::Processed => "processed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text is not the name of a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("not a status; allowed: new, processing, processed, failed, cancelled")]
pub struct UnknownStatus;

impl FromStr for Status {
    type Err = UnknownStatus;

    fn from_str(text: &str) -> Result<Self, UnknownStatus> {
        Self::ALL.into_iter().find(|status| status.as_str() == text).ok_or(UnknownStatus)
    }
}

/// What decisions about an order need to know of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// There is no such order.
    #[default]
    Absent,
    /// There is.
    Present(Details),
}

/// What is known of an order that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Details {
    /// Its name.
    pub name: OrderName,
    /// Where it stands.
    pub status: Status,
    /// Why it failed or was cancelled.
    pub reason: Option<Reason>,
}

/// The order after an event. An event that cannot follow the order's state (see [`follows`]) changes nothing.
#[must_use]
pub fn evolve(order: Order, event: &Event) -> Order {
    if !follows(&order, event) {
        return order;
    }
    let (status, reason) = match event {
        Event::OrderCreated { name } => {
            return Order::Present(Details { name: name.clone(), status: Status::New, reason: None });
        }
        Event::ProcessingStarted => (Status::Processing, None),
        Event::OrderProcessed => (Status::Processed, None),
        Event::ProcessingFailed { reason } => (Status::Failed, Some(reason.clone())),
        Event::OrderCancelled { reason } => (Status::Cancelled, Some(reason.clone())),
    };
    match order {
        Order::Present(details) => Order::Present(Details { status, reason, ..details }),
        Order::Absent => Order::Absent,
    }
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
    #[error("another order has this id")]
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

/// What happens when this command meets this order. A command that is already true yields no event and succeeds.
///
/// # Errors
/// A [`Rejection`] when the order's state does not allow the command.
pub fn decide(order: &Order, command: Command) -> Result<Vec<Event>, Rejection> {
    let details = match (order, command) {
        (Order::Absent, Command::Create { name }) => return Ok(vec![Event::OrderCreated { name }]),
        (Order::Absent, _) => return Err(Rejection::NotFound),
        (Order::Present(details), command) => (details, command),
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
