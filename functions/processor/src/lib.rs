//! Kafka batch in: fulfils orders and records each outcome.
