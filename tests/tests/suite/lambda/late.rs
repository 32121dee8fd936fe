//! A function begins to connect when it starts, and waits for no server. At its first event it uses the servers that are up by then.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tests::late::Late;
use tests::poll::until;
use tests::proxy::Proxy;
use tests::runtime_api::Function;

use super::World;

/// Returns the server of this setting, which is not up yet, and its URL.
async fn late(world: &World, setting: &str) -> (Late, String) {
    Late::before(world.url(setting)).await
}

#[tokio::test]
async fn functions_survive_an_event_store_and_a_channel_that_come_up_late() {
    let Some(world) = World::new().await else { return };
    let (mut mongodb, event_store) = late(&world, "ORDERS_EVENT_STORE").await;
    let (mut kafka, channel) = late(&world, "ORDERS_CHANNEL").await;
    let variables = [
        ("ORDERS_EVENT_STORE", &*event_store),
        ("ORDERS_CHANNEL", &channel),
        ("ORDERS_PUBLISH_PATIENCE", "100"),
        ("ORDERS_RELAY_MIN_AGE", "0"),
    ];
    let start = async |name: &str| Function::start(name, &variables).await;

    let (mut create, mut process) = (start("create-order").await, start("process-order").await);
    let (mut cancel, mut history) = (start("cancel-order").await, start("history").await);
    let mut processor = start("processor").await;
    let order = json!({"id": "a", "name": "a lamp"});
    assert_eq!(create.call("POST", "/", Some(&order)).await.0, 503);
    assert_eq!(process.call("POST", "/a", None).await.0, 503);
    assert_eq!(cancel.call("DELETE", "/a", None).await.0, 503);
    assert_eq!(history.call("GET", "/a/events", None).await.0, 503);
    // Either the whole batch comes again, or the records that the answer names.
    let started = event("ProcessingStarted", 2, &json!({}));
    let answer = processor.try_invoke(&started).await;
    assert_ne!(answer, Ok(nothing_failed()));

    mongodb.open().await;
    let created = answered(&mut create, "POST", "/", Some(&order), 201).await;
    assert_eq!(created["status"], "new");
    answered(&mut process, "POST", "/a", None, 200).await;
    until("the processor to take its event", async || {
        (processor.try_invoke(&started).await == Ok(nothing_failed())).then_some(())
    })
    .await;
    let events = answered(&mut history, "GET", "/a/events", None, 200).await;
    let kinds: Vec<&Value> = events.as_array().unwrap().iter().map(|event| &event["type"]).collect();
    assert_eq!(kinds, ["OrderCreated", "ProcessingStarted", "OrderProcessed"]);
    answered(&mut cancel, "DELETE", "/a", None, 409).await;

    // The relay publishes the commits that could not be published meanwhile.
    let mut relay = start("relay").await;
    let left = async || {
        let swept = world.orders(&["relay", "--relay-min-age", "3600", "--json"]).run().await;
        swept.json()["left"].clone()
    };
    let swept = relay.invoke(&json!({})).await;
    assert_eq!((&swept["commits"], left().await), (&0.into(), 3.into()), "{swept}");
    kafka.open().await;
    until("the order to be published", async || {
        relay.invoke(&json!({})).await;
        (left().await == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn functions_survive_a_read_store_that_comes_up_late() {
    let Some(world) = World::new().await else { return };
    let (mut postgres, read_store) = late(&world, "ORDERS_READ_STORE").await;
    let variables = [("ORDERS_READ_STORE", &*read_store)];

    let mut query = Function::start("query", &variables).await;
    let mut projector = Function::start("projector", &variables).await;
    assert_eq!(query.call("GET", "/", None).await.0, 503);
    // Without an answer the whole batch comes again.
    let created = event("OrderCreated", 1, &json!({"name": "a lamp"}));
    projector.try_invoke(&created).await.unwrap_err();

    postgres.open().await;
    assert_eq!(answered(&mut query, "GET", "/", None, 200).await, json!([]));
    until("the projector to take its event", async || {
        projector.try_invoke(&created).await.ok().map(|answer| assert_eq!(answer, nothing_failed()))
    })
    .await;
    assert_eq!(answered(&mut query, "GET", "/a", None, 200).await["status"], "new");
}

/// Lambda freezes a function between its start and its first event, and servers and routers forget its connections meanwhile: those
/// that it has begun, and those that were ready.
#[tokio::test]
async fn a_function_that_was_frozen_before_its_first_event_connects_anew() {
    let Some(world) = World::new().await else { return };
    let (mongodb, event_store) = Proxy::before(world.url("ORDERS_EVENT_STORE")).await;
    let (kafka, channel) = Proxy::before(world.url("ORDERS_CHANNEL")).await;
    let variables = [("ORDERS_EVENT_STORE", &*event_store), ("ORDERS_CHANNEL", &channel)];
    for (id, was_ready) in [("a", false), ("b", true)] {
        let mut create = Function::start("create-order", &variables).await;
        create.up().await;
        if was_ready {
            until("it to be connected", async || create.log().contains("connected").then_some(())).await;
        }
        create.freeze();
        mongodb.hang_up();
        kafka.hang_up();
        create.thaw();
        let (status, order) = create.call("POST", "/", Some(&json!({"id": id, "name": "a lamp"}))).await;
        assert_eq!(status, 201, "{order}: {}", create.log());
    }
    let swept = world.orders(&["relay", "--relay-min-age", "3600", "--json"]).run().await.json();
    assert_eq!(swept["left"], 0, "what was answered is published: {swept}");
}

/// Returns Lambda's event for one event of the order `a`.
fn event(kind: &str, version: u64, data: &Value) -> Value {
    let value = json!({"type": kind, "schema": 1, "stream": "a", "version": version, "time": "2026-01-01T00:00:00Z", "data": data});
    let record = json!({"topic": "orders.events", "partition": 0, "offset": version, "timestamp": 0, "timestampType": "CREATE_TIME",
        "value": STANDARD.encode(value.to_string()), "headers": []});
    json!({"eventSource": "SelfManagedKafka", "bootstrapServers": "localhost:9092", "records": {"orders.events-0": [record]}})
}

fn nothing_failed() -> Value {
    json!({"batchItemFailures": []})
}

/// Calls until the answer has this status. Until then, every answer says that a store can't be reached.
async fn answered(
    function: &mut Function,
    method: &str,
    path: &str,
    body: Option<&Value>,
    status: u64,
) -> Value {
    until(&format!("{method} {path} to be answered {status}"), async || {
        let (answered, body) = function.call(method, path, body).await;
        assert!(answered == status || answered == 503, "{answered} {body}");
        (answered == status).then_some(body)
    })
    .await
}
