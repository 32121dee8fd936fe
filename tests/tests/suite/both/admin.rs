//! The admin listener, which is another one than the API's.

use serde_json::{Value, json};
use tests::poll::until;
use tests::stores::Stores;
use tests::system::System;

#[tokio::test]
async fn health_and_readiness_are_told_to_whoever_runs_it() {
    let system = System::start().await;
    let health = system.admin().get("/healthz").await.with_status(200);
    assert_eq!(health.text(), "ok\n");
    // Only PostgreSQL knows of other replicas. Its session begins with the server, and is told from others a moment later.
    let others = match system.stores() {
        Stores::Postgres(_) => json!({"alive": 0, "left_to_them": 0}),
        Stores::Embedded | Stores::Servers(_) => Value::Null,
    };
    let mut ready = until("the other replicas in /readyz", async || {
        let ready = system.admin().get("/readyz").await.with_status(200).json();
        (ready["other_replicas"] == others).then_some(ready)
    })
    .await;
    let comparison = ready.as_object_mut().unwrap().remove("comparison").unwrap();
    assert_eq!((&comparison["found"], &comparison["filled"]), (&0.into(), &0.into()));
    assert_eq!(
        ready,
        json!({
            "event_store": "ok", "read_store": "ok", "held": [],
            "reminders": {"waiting": 0, "set_aside": 0, "overdue": 0}, "other_replicas": others,
        })
    );
    system.admin().get("/").await.problem(404, "unknown-route");
    system.admin().post("/healthz").await.problem(405, "method-not-allowed");
}

#[tokio::test]
async fn the_public_listener_serves_none_of_it() {
    let system = System::start().await;
    for path in ["/healthz", "/readyz", "/metrics"] {
        // To the API these are ids of orders.
        system.get(path).await.problem(404, "order-not-found");
    }
    system.admin().get("/a/events").await.problem(404, "unknown-route");
}

#[tokio::test]
async fn metrics_count_commands_by_their_result() {
    let system = System::start().await;
    system.create_and_process("a").await;
    system.post("/").json(&json!({"id": "a", "name": "a lamp"})).await.with_status(200);
    system.delete("/a").await.with_status(409);
    system.post("/a").header("if-match", "\"1\"").await.with_status(412);
    system.post("/").key("k").json(&json!({"id": "b", "name": "b"})).await.with_status(201);
    system.post("/b").key("k").await.with_status(422);

    let answer = system.admin().get("/metrics").await.with_status(200);
    assert_eq!(answer.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    let metrics = system.metrics().await;
    for (command, result, count) in [
        ("create", "done", 2.0),
        ("create", "already-true", 1.0),
        ("process", "done", 1.0),
        ("complete", "done", 1.0),
        ("cancel", "rejected", 1.0),
        ("process", "precondition-failed", 1.0),
        ("process", "key-reused", 1.0),
    ] {
        let labels = [("command", command), ("result", result)];
        assert_eq!(metrics.sum("orders_commands_total", &labels), count, "{command} {result}");
    }
    assert_eq!(metrics.sum("orders_command_duration_seconds_count", &[("command", "create")]), 3.0);
    let creates = [("method", "POST"), ("route", "/")];
    assert_eq!(metrics.sum("orders_http_requests_total", &creates), 3.0);
    assert_eq!(metrics.sum("orders_http_request_duration_seconds_count", &creates), 3.0);
    assert_eq!(metrics.sum("orders_fulfilments_total", &[("result", "fulfilled")]), 1.0);
}

#[tokio::test]
async fn metrics_tell_what_is_under_way_and_come_to_rest() {
    let system = System::start().await;
    system.create_and_process("a").await;
    let resting = until("everything to be published", async || {
        let metrics = system.metrics().await;
        let at_rest = |name| metrics.tells(name) && metrics.sum(name, &[]) == 0.0;
        let gauges = [
            "orders_unpublished_commits",
            "orders_publishing_streams",
            "orders_channel_lag",
            "orders_held_events",
        ];
        gauges.into_iter().all(at_rest).then_some(metrics)
    })
    .await;
    for group in ["projector", "processor"] {
        let size = resting.sum("orders_event_source_mapping_batch_size_count", &[("function", group)]);
        assert!(size >= 1.0, "{group}");
    }
    assert!(resting.tells("orders_unpublished_oldest_age"));
}
