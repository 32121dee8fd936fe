//! What holds for any bytes that come from outside. Each module has one `check`, which panics where it does not hold: the fuzzers in
//! `fuzz/fuzz_targets` call it with what they make up, and `tests/corpora.rs` with what they have found worth keeping.
//!
//! | module | the bytes | who decodes them |
//! |---|---|---|
//! | [`http_request`] | a request, as text | the functions behind HTTP, on the embedded default |
//! | [`lambda_request`] | the event of an API or a load balancer | the same, as Lambdas |
//! | [`record`] | the value of a record | `domain::wire` |
//! | [`kafka_event`] | the event of a Kafka mapping; a function's answer | the projector, on the embedded default; the mapping |
//! | [`filter`] | patterns, and the value that they are about | `FilterCriteria` |
//! | [`template`] | a template, and its parameters | `kafka-trigger` |
//! | [`seed_document`] | a document of the original program | `orders import-seed` |

// A property that does not hold is to panic; clippy's own exception covers only functions marked as tests.
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
