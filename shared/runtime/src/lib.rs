//! The parts that every function and the dispatcher need to run. Nothing here knows of orders.
//!
//! - [`settings`]: flags and `ORDERS_…` variables, declared once for every binary.
//! - [`telemetry`]: the log.
//! - [`problem`]: errors as RFC 9457 problem details. The text for the caller and the text for the log are apart.
//! - [`routes`]: the routes that a function declares.
//! - [`http`]: the wrapper of every router: trace id, body limit, panics, unknown routes.
//! - [`json`]: reads JSON, and names the field of a refusal.
//! - [`signals`]: the signals that ask a process to stop.
//! - [`Backoff`]: the waits between tries of what failed.
//! - [`batcher`]: workers that take all waiting jobs as one batch.
//! - [`files`]: files for their owner alone, and the check that they are still there.
//! - [`secret_url`]: URLs that may hold secrets, which nothing prints whole.
//! - [`secrets`]: settings that stand for a secret, and their lookup.
//! - [`kill_points`] (feature `kill-points`): points at which a process can be made to kill itself.
//! - [`postgres`] (feature `postgres`): the connections of a store to a PostgreSQL server, and its tables.
//! - [`function`] (feature `lambda`): the start-up of a function as a Lambda.

mod backoff;
pub mod batcher;
pub mod files;
#[cfg(feature = "lambda")]
pub mod function;
pub mod http;
#[cfg(feature = "lambda")]
mod http_event;
pub mod json;
pub mod kill_points;
#[cfg(feature = "postgres")]
pub mod postgres;
pub mod problem;
pub mod routes;
pub mod secret_url;
pub mod secrets;
pub mod settings;
pub mod signals;
pub mod telemetry;
pub mod trace;

pub use backoff::Backoff;
pub use kill_points::{KillPoint, kill_point};
pub use problem::Problem;
pub use routes::{Route, Routes, Store};
pub use secret_url::SecretUrl;
pub use trace::Trace;
