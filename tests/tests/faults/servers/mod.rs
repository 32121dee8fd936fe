//! A server that is killed, frozen, slow or cut off under a load: commands go on without Kafka and PostgreSQL, are told to come
//! again without MongoDB, and everything heals by itself. And the client of one, which hangs.
//!
//! [`mixed`] is the load that the independent checker knows all about; others measure.

mod disk_full;
mod forgetful_kafka;
mod frozen_kafka;
#[cfg(target_os = "linux")]
mod hung_client;
mod mixed;
mod outages;
mod proxied;
