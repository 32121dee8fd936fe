//! The functions as Lambdas, on real servers: [`late`] as AWS starts them, [`watch`] by `cargo lambda watch` and `kafka-trigger`.

mod late;
mod watch;
