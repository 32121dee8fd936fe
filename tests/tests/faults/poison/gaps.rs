//! Missing events, and events of unknown type, during a load. Their orders wait, and no others.
//!
//! The records are copies of those that the system itself has published. On real servers the test produces them into the topic.
//! On the embedded default the outbox publishes them again.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tests::damage::{View, mark_unpublished};
use tests::report;
use tests::stores::Stores;
use tests::system::System;
use tests::topic::Topic;

use super::{Load, expect_flow, held_by_order, record, until_held};

const ORDERS: usize = 12;

/// Returns the topic; `None` on the embedded default.
fn topic_of(system: &System) -> Option<Topic> {
    match system.stores() {
        Stores::Embedded | Stores::Postgres(_) => None,
        Stores::Servers(servers) => Some(Topic::of(servers)),
    }
}

/// Processed orders whose rows in the view were set back to new. Each has its row from before, and its events.
struct SetBack {
    orders: BTreeMap<String, (Value, Vec<Value>)>,
}

impl SetBack {
    async fn new(system: &System, view: &mut View, prefix: &str) -> Self {
        let mut orders = BTreeMap::new();
        for number in 0..ORDERS {
            let id = format!("{prefix}-{number}");
            let processed = system.create_and_process(&id).await;
            orders.insert(id.clone(), (processed, system.events(&id).await));
            view.set_back(&id).await;
        }
        Self { orders }
    }

    /// Brings a version of each order again, as it was published.
    async fn bring(&self, system: &System, version: u64) {
        let topic = topic_of(system);
        for (id, (_, events)) in &self.orders {
            let Some(topic) = &topic else {
                mark_unpublished(system, id, version as i64).await;
                continue;
            };
            let event = &events[version as usize - 1];
            let value = record(id, version, event["type"].as_str().unwrap(), &event["time"]);
            topic.send(Some(id.as_bytes()), Some(&value));
        }
        topic.iter().for_each(Topic::flush);
    }

    /// Brings all events after the first again, under types that this program does not know, the last one first.
    async fn bring_as_unknown(&self, system: &System, view: &mut View) {
        let topic = topic_of(system);
        for (id, (_, events)) in &self.orders {
            for (place, event) in events.iter().enumerate().skip(1).rev() {
                let version = place as u64 + 1;
                let kind = format!("Future{}", event["type"].as_str().unwrap());
                let value = record(id, version, &kind, &event["time"]);
                if let Some(topic) = &topic {
                    topic.send(Some(id.as_bytes()), Some(&value));
                } else {
                    let text = String::from_utf8(value).unwrap();
                    view.hold(Some(id), Some(version as i64), "unknown-type", &text).await;
                }
            }
        }
        topic.iter().for_each(Topic::flush);
    }

    async fn expect_held_at_1(&self, system: &System) {
        for id in self.orders.keys() {
            let answer = system.get(&format!("/{id}")).await.with_status(200);
            assert_eq!((answer.version(), answer.header("order-view")), (1, "held"), "{id}");
            let same = system.get(&format!("/{id}")).header("if-none-match", "\"1\"").await.with_status(304);
            assert_eq!(same.header("order-view"), "held", "{id}");
            let late = system.get(&format!("/{id}?min_version=3")).header("prefer", "wait=0").await;
            late.problem(503, "view-behind");
            assert_eq!(late.header("order-view"), "held", "{id}");
        }
    }

    async fn expect_as_before(&self, system: &System) {
        for (id, (before, _)) in &self.orders {
            let answer = system.get(&format!("/{id}?min_version=3")).await.with_status(200);
            assert_eq!((answer.header("order-view"), &answer.json()), ("", before), "{id}");
        }
    }
}

#[tokio::test]
async fn gaps_heal_when_the_missing_event_comes_and_a_redrive_after_the_fix_restores_the_rest_in_order() {
    let system = System::start().await;
    let mut view = View::of(&system).await;
    let gaps = SetBack::new(&system, &mut view, "gap").await;
    let unknown = SetBack::new(&system, &mut view, "unknown").await;
    let load = Load::start(&system, 2_000, "load");

    gaps.bring(&system, 3).await;
    unknown.bring_as_unknown(&system, &mut view).await;
    let count = ORDERS as u64;
    until_held(&system, &[("gap", count), ("unknown-type", 2 * count)].into()).await;
    gaps.expect_held_at_1(&system).await;
    unknown.expect_held_at_1(&system).await;
    expect_flow(&system, "beside").await;

    gaps.bring(&system, 2).await;
    until_held(&system, &[("unknown-type", 2 * count)].into()).await;
    gaps.expect_as_before(&system).await;
    let words = ["held", "redrive", "--json"];
    let redriven = system.orders(&words).await.with_code(1).json();
    assert_eq!(redriven, json!({"applied": 0, "removed": 0, "held": 2 * count}), "before the fix");
    unknown.expect_held_at_1(&system).await;

    assert_eq!(view.teach("Future", "").await, 2 * count);
    let redriven = system.orders(&words).await.with_code(0).json();
    assert_eq!(redriven, json!({"applied": 2 * count, "removed": 0, "held": 0}), "after the fix");
    unknown.expect_as_before(&system).await;
    assert_eq!(held_by_order(&system).await, BTreeMap::new());

    let commands = load.expect_whole(&system).await;
    system.expect_verified().await;
    let figures = json!({"gaps": count, "unknown": 2 * count, "commands": commands, "lost": 0});
    report::note("gaps and redrives", system.stores().name(), &figures);
}
