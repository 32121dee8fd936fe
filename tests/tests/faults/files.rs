//! The files of the embedded default, deleted under load.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::json;
use tests::report;
use tests::stores::Stores;
use tests::system::{Setup, System};
use tokio::task::JoinSet;

const CLIENTS: u64 = 16;

/// Commands that each client sends once the folder is gone.
const AFTERWARDS: u64 = 25;

/// Sends commands until the folder is gone, and `AFTERWARDS` more. Returns how many of those that it sent afterwards were
/// acknowledged.
async fn send(system: Arc<System>, client: u64, is_gone: Arc<AtomicBool>, sent: Arc<AtomicU64>) -> u64 {
    let (mut afterwards, mut acknowledged) = (0, 0);
    while afterwards < AFTERWARDS {
        let was_gone = is_gone.load(Ordering::SeqCst);
        let number = sent.fetch_add(1, Ordering::SeqCst);
        let order = json!({"id": format!("c{client}-{number}"), "name": "a lamp"});
        let answer = system.post("/").json(&order).await;
        assert!([201, 503].contains(&answer.status), "{answer:?}");
        if was_gone {
            afterwards += 1;
            acknowledged += u64::from(answer.status == 201);
        }
    }
    acknowledged
}

#[tokio::test]
async fn no_command_is_acknowledged_once_the_data_folder_is_deleted() {
    let system = Arc::new(Setup::on(Stores::Embedded).start().await);
    let (is_gone, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        clients.spawn(send(Arc::clone(&system), client, Arc::clone(&is_gone), Arc::clone(&sent)));
    }
    tests::poll::until("a load", async || (sent.load(Ordering::SeqCst) > 500).then_some(())).await;
    fs::remove_file(system.path("events.db")).unwrap();
    is_gone.store(true, Ordering::SeqCst);
    let acknowledged: u64 = clients.join_all().await.into_iter().sum();
    assert_eq!(acknowledged, 0, "commands were acknowledged that are in no file");
    let commands = CLIENTS * AFTERWARDS;
    report::note("data folder deleted", "embedded", &json!({"commands": commands, "lost": acknowledged}));
    Arc::into_inner(system).unwrap().kill();
}
