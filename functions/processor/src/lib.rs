//! Kafka batch in: fulfils orders and records each outcome. Imports nothing that knows of the read store.
//!
//! - [`processor`]: which events still need an outcome, their calls, and what comes again.
//! - [`fulfilment`]: the service that is called, or the one that pretends.
//! - [`answer`]: what the service answers.
//! - `tries`: which orders are set aside, so that no order stops another.
//! - [`breaker`]: stops calls while the service is down.

pub mod answer;
pub mod breaker;
pub mod fulfilment;
mod mapping;
pub mod processor;
mod tries;

pub use fulfilment::{Fulfilment, FulfilmentSettings};
pub use mapping::mapping;
pub use processor::{BatchError, Processor};
