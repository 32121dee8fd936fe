//! The rules about orders, each as a sentence.

mod decisions;
mod dsl;
mod fold;
mod ids;
mod laws;
mod snapshots;
mod strategies;
mod wire;
