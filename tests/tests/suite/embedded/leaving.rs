//! A client that goes away while its command waits for the store.

use rusqlite::Connection;
use serde_json::json;
use tests::poll::until;
use tests::stores::Stores;
use tests::system::{Setup, System};

async fn answered(system: &System, status: &str) -> f64 {
    system.metrics().await.sum("orders_http_requests_total", &[("method", "POST"), ("status", status)])
}

#[tokio::test]
async fn a_command_whose_client_is_gone_holds_its_place_until_it_is_done() {
    let flags = ["--max-in-flight", "1", "--relay-min-age", "86400"];
    let system = Setup::on(Stores::Embedded).with(&flags).start().await;
    let other = Connection::open(system.path("events.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let is_turned_away = async || {
        let answer = system.post("/nobody").await;
        answer.status == 503 && answer.header("retry-after") == "1"
    };
    let create = || system.post("/").json(&json!({"id": "a", "name": "a lamp"}));
    // The other caller may be first, and then this client asks again.
    let client = async { while create().await.status == 503 {} };
    tokio::select! {
        () = client => panic!("it was answered, and the store can't be written to"),
        () = until("its place to be taken", async || is_turned_away().await.then_some(())) => {}
    }
    // The client went away with its call.
    assert!(is_turned_away().await);
    other.execute_batch("ROLLBACK").unwrap();
    system.until_version("a", 1).await;
    until("it to be counted", async || (answered(&system, "2xx").await == 1.0).then_some(())).await;
}
