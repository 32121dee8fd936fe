//! The harness of the end-to-end tests: a whole system in processes of its own, driven over HTTP and the command line.
//!
//! - [`system`]: a running system in a folder of its own. [`stores`]: the system's stores. [`servers`]: real servers.
//! - [`services`]: servers that a test may harm. [`load`]: many clients, and checks of their answers.
//! - [`process`]: one run of the binary `orders`, to its end or until it is killed. `threads`: holds some of its threads.
//! - [`http`]: calls and answers; [`raw`]: bytes that are no valid requests. [`metrics`]: the samples of `/metrics`.
//! - [`damage`]: the stores behind the system's back. [`clients`]: a load of mixed commands. [`checker`]: the rules that must
//!   hold after it.
//! - [`fulfilment`]: a fulfilment service, as somebody else would run it.
//! - [`runtime_api`]: a function, started as Lambda does. [`late`]: a server that comes up late; [`proxy`]: one that is slow or
//!   breaks off.
//! - [`report`]: the results of fault tests. [`reliability`]: the table of guarantees.
//! - [`topic`]: records that no program of ours wrote. [`broker`]: changes to the topic, past the system.
//! - [`poll`]: waiting for a condition, which is the only way to wait here.
//!
//! This library imports none of our crates, so that a test can't know more than a user does.

// A harness fails loudly; clippy's own exception covers only functions marked as tests.
#![allow(clippy::unwrap_used, clippy::expect_used)]

pub mod broker;
pub mod checker;
pub mod clients;
pub mod damage;
pub mod fulfilment;
pub mod http;
pub mod late;
pub mod load;
pub mod metrics;
pub mod poll;
pub mod process;
pub mod proxy;
pub mod raw;
pub mod reliability;
pub mod report;
pub mod runtime_api;
pub mod servers;
pub mod services;
pub mod stores;
pub mod system;
#[cfg(target_os = "linux")]
pub mod threads;
pub mod topic;
