//! A file that somebody else has locked: the caller is told when to come again.

use rusqlite::Connection;
use serde_json::json;
use tests::poll::until;
use tests::stores::Stores;
use tests::system::{Setup, System};

#[tokio::test]
async fn a_store_that_is_not_available_is_503_and_the_command_can_be_repeated_under_its_key() {
    let mut system = Setup::on(Stores::Embedded).start().await;
    let other = Connection::open(system.path("events.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let create = |system: &System| system.post("/").key("k").json(&json!({"id": "a", "name": "a lamp"}));
    let answer = create(&system).await;
    let problem = answer.problem(503, "unavailable");
    assert_eq!(answer.header("retry-after"), "2");
    let cause = until("the log to have the cause", async || {
        let log = system.server().stderr();
        log.lines().find(|line| line.contains(&problem.trace_id)).map(str::to_owned)
    })
    .await;
    assert!(cause.contains("lock"), "{cause}");
    other.execute_batch("ROLLBACK").unwrap();
    create(&system).await.with_status(201);
    assert_eq!(system.event_types("a").await, ["OrderCreated"]);
}
