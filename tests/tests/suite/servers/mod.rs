//! Tests that need real servers: several processes on the same stores. Without servers none of them runs, and that is printed.

mod copy;
mod relay;
mod replicas;
mod rollout;
