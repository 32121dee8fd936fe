//! An order with which the fulfilment service always fails, among others of its partition.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use serde_json::json;
use tests::fulfilment::{Reply, Service};
use tests::poll::until;
use tests::report;
use tests::stores::Stores;
use tests::system::Setup;

use super::at_its_end;

const OTHERS: usize = 60;

/// Creates so many other orders that each partition has some behind the stubborn one.
async fn survive(test: &str, stores: Stores, kind: &str) {
    let is_stubborn = Arc::new(AtomicBool::new(true));
    let service = {
        let is_stubborn = Arc::clone(&is_stubborn);
        Service::start(move |asked| match asked.body["order"].as_str() {
            Some("stubborn") if is_stubborn.load(Ordering::Relaxed) => Reply::NotNow(500),
            _ => Reply::Fulfilled,
        })
        .await
    };
    let system = Setup::on(stores).with(&["--fulfilment", service.url()]).start().await;
    system.create("stubborn").await;
    system.process("stubborn").await;
    let since = Instant::now();
    for number in 0..OTHERS {
        system.create(&format!("other-{number}")).await;
        system.process(&format!("other-{number}")).await;
    }
    for number in 0..OTHERS {
        at_its_end(system.api(), &format!("other-{number}")).await;
    }
    let others = since.elapsed();
    until("the order to be set aside", async || {
        let ready = system.admin().get("/readyz").await.with_status(200).json();
        (ready["reminders"]["set_aside"] == 1).then_some(())
    })
    .await;
    // These orders come behind it in every partition, and none waits.
    for number in 0..OTHERS {
        system.create_and_process(&format!("later-{number}")).await;
    }
    let asked = service.asked_about("stubborn").len();
    assert_eq!(system.event_types("stubborn").await, ["OrderCreated", "ProcessingStarted"]);
    is_stubborn.store(false, Ordering::Relaxed);
    let healing = Instant::now();
    let events = at_its_end(system.api(), "stubborn").await;
    assert_eq!(events.last().expect("an event")["type"], "OrderProcessed");
    let figures = json!({
        "orders": 2 * OTHERS + 1, "calls_in_vain": asked, "others_s": others.as_secs_f64(),
        "healed_s": healing.elapsed().as_secs_f64(),
    });
    report::note(test, kind, &figures);
}

#[tokio::test]
async fn an_order_with_which_the_fulfilment_service_always_fails_stops_no_other() {
    let test = "an_order_with_which_the_fulfilment_service_always_fails_stops_no_other";
    survive(test, Stores::Embedded, "embedded").await;
}

#[tokio::test]
async fn an_order_with_which_the_fulfilment_service_always_fails_stops_no_other_on_servers() {
    let Some(stores) = Stores::servers() else { return };
    let test = "an_order_with_which_the_fulfilment_service_always_fails_stops_no_other_on_servers";
    survive(test, stores, "servers").await;
}
