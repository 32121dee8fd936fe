//! The path of a command: load, decide, append, publish. This crate connects an aggregate, its event store and the channel.
//!
//! Only the handler and its cache know the aggregate; publisher and relays see encoded events.
//!
//! - [`handler`]: the five steps, and why each race between them ends well.
//! - [`publisher`]: publishes commits to the channel, serially per stream, and marks them (`record`, `marks`).
//! - [`reactions`]: carries out the commands that follow from a delivered event, once each.
//! - [`relay`]: publishes commits that stayed unpublished.
//! - [`reminders`]: publishes an event again when it awaits its outcome for too long.
//! - [`http`]: a request becomes a command, and an outcome or an error becomes an answer.
//!
//! The crate knows nothing of read stores, triggers or the list of functions.

mod hash;
mod marks;
mod meters;
mod record;
mod retry_list;
mod snapshots;
mod state_cache;
mod turns;

pub mod handler;
pub mod http;
pub mod publisher;
pub mod reactions;
pub mod relay;
pub mod reminders;
pub mod settings;

pub use handler::{AnswerPolicy, CommandError, CommandHandler, CommandRequest, KeyOrigin, Outcome};
pub use hash::command_hash;
pub use meters::{measure_backlog, measure_reminders};
pub use publisher::Publisher;
pub use reactions::{Delivery, ReactionAnswer};
pub use record::record;
pub use relay::{Relay, SweepReport};
pub use reminders::{ReminderRelay, ReminderSettings};
pub use settings::CommandSettings;
