//! Events as Lambda sends them, into a real read store.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use domain::{EncodedEvent, Event, OrderId, OrderName, OrdersView, Version, wire};
use event_source_mapping::event::KafkaEvent;
use jiff::Timestamp;
use read_store::{HeldReason, ReadStore};
use serde_json::{Value, json};

async fn store(folder: &tempfile::TempDir) -> ReadStore<OrdersView> {
    ReadStore::open(format!("sqlite:{}", folder.path().join("views.db").display())).await.unwrap()
}

fn created(order: &str, version: u64) -> Vec<u8> {
    let event = Event::OrderCreated { name: OrderName::parse("a lamp").unwrap() };
    wire::encode(
        &OrderId::parse(order).unwrap(),
        Version::new(version),
        Timestamp::UNIX_EPOCH,
        &EncodedEvent::encode(&event),
    )
}

fn record(offset: i64, value: &[u8]) -> Value {
    use base64::Engine;
    let value = base64::engine::general_purpose::STANDARD.encode(value);
    json!({"topic": "orders.events", "partition": 0, "offset": offset, "timestamp": 0,
           "timestampType": "CREATE_TIME", "value": value, "headers": []})
}

fn event(records: &[Value]) -> KafkaEvent {
    let event = json!({"eventSource": "SelfManagedKafka", "bootstrapServers": "localhost:9092",
                       "records": {"orders.events-0": records}});
    serde_json::from_str(&event.to_string()).unwrap()
}

#[tokio::test]
async fn headers_that_are_null_or_beyond_127_and_a_missing_value_stop_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    let mut records = [record(0, &created("a", 1)), record(1, &created("b", 1)), record(2, &created("c", 1))];
    records[0]["headers"] = Value::Null;
    records[1]["headers"] = json!([{"trace": [-1, 255, 200, -128]}, {"empty": null}]);
    records[2].as_object_mut().unwrap().remove("value");
    let response = projector::project(&store, event(&records)).await.unwrap();
    assert_eq!(response.batch_item_failures, []);
    for (order, there) in [("a", true), ("b", true), ("c", false)] {
        assert_eq!(store.get(&OrderId::parse(order).unwrap()).await.unwrap().is_some(), there, "{order}");
    }
}

#[tokio::test]
async fn each_kind_of_poison_is_held_with_its_reason_and_the_others_pass() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    let text = String::from_utf8(created("d", 1)).unwrap();
    let records = [
        record(0, b"\xff\xfe not json"),
        record(1, text.replace("OrderCreated", "OrderPainted").as_bytes()),
        record(2, text.replace("\"d\"", "\"no/id\"").as_bytes()),
        record(3, &created("gap", 2)),
        record(4, &created("good", 1)),
    ];
    projector::project(&store, event(&records)).await.unwrap();
    let mut reasons: Vec<_> =
        store.held_summary().await.unwrap().iter().map(|held| (held.reason, held.events)).collect();
    reasons.sort();
    let each = [HeldReason::Gap, HeldReason::Undecodable, HeldReason::UnknownType, HeldReason::NoValidStream];
    assert_eq!(reasons, each.map(|reason| (reason, 1)));
    assert!(store.get(&OrderId::parse("good").unwrap()).await.unwrap().is_some());
}

#[tokio::test]
async fn a_batch_that_comes_again_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    let batch = event(&[record(0, &created("a", 1)), record(1, b"poison")]);
    projector::project(&store, batch.clone()).await.unwrap();
    let before =
        (store.get(&OrderId::parse("a").unwrap()).await.unwrap(), store.held_summary().await.unwrap());
    projector::project(&store, batch).await.unwrap();
    let after =
        (store.get(&OrderId::parse("a").unwrap()).await.unwrap(), store.held_summary().await.unwrap());
    assert_eq!(before, after);
}
