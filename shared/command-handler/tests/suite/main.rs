//! The path of a command, and the races along it, on a real store and a real channel.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod answers;
mod publishing;
mod reactions;
mod reminders;
mod snapshots;
mod system;
mod turns;
