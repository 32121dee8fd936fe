//! What every function and the dispatcher need to run, and nothing of orders.
//!
//! - [`settings`]: flags and `ORDERS_…` variables, declared once for every binary.
//! - [`telemetry`]: the log.
//! - [`problem`]: errors as RFC 9457 problem details: what the caller may know, and apart from it what the log must.
//! - [`routes`]: the routes that a function declares.
//! - [`http`]: what every router is wrapped in: trace id, body limit, panics, unknown routes.
//! - [`json`]: JSON that refuses what it does not know, by name.
//! - [`signals`]: what asks a process to stop.
//! - [`batcher`]: workers that batch what is batcher.
//! - [`files`]: files for their owner alone, and whether they are still there.
//! - [`secret_url`]: URLs that may hold secrets, which nothing prints whole.
//! - [`secrets`]: settings that stand for a secret, looked up where they are kept.
//! - [`kill_points`] (feature `kill-points`): where a process can be made to kill itself.
//! - [`function`] (feature `lambda`): the start-up of a function as a Lambda.

pub mod batcher;
pub mod files;
#[cfg(feature = "lambda")]
pub mod function;
pub mod http;
#[cfg(feature = "lambda")]
mod http_event;
pub mod json;
pub mod kill_points;
pub mod problem;
pub mod routes;
pub mod secret_url;
pub mod secrets;
pub mod settings;
pub mod signals;
pub mod telemetry;
pub mod trace;

pub use kill_points::{KillPoint, kill_point};
pub use problem::Problem;
pub use routes::{Route, Routes, Store};
pub use secret_url::SecretUrl;
pub use trace::Trace;
