//! What a command does: load, decide, append, publish. Where an aggregate, its event store and the channel meet.
//!
//! Only the handler and its cache know the aggregate; publisher and relays see encoded events.
//!
//! - [`handler`]: the five steps, and why each race between them ends well.
//! - [`publisher`]: commits onto the channel, serially per stream, and their marks (`record`, `marks`).
//! - [`relay`]: publishes what was left.
//! - [`reminders`]: publishes again what waits for an outcome for too long.
//! - [`http`]: a request as a command, an outcome or an error as an answer.
//!
//! Knows nothing of read stores, triggers or which functions there are.

mod hash;
mod marks;
mod meters;
mod record;
mod retry_list;
mod state_cache;

pub mod handler;
pub mod http;
pub mod publisher;
pub mod relay;
pub mod reminders;
pub mod settings;

pub use handler::{AfterCommit, CommandError, CommandHandler, CommandRequest, KeyOrigin, Outcome};
pub use hash::command_hash;
pub use meters::{measure_backlog, measure_reminders};
pub use publisher::Publisher;
pub use record::record;
pub use relay::{Relay, SweepReport};
pub use reminders::{ReminderRelay, ReminderSettings};
pub use settings::CommandSettings;
