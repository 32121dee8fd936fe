//! `Idempotency-Key`: the same command under the same key is answered as it was the first time.

use serde_json::{Value, json};
use tests::http::{Answer, Call};
use tests::poll::until;
use tests::system::System;

fn lamp() -> Value {
    json!({"id": "a", "name": "a lamp"})
}

/// Checks that a call is answered as before: the same status, the same headers about the order, the same body.
async fn expect_same(call: Call, before: &Answer) {
    let again = call.await.with_status(before.status);
    assert_eq!(again.body, before.body);
    for name in ["etag", "location"] {
        assert_eq!(again.header(name), before.header(name));
    }
}

#[tokio::test]
async fn every_command_is_answered_the_same_again_after_the_order_moved_on_and_after_a_restart() {
    let mut system = System::start_with(&["--fulfilment", "mock:?failure_rate=1"]).await;
    let created = system.post("/").key("c").json(&lamp()).await.with_status(201);
    expect_same(system.post("/").key("c").json(&lamp()), &created).await;
    let processing = system.post("/a").key("p").await.with_status(200);
    system.until_status("a", "failed").await;
    let cancelled = system.delete("/a").key("x").json(&json!({"reason": "late"})).await.with_status(200);
    for _ in 0..2 {
        expect_same(system.post("/").key("c").json(&lamp()), &created).await;
        expect_same(system.post("/a").key("p"), &processing).await;
        expect_same(system.delete("/a").key("x").json(&json!({"reason": "late"})), &cancelled).await;
        system.stop().await;
        system.start_again().await;
    }
    let types = system.event_types("a").await;
    assert_eq!(types, ["OrderCreated", "ProcessingStarted", "ProcessingFailed", "OrderCancelled"]);
}

#[tokio::test]
async fn a_command_that_changed_nothing_is_answered_the_same_again_too() {
    let mut system = System::start().await;
    system.create("a").await;
    let as_it_was = system.post("/").key("again").json(&lamp()).await.with_status(200);
    assert_eq!(as_it_was.version(), 1);
    system.process("a").await;
    system.until_status("a", "processed").await;
    expect_same(system.post("/").key("again").json(&lamp()), &as_it_was).await;
    system.stop().await;
    system.start_again().await;
    expect_same(system.post("/").key("again").json(&lamp()), &as_it_was).await;
}

#[tokio::test]
async fn a_create_without_an_id_repeated_under_its_key_finds_the_order_that_it_made() {
    let mut system = System::start().await;
    let create = |system: &System, key| system.post("/").key(key).json(&json!({"name": "a lamp"}));
    let first = create(&system, "one").await.with_status(201);
    let other = create(&system, "two").await.with_status(201);
    assert_ne!(first.json()["id"], other.json()["id"]);
    expect_same(create(&system, "one"), &first).await;
    system.stop().await;
    system.start_again().await;
    expect_same(create(&system, "one"), &first).await;
    let listed = until("both orders in the view", async || {
        let orders = system.get("/").await.json().as_array().unwrap().len();
        (orders >= 2).then_some(orders)
    });
    assert_eq!(listed.await, 2);
}

#[tokio::test]
async fn another_command_under_the_same_key_is_422() {
    let system = System::start().await;
    system.post("/").key("k").json(&lamp()).await.with_status(201);
    let other_name = system.post("/").key("k").json(&json!({"id": "a", "name": "a chair"})).await;
    assert_eq!(other_name.problem(422, "idempotency-key-reused").field, "Idempotency-Key");
    system.post("/a").key("k").await.problem(422, "idempotency-key-reused");
    system.delete("/a").key("k").await.problem(422, "idempotency-key-reused");

    system.delete("/a").key("x").json(&json!({"reason": "one"})).await.with_status(200);
    let other_reason = system.delete("/a").key("x").json(&json!({"reason": "two"})).await;
    other_reason.problem(422, "idempotency-key-reused");
    assert_eq!(system.event_types("a").await, ["OrderCreated", "OrderCancelled"]);

    // A command that changed nothing holds its key just as well.
    system.delete("/a").key("n").await.with_status(200);
    system
        .delete("/a")
        .key("n")
        .json(&json!({"reason": "three"}))
        .await
        .problem(422, "idempotency-key-reused");
}

#[tokio::test]
async fn how_a_body_is_written_makes_no_other_command_of_it() {
    let system = System::start().await;
    let first = system.post("/").key("k").json(&lamp()).await.with_status(201);
    for same in [
        r#"{"name":"a lamp","id":"a"}"#,
        r#" {"id" : "a", "name":"a lamp" } "#,
        r#"{"id":"a","name":"\u0061 lamp","status":"new"}"#,
    ] {
        expect_same(system.post("/").key("k").body(same), &first).await;
    }
}

#[tokio::test]
async fn a_rejected_command_leaves_its_key_free() {
    let system = System::start().await;
    system.post("/a").key("k").await.problem(404, "order-not-found");
    system.create("a").await;
    let processing = system.post("/a").key("k").await.with_status(200);
    assert_eq!(processing.version(), 2);
    expect_same(system.post("/a").key("k"), &processing).await;
}

#[tokio::test]
async fn a_repeated_command_is_answered_whatever_it_says_in_if_match() {
    let system = System::start().await;
    system.create("a").await;
    let process = || system.post("/a").key("k").header("if-match", "\"1\"");
    let processing = process().await.with_status(200);
    system.until_status("a", "processed").await;
    expect_same(process(), &processing).await;
}

#[tokio::test]
async fn keys_of_different_orders_have_nothing_to_do_with_each_other() {
    let system = System::start().await;
    for id in ["a", "b"] {
        let created = system.post("/").key("c").json(&json!({"id": id, "name": id})).await.with_status(201);
        assert_eq!(created.json()["id"], id);
        assert_eq!(system.post(&format!("/{id}")).key("p").await.with_status(200).version(), 2);
    }
}
