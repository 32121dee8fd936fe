//! What holds of the whole system, seen from outside: each test's name is the rule that it holds.

// Helpers of tests may fail loudly too; clippy's own exception covers only functions marked as tests.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod admin;
mod arrows;
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
mod readme;
mod rebuild;
mod relay;
mod shutdown;
mod startup;
mod verify;
mod view_file;
