//! Rebuilds and repairs while commands flow. They are killed at any moment.
//!
//! - [`swap`]: rebuilds. [`repair`]: `verify --repair`. [`sessions`]: the remains of a killed tool on a server.
//! - [`watcher`]: a reader for which no order may go back.

mod repair;
mod sessions;
mod swap;
mod watcher;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tests::process::{Finished, Running};
use tests::report;
use tests::system::System;

use crate::expect_acknowledged;

/// Returns random numbers by the seed of this run.
fn random() -> StdRng {
    StdRng::seed_from_u64(report::seed())
}

/// Runs loads one after the other until `over` is set, at least one. Each ends with every command answered. Returns the files
/// where they noted acknowledged commands.
async fn loads(system: &System, over: &AtomicBool) -> Vec<PathBuf> {
    let mut checks = Vec::new();
    while checks.is_empty() || !over.load(Ordering::Relaxed) {
        let prefix = format!("w{}", checks.len());
        let check = system.path(&format!("acknowledged-{prefix}"));
        let file = check.to_str().unwrap();
        let words = ["--orders", "400", "--clients", "8", "--prefix", &prefix, "--json", "--check", file];
        let report = system.load(&words).run().await.with_code(0).json();
        assert_eq!((&report["answered"], &report["not_acknowledged"]), (&800.into(), &0.into()), "{report}");
        checks.push(check);
    }
    checks
}

/// Checks all acknowledged commands of the loads. Returns the number of orders.
async fn expect_all(system: &System, checks: &[PathBuf]) -> u64 {
    let mut orders = 0;
    for check in checks {
        orders += expect_acknowledged(system, check).await;
    }
    orders
}

/// Starts a tool and kills it after a random number of steps; each return of `step` is one. Fails with the finished tool when it
/// came to its end before.
async fn kill_in_time(
    system: &System,
    words: &[&str],
    random: &mut StdRng,
    step: impl AsyncFn(),
) -> Result<(), Finished> {
    let mut tool: Running = system.invocation(words).start();
    for _ in 0..random.random_range(1..40) {
        if tool.ended().is_some() {
            return Err(tool.end().await);
        }
        step().await;
    }
    if tool.ended().is_some() {
        return Err(tool.end().await);
    }
    // It is killed, even if it comes to its end just now.
    drop(tool);
    Ok(())
}
