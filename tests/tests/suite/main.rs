//! Rules of the whole system, seen from outside. Each test's name is the rule that it checks.
//!
//! - [`both`]: rules on any stores. [`embedded`]: files and the data folder. [`servers`]: several processes.
//!   [`postgres`]: several processes on PostgreSQL alone.
//! - [`lambda`]: the functions as Lambdas.
//! - [`command_line`], [`startup`], [`signals`], [`secrets`]: the command line and the start. [`arrows`], [`law`], [`readme`]:
//!   the project.

// Helpers of tests may fail loudly too; clippy's own exception covers only functions marked as tests.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod arrows;
mod both;
mod command_line;
mod embedded;
mod lambda;
mod law;
mod postgres;
mod readme;
mod secrets;
mod servers;
mod signals;
mod startup;
