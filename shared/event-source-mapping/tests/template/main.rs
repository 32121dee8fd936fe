//! Reads SAM and CloudFormation templates.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod conditions;
mod corpus;
mod functions;
mod hostile;
mod intrinsics;
mod parameters;
mod properties;
mod support;
mod syntax;
