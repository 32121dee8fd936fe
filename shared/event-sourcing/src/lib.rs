//! The vocabulary of event-sourced services: what the machinery and an application have in common.
//!
//! Pure: no I/O, no clock, no async, no randomness (this crate's `clippy.toml` bans them). It knows no application.
//!
//! - [`aggregate`] is what decides: commands in, events or a rejection out. [`Snapshot`] is its state at a version.
//! - [`event`] is how an event is kept: type name, schema version, data, and the upcasters between versions.
//! - [`wire`] is how an event travels: the value and the headers of a record on the channel.
//! - [`command_id`] is the identity of a command, apart by kind and caller.
//! - [`values`] are parsed once at the edge and can't be wrong afterwards; [`text_value!`] declares an application's own.
//! - [`view`] is what queries read: rows folded from events, and how a row is kept in columns.
//! - [`given`](mod@given) is how a test states what an aggregate does: given these events, when this command, then these events.

pub mod aggregate;
pub mod command_id;
pub mod event;
mod excerpt;
pub mod given;
#[cfg(feature = "testing")]
pub mod testing;
pub mod values;
pub mod view;
pub mod wire;

pub use aggregate::{Aggregate, Command, Gap, Rejection, RejectionKind, Snapshot};
pub use command_id::{CommandId, CommandKind};
pub use event::{EncodedEvent, EventType, UnknownEvent, Upcaster};
pub use values::{IdempotencyKey, Invalid, StreamId, Version};
pub use view::{
    Column, ColumnKind, ColumnValue, Entry, Garbled, Index, NotApplied, Refused, Row, Value, View,
};
pub use wire::{Recorded, Undecodable};
