//! What every function and the dispatcher need to run, and nothing of orders: settings, telemetry, problem details
//! (RFC 9457), strict JSON, workers that batch what is waiting, and the start-up of a function as a Lambda.

pub mod waiting;
