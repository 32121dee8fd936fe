//! The results of fault tests: a line of JSON each, for the table of guarantees.

use std::env;
use std::fs::OpenOptions;
use std::io::Write as _;

use serde_json::{Value, json};

/// The variable that names the file to which lines are added; without it they are only printed.
const REPORT: &str = "ORDERS_FAULTS_REPORT";

/// The variable with the seed of a run's random numbers; the same seed makes the same choices.
const SEED: &str = "ORDERS_FAULTS_SEED";

/// Notes the figures of a test that passed, such as `{"kills": 12, "commands": 3400, "lost": 0}`, under its name and the stores
/// it ran on.
///
/// # Panics
/// When the report can't be written.
pub fn note(test: &str, stores: &str, figures: &Value) {
    let line = json!({"test": test, "stores": stores, "seed": seed(), "figures": figures});
    println!("{line}");
    if let Ok(file) = env::var(REPORT) {
        let mut report = OpenOptions::new().create(true).append(true).open(file).expect("the report opens");
        // One write, since tests run side by side.
        report.write_all(format!("{line}\n").as_bytes()).expect("the report takes a line");
    }
}

/// Prints what can't run here, and why, even if the test program captures output.
///
/// # Panics
/// When standard error is closed.
pub fn not_run(what: &str) {
    std::io::stderr().write_all(format!("NOT RUN: {what}\n").as_bytes()).expect("somebody listens");
}

/// Returns the seed of this run: the one that was asked for, else the same for all.
///
/// # Panics
/// When the one that was asked for is not a whole number.
#[must_use]
pub fn seed() -> u64 {
    env::var(SEED).map_or(1, |seed| seed.parse().expect("a seed is a whole number"))
}
