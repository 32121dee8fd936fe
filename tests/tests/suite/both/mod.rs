//! What holds on the embedded default and on real servers alike. `ORDERS_TEST_STORES` says on which of them this run is.

mod admin;
mod auth;
mod bad_requests;
mod commands;
mod crashes;
mod held;
mod history;
mod idempotency;
mod lists;
mod overload;
mod processor;
mod queries;
mod races;
mod rebuild;
pub(crate) mod relay;
mod shutdown;
mod verify;
