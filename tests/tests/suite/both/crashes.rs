//! `kill -9` in the middle of a load: nothing that was acknowledged is lost, doubled or left undone.

use std::collections::BTreeMap;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, Ordering};

use futures_util::{StreamExt, stream};
use serde_json::Value;
use tests::poll::until;
use tests::process::Running;
use tests::stores::Stores;
use tests::system::{Setup, System};

/// An address that a killed server's successor finds free again: below the ports that the kernel hands out to others.
pub(crate) fn lasting_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = std::process::id() as u16 % 10_000;
    let address = |_| {
        let port = 20_000 + (first + NEXT.fetch_add(1, Ordering::Relaxed)) % 10_000;
        SocketAddr::from(([127, 0, 0, 1], port))
    };
    (0..100).map(address).find(|address| TcpListener::bind(address).is_ok()).expect("a free port")
}

/// A load of 64 clients, and the file where it notes what was acknowledged.
pub(crate) fn start_load(system: &System, words: &[&str]) -> (Running, PathBuf) {
    let check = system.path("acknowledged");
    let file = ["--clients", "64", "--json", "--check", check.to_str().unwrap()];
    (system.load(&[words, &file].concat()).start(), check)
}

/// Waits until the server has handled so many of the load's commands since its start.
async fn until_handled(system: &System, load: &mut Running, commands: f64) {
    until(&format!("{commands} commands"), async || {
        assert_eq!(load.ended(), None, "the load was over first: {}", load.stdout());
        (commands_of_clients(system).await >= commands).then_some(())
    })
    .await;
}

/// How many commands of clients the server has done since its start; outcomes are the processor's.
pub(crate) async fn commands_of_clients(system: &System) -> f64 {
    let metrics = system.metrics().await;
    let done = |command| metrics.sum("orders_commands_total", &[("command", command), ("result", "done")]);
    done("create") + done("process")
}

/// Each order that a check file names, and whether its processing was acknowledged.
pub(crate) fn acknowledged(check: &Path) -> BTreeMap<String, bool> {
    let mut orders = BTreeMap::new();
    for line in fs::read_to_string(check).unwrap().lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let processed = orders.entry(line["id"].as_str().unwrap().to_owned()).or_insert(false);
        *processed |= line["call"] == "process";
    }
    orders
}

/// What must hold once the system is up again: all that the check file says, and a view that is what the events say.
pub(crate) async fn expect_nothing_lost(system: &System, check: &Path) {
    let file = check.to_str().unwrap();
    let verified = system.load(&["--verify", file, "--json"]).run().await.with_code(0).json();
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

#[tokio::test]
async fn a_load_whose_server_is_killed_and_started_again_ends_with_every_order_done() {
    let mut system = Setup::on(Stores::fresh()).listening_at(lasting_address()).start().await;
    let (mut load, check) = start_load(&system, &["--orders", "3000", "--retries", "100"]);
    // Far fewer than there are, for a load goes on between looking and killing.
    for commands in [100.0, 300.0, 500.0] {
        until_handled(&system, &mut load, commands).await;
        system.kill();
        system.start_again().await;
    }
    let report = load.end().await.with_code(0).json();
    assert_eq!((&report["answered"], &report["not_acknowledged"]), (&6000.into(), &0.into()), "{report}");
    assert!(report["retries"]["no answer"].as_u64().unwrap() > 0, "{report}");
    expect_nothing_lost(&system, &check).await;
    assert!(acknowledged(&check).into_values().all(|processed| processed));
}

#[tokio::test]
async fn a_load_whose_server_is_killed_for_good_loses_nothing_that_was_acknowledged() {
    for commands in [1.0, 250.0, 1000.0] {
        let mut system = System::start().await;
        let (mut load, check) = start_load(&system, &["--orders", "100000", "--retries", "1"]);
        until_handled(&system, &mut load, commands).await;
        system.kill();
        let report = load.end().await.with_code(1).json();
        assert_eq!(report["ended"], "server_gone", "{report}");
        system.start_again().await;
        expect_nothing_lost(&system, &check).await;
    }
}

#[tokio::test]
async fn a_system_killed_again_and_again_while_it_recovers_still_recovers() {
    let mut system = Setup::on(Stores::fresh()).listening_at(lasting_address()).start().await;
    let (mut load, check) = start_load(&system, &["--orders", "600", "--retries", "100"]);
    until_handled(&system, &mut load, 300.0).await;
    for _ in 0..5 {
        // As soon as it is ready, which is while its relay still publishes what the last one left.
        system.kill();
        system.start_again().await;
    }
    load.end().await.with_code(0);
    expect_nothing_lost(&system, &check).await;
}

#[tokio::test]
async fn a_command_is_durable_when_it_is_answered() {
    let mut system = System::start().await;
    for number in 0..5 {
        let id = format!("a{number}");
        let answer = system.create(&id).await;
        system.kill();
        system.start_again().await;
        // A broker waits out the session of a member that was killed before it gives away its partitions.
        let read = system.get(&format!("/{id}?min_version=1")).header("prefer", "wait=20").await;
        assert_eq!(read.with_status(200).json(), answer.json());
    }
}
