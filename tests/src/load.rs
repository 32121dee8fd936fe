//! A load of many clients, and what must hold of all that it was told.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use futures_util::{StreamExt, stream};
use serde_json::Value;

use crate::poll::until;
use crate::process::Running;
use crate::system::System;

/// A load of 64 clients, and the file where it notes what was acknowledged.
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

/// How many commands of clients the server has done since its start; outcomes are the processor's.
pub async fn commands_of_clients(system: &System) -> f64 {
    let metrics = system.metrics().await;
    let done = |command| metrics.sum("orders_commands_total", &[("command", command), ("result", "done")]);
    done("create") + done("process")
}

/// Each order that a check file names, and whether its processing was acknowledged.
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

/// Each order that a check file names, and the newest version of it that was acknowledged.
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

/// Reads the list until it shows every order of a check file as new as it was acknowledged; how many that were.
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

/// What must hold once the system is up again: all that the check file says, and a view that is what the events say.
///
/// # Panics
/// When it does not.
pub async fn expect_nothing_lost(system: &System, check: &Path) {
    let file = check.to_str().expect("a path in UTF-8");
    let verified =
        system.load(&["--verify", file, "--json", "--within", "120"]).run().await.with_code(0).json();
    assert_eq!(verified["missed"], 0, "{verified}");
    system.expect_verified().await;
    let orders = acknowledged(check);
    assert_eq!(verified["orders"], orders.len(), "{verified}");
    let streams = stream::iter(&orders).map(|(id, processed)| async move {
        // A process may have been taken without its answer coming through, and then is on its way.
        let types = until(&format!("{id} to be at rest"), async || {
            Some(system.event_types(id).await).filter(|types| types.len() != 2)
        })
        .await;
        let whole = ["OrderCreated", "ProcessingStarted", "OrderProcessed"];
        assert!(types == whole || (!processed && types == whole[..1]), "{id}: {types:?}");
    });
    streams.buffer_unordered(16).collect::<()>().await;
}
