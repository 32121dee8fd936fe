//! Orders as an event-sourced aggregate.
//!
//! Pure: no I/O, no clock, no async, no randomness (this crate's `clippy.toml` bans them). A decision
//! is a function of a state and a command, a state is a function of events, so every rule about orders
//! is tested by calling it.
//!
//! - [`order`] is the aggregate whole: commands, events, [`evolve`], [`decide`].
//! - [`ids`] are the values that are parsed once at the edge and can't be wrong afterwards.
//! - [`command_id`] is the identity of a command, apart by kind and caller.
//! - [`schema`] is how an event is stored: type name, schema version, data, and the upcasters between versions.
//! - [`wire`] is how an event travels: the value and the headers of a record on the channel.
//! - [`snapshot`] is an order as it was at a version, as stores and answers show it.
//!
//! Knows nothing of HTTP, databases, Kafka or Lambda.

pub mod command_id;
pub mod ids;
pub mod order;
mod said;
pub mod schema;
pub mod snapshot;
mod visible;
pub mod wire;

pub use command_id::{CommandId, CommandKind};
pub use ids::{IdempotencyKey, Invalid, OrderId, OrderName, Reason, Version};
pub use order::{Command, Details, Event, Order, Rejection, Status, decide, evolve};
pub use snapshot::{Gap, Snapshot};
