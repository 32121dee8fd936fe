//! Every accepted start of processing gets its outcome, whatever happens to its event on the way; and none stops another.

mod lost_topic;
mod stubborn;

use std::time::Duration;

use serde_json::Value;
use tests::http::Http;
use tests::poll::until_within;

/// The time limit for a start. Reminders are due after 5 s, and it takes 45 s until a killed consumer is missed.
const ENDS: Duration = Duration::from_secs(150);

/// Returns the order's events from the event store, once every start has its outcome.
async fn at_its_end(api: &Http, order: &str) -> Vec<Value> {
    until_within(ENDS, &format!("{order} to have its outcome"), async || {
        let told = api.get(&format!("/{order}/events?limit=500")).attempt().await.ok()?;
        if told.status == 404 {
            return Some(vec![]);
        }
        let events = (told.status == 200).then(|| told.json().as_array().cloned())??;
        let waits = events.last().is_some_and(|event| event["type"] == "ProcessingStarted");
        (!waits).then_some(events)
    })
    .await
}
