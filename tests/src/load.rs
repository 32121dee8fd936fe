//! A load of many clients, and checks of the answers that it got.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use futures_util::{StreamExt, stream};
use serde_json::Value;

use crate::poll::until;
use crate::process::Running;
use crate::system::System;

/// Starts a load of 64 clients. Returns it, and the file where it notes acknowledged commands.
///
/// # Panics
/// When it can't be started.
#[must_use]
pub fn start_load(system: &System, words: &[&str]) -> (Running, PathBuf) {
    let check = system.path("acknowledged");
    let file = ["--clients", "64", "--json", "--check", check.to_str().expect("a path in UTF-8")];
    (system.load(&[words, &file].concat()).start(), check)
}

/// Waits until the server has handled so many of the load's commands since its start.
///
/// # Panics
/// When the load ends before.
pub async fn until_handled(system: &System, load: &mut Running, commands: f64) {
    until(&format!("{commands} commands"), async || {
        assert_eq!(load.ended(), None, "the load was over first: {}", load.stdout());
        (commands_of_clients(system).await >= commands).then_some(())
    })
    .await;
}

/// Returns how many commands of clients the server has done since its start. Outcomes are the processor's commands, and are not
/// counted.
pub async fn commands_of_clients(system: &System) -> f64 {
    let metrics = system.metrics().await;
    let done = |command| metrics.sum("orders_commands_total", &[("command", command), ("result", "done")]);
    done("create") + done("process")
}

/// Returns each order in a check file, and whether its processing was acknowledged.
///
/// # Panics
/// When it is not a check file.
#[must_use]
pub fn acknowledged(check: &Path) -> BTreeMap<String, bool> {
    let mut orders = BTreeMap::new();
    for line in lines(check) {
        let processed = orders.entry(line["id"].as_str().expect("an id").to_owned()).or_insert(false);
        *processed |= line["call"] == "process";
    }
    orders
}

/// Returns each order in a check file, and its newest acknowledged version.
///
/// # Panics
/// When it is not a check file.
#[must_use]
pub fn acknowledged_versions(check: &Path) -> BTreeMap<String, u64> {
    let mut orders = BTreeMap::new();
    for line in lines(check) {
        let version = orders.entry(line["id"].as_str().expect("an id").to_owned()).or_insert(0);
        *version = line["version"].as_u64().expect("a version").max(*version);
    }
    orders
}

fn lines(check: &Path) -> Vec<Value> {
    let text = fs::read_to_string(check).expect("a check file");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// Reads the list until it shows every order of a check file at its acknowledged version or a later one. Returns the number of
/// orders.
pub async fn until_queryable(system: &System, check: &Path) -> usize {
    let mut missing = acknowledged_versions(check);
    let orders = missing.len();
    until("every order to be shown as it was acknowledged", async || {
        let mut page = Some("/?limit=500".to_owned());
        while let Some(path) = page {
            let answer = system.get(&path).await.with_status(200);
            for order in answer.json().as_array().expect("a list") {
                let id = order["id"].as_str().expect("an id");
                if missing.get(id).is_some_and(|version| order["version"].as_u64() >= Some(*version)) {
                    missing.remove(id);
                }
            }
            page = answer.next_page();
        }
        missing.is_empty().then_some(orders)
    })
    .await
}

/// Checks that all commands in the check file took effect, and that the view agrees with the events. The system must be up again.
///
/// # Panics
/// When something is lost or differs.
pub async fn expect_nothing_lost(system: &System, check: &Path) {
    let file = check.to_str().expect("a path in UTF-8");
    let verified =
        system.load(&["--verify", file, "--json", "--within", "120"]).run().await.with_code(0).json();
    assert_eq!(verified["missed"], 0, "{verified}");
    system.expect_verified().await;
    let orders = acknowledged(check);
    assert_eq!(verified["orders"], orders.len(), "{verified}");
    let streams = stream::iter(&orders).map(|(id, processed)| async move {
        // The server may have accepted a process command without its answer coming through. Then its outcome is on its way.
        let types = until(&format!("{id} to be at rest"), async || {
            Some(system.event_types(id).await).filter(|types| types.len() != 2)
        })
        .await;
        let whole = ["OrderCreated", "ProcessingStarted", "OrderProcessed"];
        assert!(types == whole || (!processed && types == whole[..1]), "{id}: {types:?}");
    });
    streams.buffer_unordered(16).collect::<()>().await;
}
