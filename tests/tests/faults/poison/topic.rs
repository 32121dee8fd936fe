//! Poison of every kind, produced straight into the topic during a load. On real servers only: nobody else can write the in-memory
//! channel.

use std::collections::BTreeMap;

use serde_json::json;
use tests::report;
use tests::stores::Stores;
use tests::system::{Setup, System};
use tests::topic::Topic;

use super::kinds::{KINDS, poison};
use super::{Load, expect_flow, held_by_order, until_held};

/// The number of poison records, and the number of orders among which they are.
const POISON: u64 = KINDS * 20;
const ORDERS: u64 = 2_000;

/// The orders that are poisoned. Their number has no common divisor with that of the kinds, so that each gets most kinds.
const VICTIMS: [&str; 7] =
    ["victim-0", "victim-1", "victim-2", "victim-3", "victim-4", "victim-5", "victim-6"];

fn victim(number: u64) -> &'static str {
    VICTIMS[number as usize % VICTIMS.len()]
}

/// Returns the expected number of held events, by order and reason.
fn expected() -> BTreeMap<(String, String), u64> {
    let mut expected = BTreeMap::new();
    for number in 0..POISON {
        if let Some((order, reason)) = poison(number, victim(number)).held {
            *expected.entry((order.to_owned(), reason.to_owned())).or_default() += 1;
        }
    }
    expected
}

fn by_reason(held: &BTreeMap<(String, String), u64>) -> BTreeMap<&'static str, u64> {
    let mut by_reason = BTreeMap::new();
    for reason in ["gap", "undecodable", "unknown-type", "no-valid-stream"] {
        let events = held.iter().filter(|((_, held_for), _)| held_for == reason).map(|(_, events)| events);
        by_reason.insert(reason, events.sum());
    }
    by_reason
}

#[tokio::test]
async fn poison_of_every_kind_during_a_load_holds_the_orders_that_it_touches_and_no_other() {
    let Some(stores) = Stores::servers() else { return };
    let system = Setup::on(stores.clone()).start().await;
    let Stores::Servers(servers) = stores else { unreachable!("these are servers") };
    let topic = Topic::of(&servers);
    for id in VICTIMS.into_iter().chain(["well"]) {
        system.create_and_process(id).await;
    }
    let load = Load::start(&system, ORDERS, "load");
    for number in 0..POISON {
        let poison = poison(number, victim(number));
        topic.send(poison.key.as_deref(), poison.value.as_deref());
        if number % 40 == 0 {
            topic.flush();
            expect_flow(&system, &format!("between-{number}")).await;
        }
    }
    topic.flush();
    let expected = expected();
    until_held(&system, &by_reason(&expected)).await;
    let commands = load.expect_whole(&system).await;
    assert_eq!(held_by_order(&system).await, expected);
    expect_told(&system, &expected).await;

    // No poison was needed: the view is whole with it, and without it.
    system.expect_verified().await;
    drop_what_nobody_needs(&system).await;
    system.expect_verified().await;
    expect_flow(&system, "afterwards").await;
    report::note(
        "poison in the topic",
        "servers",
        &json!({"poison": POISON, "commands": commands, "lost": 0}),
    );
}

/// Checks that clients are told of held orders, and that the operator is told how many there are.
async fn expect_told(system: &System, expected: &BTreeMap<(String, String), u64>) {
    for id in VICTIMS {
        let answer = system.get(&format!("/{id}")).await.with_status(200);
        assert_eq!((answer.header("order-view"), answer.version()), ("held", 3), "{id}");
    }
    let nobody = system.get("/payment").await;
    nobody.problem(404, "order-not-found");
    assert_eq!(nobody.header("order-view"), "held");
    assert_eq!(system.get("/well").await.with_status(200).header("order-view"), "");
    // Pages tell of their own orders alone.
    for (after, told) in [("load", "held"), ("victim-6", "")] {
        let mut page = Some(format!("/?after={after}&limit=500"));
        let mut held = "";
        while let Some(path) = page {
            let answer = system.get(&path).await.with_status(200);
            held = if answer.header("order-view") == "held" { "held" } else { held };
            page = answer.next_page();
        }
        assert_eq!(held, told, "{after}");
    }
    let ready = system.admin().get("/readyz").await.with_status(200).json();
    for (reason, events) in by_reason(expected) {
        let held = ready["held"].as_array().unwrap().iter().find(|held| held["reason"] == reason).unwrap();
        let orders = expected.keys().filter(|(order, held)| held == reason && !order.is_empty()).count();
        assert_eq!((&held["events"], &held["streams"]), (&events.into(), &orders.into()), "{ready}");
        let labels = [("reason", reason)];
        assert_eq!(system.metrics().await.sum("orders_held_orders", &labels), orders as f64, "{reason}");
    }
}

/// Drops held events without a version. Dropping one with a version is refused.
async fn drop_what_nobody_needs(system: &System) {
    let held =
        system.orders(&["held", "list", "--json", "--order", "payment"]).await.with_code(0).json_lines();
    for event in held {
        system.orders(&["held", "drop", &event["id"].to_string()]).await.with_code(0);
    }
    assert_eq!(system.get("/payment").await.header("order-view"), "");
    let held =
        system.orders(&["held", "list", "--json", "--order", VICTIMS[0]]).await.with_code(0).json_lines();
    let needed = held.iter().find(|event| event["reason"] == "gap").unwrap();
    system.orders(&["held", "drop", &needed["id"].to_string()]).await.with_code(1);
}
