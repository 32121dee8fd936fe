//! Rules that hold on the embedded default, on PostgreSQL alone and on all servers alike. `TEST_STORES` says on which of them this run is.

mod admin;
mod auth;
mod bad_requests;
mod commands;
mod comparison;
mod crashes;
mod held;
mod history;

mod idempotency;
mod leaving;
mod lists;
mod log;
mod origins;
mod overload;
mod processor;
mod queries;
mod races;
mod rebuild;
pub(crate) mod relay;
mod reminders;
mod shutdown;
mod strangers;
mod strict;
mod verify;
