//! `GET /{id}/events` and `GET /{id}/versions/{n}`: an order's past.

use serde_json::json;
use tests::system::System;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

#[tokio::test]
async fn the_events_of_an_order_have_their_versions_times_and_causes() {
    let system = System::start().await;
    let traceparent = format!("00-{TRACE}-00f067aa0ba902b7-01");
    let create = system.post("/").key("my-create").json(&json!({"id": "a", "name": "a lamp"}));
    create.await.with_status(201);
    let process = system.post("/a").key("my-process").header("traceparent", &traceparent);
    process.await.with_status(200);
    system.until_status("a", "processed").await;

    let events = system.events("a").await;
    assert_eq!(system.event_types("a").await, ["OrderCreated", "ProcessingStarted", "OrderProcessed"]);
    assert_eq!(events[0]["data"], json!({"name": "a lamp"}));
    assert_eq!(
        (&events[0]["command_id"], &events[1]["command_id"]),
        (&"my-create".into(), &"my-process".into())
    );
    assert_eq!(events[1]["correlation_id"], TRACE);
    assert_eq!(events[2]["correlation_id"], TRACE, "the outcome belongs to what asked for it");
    assert_eq!((&events[2]["causation_id"], &events[2]["actor"]), (&"a@2".into(), &"processor".into()));
    assert!(events[0].get("actor").is_none() && events[0].get("causation_id").is_none());
    assert_eq!(events[0]["correlation_id"].as_str().unwrap().len(), 32);
    let order = system.get("/a").await.json();
    assert_eq!((&events[0]["time"], &events[2]["time"]), (&order["created_at"], &order["updated_at"]));
    assert!(events.iter().map(|event| event["time"].as_str().unwrap()).is_sorted(), "{events:?}");
}

#[tokio::test]
async fn the_history_knows_a_command_as_soon_as_it_is_answered() {
    let system = System::start().await;
    for number in 0..20 {
        let id = format!("a{number}");
        let order = system.create(&id).await.json();
        assert_eq!(system.event_types(&id).await, ["OrderCreated"]);
        assert_eq!(system.get(&format!("/{id}/versions/1")).await.with_status(200).json(), order);
    }
}

#[tokio::test]
async fn an_order_can_be_read_as_it_was_at_every_version() {
    let system = System::start_with(&["--fulfilment", "mock:?failure_rate=1"]).await;
    let new = system.create("a").await.json();
    let processing = system.process("a").await.json();
    let failed = system.until_status("a", "failed").await;
    let cancelled = system.delete("/a").await.with_status(200).json();
    for (version, then) in (1..).zip([new, processing, failed, cancelled]) {
        let answer = system.get(&format!("/a/versions/{version}")).await.with_status(200);
        assert_eq!((answer.json(), answer.version()), (then, version));
        assert_eq!(answer.header("cache-control"), "max-age=31536000, immutable");
    }
    for version in ["0", "5", "9223372036854775807"] {
        let problem = system.get(&format!("/a/versions/{version}")).await.problem(404, "version-not-found");
        assert_eq!(
            (problem.field.as_str(), problem.detail.as_str()),
            ("version", "The order has the versions 1 to 4.")
        );
    }
}

#[tokio::test]
async fn the_events_come_in_pages() {
    let system = System::start_with(&["--fulfilment", "mock:?failure_rate=1"]).await;
    system.create("a").await;
    for version in [3, 5, 7] {
        system.process("a").await;
        system.until_version("a", version).await;
    }
    let whole = system.events("a").await;
    let (mut read, mut next) = (vec![], Some("/a/events?limit=3".to_owned()));
    while let Some(path) = next {
        let answer = system.get(&path).await.with_status(200);
        let page = answer.json().as_array().unwrap().clone();
        assert!((1..=3).contains(&page.len()), "{page:?}");
        read.extend(page);
        next = answer.next_page();
    }
    assert_eq!((read.len(), &read), (7, &whole));
    let rest = system.get("/a/events?after=5").await.with_status(200);
    assert_eq!(rest.json().as_array().unwrap(), &whole[5..]);
    assert_eq!(system.get("/a/events?after=7").await.with_status(200).json(), json!([]));
}
