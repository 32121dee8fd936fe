//! The binary `kafka-trigger` as it is: a process between a real Kafka and functions that are processes of their own. Tests kill
//! some of these processes.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../../../../shared/event-channel/tests/broker/mod.rs"]
mod broker;

mod aws;
mod connection;
mod delivery;
mod destinations;
mod endpoint;
mod failures;
mod function;
mod killed;
mod plan;
mod registry;
mod support;
