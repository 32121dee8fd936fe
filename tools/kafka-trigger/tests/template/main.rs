//! Reads SAM and CloudFormation templates.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod conditions;
mod corpus;
mod extensions;
mod functions;
mod hostile;
mod intrinsics;
mod parameters;
mod properties;
mod registry;
mod resources;
mod support;
mod syntax;
