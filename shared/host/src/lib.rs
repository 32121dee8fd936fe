//! Makes the functions of an application one process.
//!
//! - [`Application`]: the aggregates, views, functions and commands of an application, and its command line.
//! - [`registry`]: the aggregates and views that it has registered. [`aggregates`] and [`views`]: each behind a trait object.
//! - [`functions`]: the functions, and the arguments from which they are made.
//! - [`api`]: the public routes. Before them stand [`auth`], [`origins`] and [`gate`]. [`meters`] counts requests by the routes
//!   of [`route_table`].
//! - [`listener`]: accepts connections. [`connections`]: chooses which ones close when there are too many. [`files`]: how many
//!   there may be.
//! - [`uninterrupted`]: finishes a command whose client is gone. [`triggers`]: delivers batches from the channel to functions.
//! - [`registration`]: tells others that this process runs, and fills a view that is new.
//! - [`locks`]: let one process at a time serve a data folder and a store's file. [`stores`]: the settings of the stores; opens
//!   them.
//! - [`serve`]: runs the system in one process. [`admin`]: the pages for operators. [`doubts`]: notes records that the channel may
//!   have lost.
//! - [`copy`], [`held`], [`migrate`], [`reminders`], [`view_commands`]: the commands that need only the stores. [`rebuild`] and
//!   [`verify`] do the work for a view. [`relay`] and [`republish`]: the commands that publish; [`receivers`]: the consumers that
//!   these need.
//! - [`tokens`]: the file of accepted tokens. [`output`]: prints the output of a command. [`names`]: the application's words.
//!
//! This crate knows no application's functions, aggregates or views.

#![deny(clippy::print_stdout, clippy::print_stderr)]

#[macro_use]
pub mod output;

pub mod admin;
pub mod aggregates;
pub mod api;
pub mod application;
pub mod auth;
pub mod connections;
pub mod copy;
pub mod doubts;
pub mod files;
pub mod functions;
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
pub mod registration;
pub mod registry;
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
pub mod view_commands;
pub mod views;

pub use application::{Application, until_signal};
pub use functions::FromApplication;
pub use stores::Stores;

use std::sync::OnceLock;

use thiserror::Error;

/// The command can't begin, because it can't use a setting, a port, a folder or a store as asked. The user gets one line and exit
/// code 2.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct CannotStart(pub String);

static APPLICATION: OnceLock<&'static str> = OnceLock::new();

/// Sets the application's name. Call it before everything else, because the first name stays. The messages, metrics and locks of
/// the process have this name.
fn name_application(name: &'static str) {
    APPLICATION.get_or_init(|| name);
}

/// The application's name.
#[must_use]
pub(crate) fn application() -> &'static str {
    APPLICATION.get_or_init(|| "application")
}
