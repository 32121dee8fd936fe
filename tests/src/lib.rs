//! The harness of the end-to-end tests: a whole system in processes of its own, driven over HTTP and the command line.
//!
//! - [`system`]: a running system in a folder of its own. [`stores`]: what it stands on. [`servers`]: real ones.
//! - [`process`]: one run of the binary `orders`, to its end or until it is killed.
//! - [`http`]: calls and answers. [`metrics`]: what `/metrics` tells.
//! - [`fulfilment`]: a fulfilment service, as somebody else would run it.
//! - [`runtime_api`]: a function, started as Lambda does. [`late`]: a server that comes up late.
//! - [`poll`]: waiting for a condition, which is the only way to wait here.
//!
//! Imports none of our crates, so that a test can't know more than a user does.

// A harness fails loudly; clippy's own exception covers only functions marked as tests.
#![allow(clippy::unwrap_used, clippy::expect_used)]

pub mod fulfilment;
pub mod http;
pub mod late;
pub mod metrics;
pub mod poll;
pub mod process;
pub mod runtime_api;
pub mod servers;
pub mod stores;
pub mod system;
