//! The rules about orders, each as a sentence.

// Helpers of tests may panic too, but clippy's own exception covers only functions marked as tests.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod decisions;
mod dsl;
mod fold;
mod ids;
mod laws;
mod revision;
mod snapshots;
mod strategies;
mod wire;
