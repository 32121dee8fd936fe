//! Orders as an event-sourced aggregate.
//!
//! The crate is pure: no I/O, no clock, no async, no randomness (this crate's `clippy.toml` bans them). A decision is a function
//! of a state and a command, and a state is a function of events. So a test of any rule about orders is a function call.
//!
//! - [`order`] is the whole aggregate: commands, events, the fold, the decisions.
//! - [`view`] is what queries see of orders: the row, its indexes, its fold.
//! - [`values`] are the values that are parsed once at the edge and can't be wrong afterwards.
//!
//! The crate knows nothing of HTTP, databases, Kafka or Lambda.

pub mod order;
pub mod values;
pub mod view;
mod visible;

pub use event_sourcing::{
    Aggregate, CommandId, CommandKind, EncodedEvent, Entry, Gap, IdempotencyKey, Invalid, StreamId,
    UnknownEvent, Version, View, wire,
};
pub use order::{Command, Details, Event, Order, Rejection, Status};
pub use values::{OrderName, Reason};
pub use view::{OrderRow, OrdersView};

/// The name of the application: its variables, metrics and topics begin with it.
pub const APPLICATION: &str = "orders";

/// The id of an order, which is the name of its stream.
pub type OrderId = StreamId;

/// An order at a version. It serializes as clients see it: `{"id","name","status","version","created_at","updated_at"}`. An order
/// that failed or was cancelled has a `"reason"` too. An absent order is `{"id","version":0}`.
pub type Snapshot = event_sourcing::Snapshot<Order>;

/// An event of an order, with its stream, version and time.
pub type RecordedEvent = wire::Recorded<Event>;
