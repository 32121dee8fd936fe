//! Makes the functions of an application one process.
//!
//! - [`Application`]: what an application has of its own, and its command line.
//! - [`api`], behind [`auth`], [`origins`] and [`gate`]: the public routes, counted by [`meters`], by the routes that [`route_table`]
//!   knows.
//! - [`listener`]: connections; [`connections`]: which of too many are closed; [`files`]: how many there may be.
//! - [`uninterrupted`]: commands whose clients are gone. [`triggers`]: the channel onto the functions that take batches.
//! - [`locks`]: one process a data folder and a file. [`stores`]: the settings of the stores, and their opening.
//! - [`serve`]: the system in one process; [`admin`] is for operators, and [`doubts`] notes what the channel may have missed.
//! - [`held`], [`migrate`], [`rebuild`], [`reminders`], [`verify`]: the commands that need the stores alone. [`relay`] and [`republish`]
//!   publish; [`receivers`] is what those need.
//! - [`tokens`]: the file of those who are let in. [`output`]: what a command prints. [`names`]: the application's words.
//!
//! Knows no function and no aggregate.

#![deny(clippy::print_stdout, clippy::print_stderr)]

#[macro_use]
pub mod output;

pub mod admin;
pub mod api;
pub mod application;
pub mod auth;
pub mod connections;
pub mod doubts;
pub mod files;
pub mod gate;
pub mod held;
pub mod listener;
pub mod locks;
pub mod meters;
pub mod migrate;
pub mod names;
pub mod origins;
pub mod rebuild;
pub mod receivers;
pub mod relay;
pub mod reminders;
pub mod republish;
pub mod route_table;
pub mod serve;
pub mod stores;
pub mod tokens;
pub mod triggers;
pub mod uninterrupted;
pub mod verify;

pub use application::{Application, until_signal};
pub use stores::Stores;
pub use triggers::Trigger;

use std::sync::OnceLock;

use thiserror::Error;

/// The command can't begin: a setting, a port, a folder or a store can't be used as it was asked. One line for the user, exit 2.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct CannotStart(pub String);

static APPLICATION: OnceLock<&'static str> = OnceLock::new();

/// Names the application, once and before all else. A process has one: its messages, metrics and locks have this name.
fn name_application(name: &'static str) {
    APPLICATION.get_or_init(|| name);
}

/// The application's name.
#[must_use]
pub(crate) fn application() -> &'static str {
    APPLICATION.get_or_init(|| "application")
}
