//! The rules of Lambda's event source mapping, over a source and functions in memory, on a clock that the tests stop.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod batches;
mod decoding;
mod failures;
mod sequence;
mod shutdown;
mod support;
