//! Orders that wait for their outcome: set aside and brought back, listed, and published again by hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use tests::damage::View;
use tests::fulfilment::{Reply, Service};
use tests::poll::until;
use tests::system::System;

/// Starts a service that fails with order "bad" until the flag says otherwise.
async fn service() -> (Service, Arc<AtomicBool>) {
    let fails = Arc::new(AtomicBool::new(true));
    let shared = Arc::clone(&fails);
    let service = Service::start(move |asked| match asked.body["order"].as_str() {
        Some("bad") if shared.load(Ordering::Relaxed) => Reply::NotNow(503),
        _ => Reply::Fulfilled,
    });
    (service.await, fails)
}

async fn reminders(system: &System, flags: &[&str]) -> Vec<Value> {
    let words = [&["reminders", "--json"], flags].concat();
    system.orders(&words).await.with_code(0).json_lines()
}

#[tokio::test]
async fn an_order_with_which_the_service_fails_is_set_aside_shown_and_brought_back_by_its_reminder() {
    let (service, fails) = service().await;
    let system = System::start_with(&["--fulfilment", service.url()]).await;
    system.create("bad").await;
    system.process("bad").await;
    // Other orders succeed meanwhile, in any partition.
    let mut others = 0;
    let ready = until("the order to be set aside", async || {
        system.create_and_process(&format!("a{others}")).await;
        others += 1;
        let ready = system.admin().get("/readyz").await.with_status(200).json();
        (ready["reminders"]["set_aside"] == 1).then_some(ready)
    })
    .await;
    assert_eq!((&ready["event_store"], &ready["reminders"]["overdue"]), (&"ok".into(), &0.into()));
    let metrics = system.metrics().await;
    assert_eq!(metrics.sum("orders_reminders_set_aside", &[]), 1.0);
    assert!(metrics.sum("orders_fulfilments_total", &[("result", "set-aside")]) >= 1.0);
    let listed = reminders(&system, &["--set-aside"]).await;
    assert_eq!(listed.len(), 1, "{listed:?}");
    assert_eq!((&listed[0]["order"], &listed[0]["state"]), (&"bad".into(), &"set-aside".into()));
    let problem = "the service answered 503 Service Unavailable";
    assert_eq!((&listed[0]["version"], &listed[0]["problem"]), (&2.into(), &problem.into()));
    assert_eq!(reminders(&system, &["--overdue"]).await, [] as [Value; 0]);
    let told = system.orders(&["reminders"]).await.with_code(0).stdout;
    assert!(told.contains("bad@2  set-aside") && told.contains(problem), "{told}");

    fails.store(false, Ordering::Relaxed);
    system.until_status("bad", "processed").await;
    assert_eq!(system.event_types("bad").await, ["OrderCreated", "ProcessingStarted", "OrderProcessed"]);
    until("nothing to wait", async || {
        (system.metrics().await.sum("orders_reminders_waiting", &[]) == 0.0).then_some(())
    })
    .await;
    assert!(system.metrics().await.sum("orders_reminders_sent_total", &[]) >= 1.0);
    let keys = service.asked_about("bad").into_iter().map(|asked| asked.key);
    assert!(keys.into_iter().all(|key| key == "bad@2"), "under one key");
}

#[tokio::test]
async fn what_the_channel_has_lost_is_published_again_by_hand() {
    let mut system = System::start().await;
    system.create_and_process("a").await;
    system.create_and_process("b").await;
    let since = system.events("b").await[0]["time"].as_str().unwrap().to_owned();
    until("all to be marked", async || {
        (system.metrics().await.sum("orders_unpublished_commits", &[]) == 0.0).then_some(())
    })
    .await;
    system.stop().await;
    let mut view = View::of(&system).await;
    view.set_back("a").await;
    view.set_back("b").await;
    drop(view);

    let republished = system.orders(&["republish", "--since", &since, "--json"]).await.with_code(0).json();
    assert_eq!(republished, json!({"orders": 1, "events": 3, "failed": 0}));
    system.start_again().await;
    system.until_status("b", "processed").await;
    assert_eq!(system.get("/a").await.with_status(200).version(), 1, "not since then");
    system.stop().await;
    let told = system.orders(&["republish", "--order", "a"]).await.with_code(0).stdout;
    assert_eq!(told, "published 3 events of 1 orders again; 0 orders failed\n");
    system.start_again().await;
    system.until_status("a", "processed").await;
    system.stop().await;
    let all = system.orders(&["republish", "--json"]).await.with_code(0).json();
    assert_eq!(all, json!({"orders": 2, "events": 6, "failed": 0}));
    system.start_again().await;
    system.expect_verified().await;
}

#[tokio::test]
async fn to_publish_an_order_again_that_is_not_there_is_refused() {
    let mut system = System::start().await;
    system.stop().await;
    let refused = system.orders(&["republish", "--order", "nobody"]).await.with_code(2);
    assert!(refused.stderr.contains("there is no order nobody"), "{refused:?}");
    system.orders(&["republish", "--order", "a", "--since", "2026-01-01T00:00:00Z"]).await.with_code(2);
    system.orders(&["republish", "--since", "yesterday"]).await.with_code(2);
}
