//! The vocabulary of event-sourced services, which the machinery and the applications share.
//!
//! The crate is pure: no I/O, no clock, no async, no randomness (this crate's `clippy.toml` bans them). It knows no application.
//!
//! - [`aggregate`] decides commands: it returns events or a rejection. [`Snapshot`] is an aggregate's state at a version.
//! - [`event`] is the stored form of an event: type name, schema version, data, and the upcasters between versions.
//! - [`wire`] is the form in which an event travels: the value and the headers of a record on the channel.
//! - [`command_id`] is the identity of a command, which is distinct for each kind and caller.
//! - [`reaction`] is the way from an event to commands on other streams.
//! - [`values`] are parsed once at the edge and can't be wrong afterwards; [`text_value!`] declares an application's own.
//! - [`view`] is the data for queries: rows folded from events, and the columns in which rows are stored. An [`Entry`] is a stream's
//!   place in a view; [`Rows`] are the rows that streams share.
//! - `schema`, a feature, is the contract of events: their JSON Schemas, the check of changes, the description of the topic.
//! - [`given`](mod@given) is the form of an aggregate's tests: given these events, when this command, then these events.

pub mod aggregate;
pub mod command_id;
mod entry;
pub mod event;
mod excerpt;
pub mod given;
pub mod reaction;
pub mod rows;
#[cfg(feature = "schema")]
pub mod schema;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod values;
pub mod view;
pub mod wire;

pub use aggregate::{Aggregate, Command, Gap, Rejection, RejectionKind, Snapshot};
pub use command_id::{CommandId, CommandKind};
pub use entry::{Entry, NotApplied};
pub use event::{EncodedEvent, EventType, UnknownEvent, Upcaster};
pub use reaction::{Occasion, Reaction};
pub use rows::Rows;
pub use values::{IdempotencyKey, Invalid, StreamId, Version};
pub use view::{
    Column, ColumnKind, ColumnValue, GarbledColumn, Index, Key, Keys, Refused, Row, Value, View, is_by_stream,
};
pub use wire::{Recorded, Undecodable};
