//! What a fault test has survived: a line of JSON each, for the table of guarantees.

use std::env;
use std::fs::OpenOptions;
use std::io::Write as _;

use serde_json::{Value, json};

/// Names the file that the lines are added to; without it they are only printed.
const REPORT: &str = "ORDERS_FAULTS_REPORT";

/// Says the random numbers that a run takes; the same seed makes the same choices.
const SEED: &str = "ORDERS_FAULTS_SEED";

/// Notes the figures of a test that held, such as `{"kills": 12, "commands": 3400, "lost": 0}`, under its name and the stores it ran on.
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

/// Says what can't run here, and why, past what the test program keeps to itself.
///
/// # Panics
/// When nobody listens.
pub fn not_run(what: &str) {
    std::io::stderr().write_all(format!("NOT RUN: {what}\n").as_bytes()).expect("somebody listens");
}

/// The seed of this run: the one that was asked for, else the same for all.
///
/// # Panics
/// When the one that was asked for is not a whole number.
#[must_use]
pub fn seed() -> u64 {
    env::var(SEED).map_or(1, |seed| seed.parse().expect("a seed is a whole number"))
}
