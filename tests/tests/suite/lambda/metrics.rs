//! Functions report what they count to CloudWatch: one line of the log an invocation, in the embedded metric format.

use serde_json::{Value, json};
use tests::runtime_api::Function;

use super::World;

/// The variables for metrics, as `template.yaml` has them.
const METRICS: [(&str, &str); 2] = [
    ("ORDERS_METRICS_NAMESPACE", "shop"),
    (
        "ORDERS_METRICS",
        "orders_held_events, orders_published_events_total,orders_projected_events_total,orders_unpublished_commits",
    ),
];

/// Returns the lines of a function's log that CloudWatch takes for metrics.
fn reported(function: &Function) -> Vec<Value> {
    let log = function.output();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["_aws"]["CloudWatchMetrics"][0]["Namespace"] == "shop").collect()
}

#[tokio::test]
async fn an_invocation_reports_what_it_has_counted_before_it_answers() {
    let Some(world) = World::new().await else { return };
    let settings = world.settings.iter().map(|(name, value)| (*name, value.as_str()));
    let variables: Vec<(&str, &str)> =
        settings.chain(METRICS).chain([("ORDERS_PUBLISH_PATIENCE", "10000")]).collect();

    let mut create = Function::start("create-order", &variables).await;
    let order = json!({"id": "a", "name": "a lamp"});
    assert_eq!(create.call("POST", "/", Some(&order)).await.0, 201);
    let lines = reported(&create);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_eq!(lines[0]["orders_published_events_total"], 1);
    let dimension = lines[0]["_aws"]["CloudWatchMetrics"][0]["Dimensions"][0][0].as_str().unwrap();
    assert_eq!((dimension, &lines[0][dimension]), ("service", &json!("orders")));
    // A command that changes nothing publishes nothing, and costs no line.
    assert_eq!(create.call("POST", "/", Some(&order)).await.0, 200);
    assert_eq!(reported(&create).len(), 1);

    let mut relay = Function::start("relay", &variables).await;
    relay.invoke(&json!({})).await;
    let lines = reported(&relay);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_eq!(lines[0]["orders_unpublished_commits"], 0.0);

    // Poison is held, and the schedule's invocation, which has no record, measures it.
    let mut projector = Function::start("projector", &variables).await;
    let record = json!({"topic": "t", "partition": 0, "offset": 0, "timestamp": 0, "timestampType": "CREATE_TIME",
                        "value": "bm90IGpzb24=", "headers": []});
    projector.invoke(&json!({"records": {"t-0": [record]}})).await;
    projector.invoke(&json!({"records": {}})).await;
    let lines = reported(&projector);
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert_eq!(lines[0]["orders_projected_events_total"], 1);
    assert_eq!(lines[1]["orders_held_events"], 1.0);
}
