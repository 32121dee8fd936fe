//! Records that can't be applied, in the middle of a load: only the orders that they touch are held, and everything heals.
//!
//! - [`topic`]: poison of every kind, produced straight into the topic. [`gaps`]: missing and unknown events, and how they heal.
//! - [`kinds`]: the kinds of poison, and the expected result of each.

mod gaps;
mod kinds;
mod topic;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Value;
use tests::poll::until;
use tests::process::Running;
use tests::system::System;

use crate::expect_acknowledged;

/// A load, and the file where it notes acknowledged commands.
struct Load {
    running: Running,
    check: PathBuf,
}

impl Load {
    fn start(system: &System, orders: u64, prefix: &str) -> Self {
        let check = system.path(&format!("acknowledged-{prefix}"));
        let (orders, file) = (orders.to_string(), check.to_str().unwrap());
        let words = ["--orders", &orders, "--clients", "16", "--prefix", prefix, "--json", "--check", file];
        Self { running: system.load(&words).start(), check }
    }

    /// Checks that every command was answered, and that each order is in the view as acknowledged and, once processed, done.
    /// Returns the number of commands.
    async fn expect_whole(self, system: &System) -> u64 {
        let report = self.running.end().await.with_code(0).json();
        assert_eq!(report["not_acknowledged"], 0, "{report}");
        expect_acknowledged(system, &self.check).await;
        report["answered"].as_u64().unwrap()
    }
}

/// Returns the number of held events by reason, from `/metrics`.
async fn held_by_reason(system: &System) -> BTreeMap<&'static str, u64> {
    let metrics = system.metrics().await;
    let held = |reason| metrics.sum("orders_held_events", &[("reason", reason)]) as u64;
    let reasons = ["gap", "undecodable", "unknown-type", "no-valid-stream"];
    reasons.into_iter().map(|reason| (reason, held(reason))).filter(|(_, events)| *events > 0).collect()
}

/// Waits until so many events are held for these reasons, and no others.
async fn until_held(system: &System, expected: &BTreeMap<&'static str, u64>) {
    let mut before = BTreeMap::new();
    loop {
        // Each step has its own time limit, because the machine may be busy.
        let what = format!("{expected:?} to be held, beyond {before:?}");
        before = until(&what, async || {
            Some(held_by_reason(system).await).filter(|held| *held != before || held == expected)
        })
        .await;
        if before == *expected {
            return;
        }
    }
}

/// Returns the number of held events by order and reason. The order is an empty text for events without one.
async fn held_by_order(system: &System) -> BTreeMap<(String, String), u64> {
    let mut held = BTreeMap::new();
    for event in system.orders(&["held", "list", "--json"]).await.with_code(0).json_lines() {
        let text = |field: &str| event[field].as_str().unwrap_or_default().to_owned();
        *held.entry((text("order"), text("reason"))).or_default() += 1;
    }
    held
}

/// Checks that healthy orders are created, processed and queryable. There are so many that each partition very likely has one.
async fn expect_flow(system: &System, prefix: &str) {
    for number in 0..16 {
        let id = format!("{prefix}-{number}");
        system.create_and_process(&id).await;
        assert_eq!(system.get(&format!("/{id}")).await.with_status(200).header("order-view"), "");
    }
}

/// The value of a record, as the channel carries it.
fn record(order: &str, version: u64, kind: &str, time: &Value) -> Vec<u8> {
    let value = serde_json::json!({
        "type": kind, "schema": 1, "stream": order, "version": version, "time": time, "data": {},
    });
    value.to_string().into_bytes()
}
