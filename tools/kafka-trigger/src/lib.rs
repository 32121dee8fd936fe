//! The parts of `kafka-trigger`, which runs the Kafka event source mappings of a SAM or CloudFormation template on a local machine.
//!
//! - [`template`] reads the mappings of a template.
//! - [`invoke`](mod@invoke) calls functions by Lambda's Invoke API.
//! - [`schema_registry`] decodes records.
//! - [`failure_destination`] and [`failure_record`] report discarded records.
//!
//! All but [`template`] need the feature `trigger`.
//!
//! The mapping itself is the crate `event-source-mapping`.

#[cfg(feature = "trigger")]
mod aws;
#[cfg(feature = "trigger")]
pub mod failure_destination;
#[cfg(feature = "trigger")]
pub mod failure_record;
#[cfg(feature = "trigger")]
pub mod invoke;
#[cfg(feature = "trigger")]
pub mod schema_registry;
pub mod template;
