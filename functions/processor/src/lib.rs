//! Takes a Kafka batch, fulfils its orders and records each outcome. The crate imports nothing that knows of the read store.
//!
//! - [`processor`]: finds the events that still need an outcome, calls the service, and decides whether the batch comes again.
//! - [`fulfilment`]: the service that is called, or a mock of it.
//! - [`answer`]: the service's answers.
//! - `tries`: decides which orders are set aside, so that no order stops another.
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
