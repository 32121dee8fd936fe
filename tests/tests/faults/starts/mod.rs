//! Every accepted start of processing ends, whatever becomes of its event on the way; and none stops another.

mod lost_topic;
mod stubborn;

use std::time::Duration;

use serde_json::Value;
use tests::http::Http;
use tests::poll::until_within;

/// How long a start may take to its end: reminders are due after 5 s, and a consumer that was killed is missed for 45 s.
const ENDS: Duration = Duration::from_secs(150);

/// The order's events, by the event store, once no start is without its outcome.
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
