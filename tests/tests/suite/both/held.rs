//! `orders held`: events that can't be applied are held, shown, and dealt with.

use serde_json::{Value, json};
use tests::damage::{View, mark_unpublished};
use tests::poll::until;
use tests::system::System;

/// Starts a system whose view has lost version 2 of "gappy", so that version 3 is held.
async fn with_a_gap() -> System {
    let mut system = System::start().await;
    system.create_and_process("gappy").await;
    system.create_and_process("well").await;
    system.stop().await;
    View::of(&system).await.set_back("gappy").await;
    mark_unpublished(&system, "gappy", 3).await;
    system.start_again().await;
    until("version 3 to be held", async || held(&system).await.first().cloned()).await;
    system
}

async fn held(system: &System) -> Vec<Value> {
    system.orders(&["held", "list", "--json"]).await.with_code(0).json_lines()
}

/// The value of a record, as the channel carries it.
fn record(order: &str, version: u64, kind: &str) -> String {
    let record = json!({
        "type": kind, "schema": 1, "stream": order, "version": version, "time": "2026-01-02T03:04:05Z", "data": {},
    });
    record.to_string()
}

#[tokio::test]
async fn an_event_whose_predecessor_is_missing_is_held_and_blocks_nobody_else() {
    let system = with_a_gap().await;
    let held = held(&system).await;
    assert_eq!(held.len(), 1, "{held:?}");
    assert_eq!((&held[0]["order"], &held[0]["version"]), (&"gappy".into(), &3.into()));
    assert_eq!((&held[0]["reason"], &held[0]["key"]), (&"gap".into(), &"gappy".into()));
    let value: Value = serde_json::from_str(held[0]["value"].as_str().unwrap()).unwrap();
    assert_eq!((&value["type"], &value["version"]), (&"OrderProcessed".into(), &3.into()));
    let id = held[0]["id"].to_string();
    assert_eq!(system.orders(&["held", "show", &id, "--json"]).await.with_code(0).json(), held[0]);
    let of = async |order| {
        system.orders(&["held", "list", "--order", order, "--json"]).await.with_code(0).json_lines().len()
    };
    assert_eq!((of("gappy").await, of("well").await), (1, 0));
    let told = system.orders(&["held", "list"]).await.with_code(0).stdout;
    assert!(told.contains("gappy@3  gap") && told.ends_with("1 held events\n"), "{told}");

    let ready = system.admin().get("/readyz").await.with_status(200).json();
    assert_eq!(ready["held"], json!([{"reason": "gap", "events": 1, "streams": 1}]));
    assert_eq!(system.metrics().await.sum("orders_held_events", &[("reason", "gap")]), 1.0);
    assert_eq!(system.metrics().await.sum("orders_held_orders", &[("reason", "gap")]), 1.0);
    let behind = system.get("/gappy").await.with_status(200);
    assert_eq!((behind.version(), behind.header("order-view")), (1, "held"));
    assert_eq!(system.get("/?limit=1").await.with_status(200).header("order-view"), "held");
    assert_eq!(system.get("/?after=gappy").await.with_status(200).header("order-view"), "");
    assert_eq!(system.get("/well").await.with_status(200).header("order-view"), "");
    system.create_and_process("next").await;
}

#[tokio::test]
async fn an_event_that_its_order_needs_can_be_neither_dropped_nor_forced_in() {
    let system = with_a_gap().await;
    let id = held(&system).await[0]["id"].to_string();
    let refused = system.orders(&["held", "drop", &id]).await.with_code(1);
    assert!(refused.stderr.contains("gappy"), "{refused:?}");
    let redriven = system.orders(&["held", "redrive", "--json"]).await.with_code(1).json();
    assert_eq!(redriven, json!({"applied": 0, "removed": 0, "held": 1}));
    assert_eq!(held(&system).await.len(), 1);
}

#[tokio::test]
async fn an_event_that_is_truly_lost_is_repaired_from_the_event_store() {
    let system = with_a_gap().await;
    let report =
        system.orders(&["verify", "--patience", "0.1", "--repair", "--json"]).await.with_code(0).json();
    assert_eq!((&report["faults"], &report["repaired"]), (&1.into(), &1.into()), "{report}");
    system.until_status("gappy", "processed").await;
    assert_eq!(held(&system).await, [] as [Value; 0], "what the row has passed is held no longer");
    system.expect_verified().await;
}

#[tokio::test]
async fn a_gap_heals_by_itself_when_the_missing_event_comes() {
    let mut system = with_a_gap().await;
    system.stop().await;
    mark_unpublished(&system, "gappy", 2).await;
    system.start_again().await;
    system.until_status("gappy", "processed").await;
    until("nothing to be held", async || held(&system).await.is_empty().then_some(())).await;
    assert_eq!(system.get("/gappy").await.with_status(200).header("order-view"), "");
    system.expect_verified().await;
}

#[tokio::test]
async fn events_that_a_newer_program_knows_are_applied_in_their_order_by_a_redrive() {
    let system = System::start().await;
    system.create_and_process("a").await;
    let before = system.get("/a").await.json();
    let mut view = View::of(&system).await;
    view.set_back("a").await;
    let events = system.events("a").await;
    // The later event is held first, because a redrive must go by the versions.
    for (version, kind) in [(3, "OrderProcessed"), (2, "ProcessingStarted")] {
        let mut value: Value = serde_json::from_str(&record("a", version, kind)).unwrap();
        value["time"] = events[version as usize - 1]["time"].clone();
        view.hold(Some("a"), Some(version as i64), "unknown-type", &value.to_string()).await;
    }
    let redriven = system.orders(&["held", "redrive", "--order", "a", "--json"]).await.with_code(0).json();
    assert_eq!(redriven, json!({"applied": 2, "removed": 0, "held": 0}));
    assert_eq!(system.get("/a").await.json(), before);
    system.expect_verified().await;
}

#[tokio::test]
async fn what_is_no_event_stays_held_until_it_is_dropped() {
    let system = System::start().await;
    let mut view = View::of(&system).await;
    view.hold(None, None, "undecodable", "not JSON \u{0}").await;
    view.hold(Some("a"), Some(1), "unknown-type", &record("a", 1, "OrderPainted")).await;
    let redriven = system.orders(&["held", "redrive"]).await.with_code(1);
    assert_eq!(redriven.stdout, "0 applied, 0 removed as no longer needed, 2 still held\n");
    let [garbage, painted] = &held(&system).await[..] else { panic!("two are held") };
    assert_eq!(
        (&garbage["reason"], &garbage["order"], &garbage["value"]),
        (&"undecodable".into(), &Value::Null, &"not JSON \u{0}".into())
    );
    assert_eq!((&painted["reason"], &painted["order"]), (&"unknown-type".into(), &"a".into()));

    let (garbage, painted) = (garbage["id"].to_string(), painted["id"].to_string());
    system.orders(&["held", "drop", &garbage]).await.with_code(0);
    system.orders(&["held", "drop", &painted]).await.with_code(1);
    for words in [["held", "drop", &garbage], ["held", "show", &garbage], ["held", "show", "999"]] {
        let missing = system.orders(&words).await.with_code(1);
        assert_eq!(missing.stderr.lines().count(), 1, "{missing:?}");
    }
    // Once the order has reached that version in another way, nobody needs the held event.
    system.create("a").await;
    system.until_version("a", 1).await;
    let left = until("the order to be mended", async || {
        system.orders(&["held", "redrive"]).await.code.filter(|code| *code == 0)
    });
    left.await;
    assert_eq!(held(&system).await, [] as [Value; 0]);
    system.expect_verified().await;
}
