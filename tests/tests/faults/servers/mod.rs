//! A server is killed, frozen, slow or cut off under a load. Commands go on without Kafka and PostgreSQL, and are told to come
//! again without MongoDB. Everything heals by itself. In one test the client of a server hangs.
//!
//! [`mixed`] is the load that the independent checker checks; the other load is measured.

mod disk_full;
mod forgetful_kafka;
mod frozen_kafka;
#[cfg(target_os = "linux")]
mod hung_client;
mod mixed;
mod outages;
mod proxied;
