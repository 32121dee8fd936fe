//! Rules that hold for any bytes that come from outside. Each module has one `check`, which panics where its rule does not hold.
//! The fuzzers in `fuzz/fuzz_targets` call it with bytes that they make up. `tests/corpora.rs` calls it with the inputs that the
//! fuzzers found worth keeping.
//!
//! | module | the bytes | decoded by |
//! |---|---|---|
//! | [`http_request`] | a request, as text | the functions behind HTTP, on the embedded default |
//! | [`lambda_request`] | the event of an API or a load balancer | the same, as Lambdas |
//! | [`record`] | the value of a record | `domain::wire` |
//! | [`kafka_event`] | the event of a Kafka mapping; a function's answer | the projector, on the embedded default; the mapping |
//! | [`filter`] | patterns, and the value that they are matched against | `FilterCriteria` |
//! | [`template`] | a template, and its parameters | `kafka-trigger` |
//! | [`seed_document`] | a document of the original program | `orders import-seed` |

// A property that does not hold must panic. Clippy's own exception covers only functions marked as tests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::missing_panics_doc)]

pub mod filter;
pub mod http_request;
pub mod kafka_event;
pub mod lambda_request;
mod naive_filter;
pub mod record;
pub mod seed_document;
mod system;
pub mod template;
mod values;
