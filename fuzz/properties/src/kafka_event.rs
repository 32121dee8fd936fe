//! The event of a Kafka event source mapping, and a function's answer to one.

use domain::{OrderId, wire};
use event_source_mapping::event::{BatchResponse, KafkaEvent};

use crate::record::assert_is_event;
use crate::system::{self, System};
use crate::values::assert_is_said_shortly;

/// Checks that an event that was read and written again reads the same, in as many bytes as were counted. The view takes any
/// event, and taking it a second time changes nothing.
pub fn check(bytes: &[u8]) {
    match BatchResponse::from_answer(bytes) {
        Err(error) => assert_is_said_shortly(&error.to_string()),
        Ok(response) => {
            let written = serde_json::to_vec(&response).expect("an answer is JSON");
            assert_eq!(BatchResponse::from_answer(&written).expect("what was written is read"), response);
        }
    }
    let Ok(event) = serde_json::from_slice::<KafkaEvent>(bytes) else { return };
    let written = serde_json::to_vec(&event).expect("an event is JSON");
    assert_eq!(event.json_size(), written.len());
    assert_eq!(serde_json::from_slice::<KafkaEvent>(&written).expect("what was written is read"), event);
    for record in event.records.values().flatten() {
        let written = serde_json::to_vec(record).expect("a record is JSON");
        assert_eq!(record.json_size(), written.len());
    }
    system::with(async |system| {
        let orders = orders(&event);
        project(system, event.clone()).await;
        let before = seen(system, &orders).await;
        project(system, event).await;
        assert_eq!(seen(system, &orders).await, before);
    });
}

fn orders(event: &KafkaEvent) -> Vec<OrderId> {
    let values = event.records.values().flatten().filter_map(|record| record.value.as_deref());
    let decoded = values.filter_map(|value| wire::decode(value).ok());
    decoded.inspect(assert_is_event).map(|recorded| recorded.stream).collect()
}

async fn project(system: &System, event: KafkaEvent) {
    let response = projector::project(&system.view, event).await.expect("the view takes any batch");
    assert_eq!(response, BatchResponse::default());
}

/// Returns the orders and the held events as text.
async fn seen(system: &System, orders: &[OrderId]) -> (Vec<String>, String) {
    let mut seen = vec![];
    for order in orders {
        let found = system.view.get(order).await.expect("the view can be read");
        seen.push(serde_json::to_string(&found).expect("an order is JSON"));
    }
    let held = system.view.held_summary().await.expect("the view can be read");
    (seen, format!("{held:?}"))
}
