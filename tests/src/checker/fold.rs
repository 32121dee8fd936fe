//! Folds an order from its events. The code is separate from the system's own fold, so that the two can be compared.

use serde_json::{Map, Value};

/// The description of a fault, for a reader who has the order's events beside it.
pub type Wrong = String;

/// Returns the order as answers must show it, after its first event, after its second, and so on.
///
/// # Errors
/// When a version is missing or doubled, an event can't follow the one before, or time runs backwards.
pub fn fold(id: &str, events: &[Value]) -> Result<Vec<Value>, Wrong> {
    let mut shown: Vec<Value> = Vec::with_capacity(events.len());
    for (version, event) in (1_u64..).zip(events) {
        let problem = |what: &str| format!("{id}@{version}: {what}: {event}");
        if event["version"] != version {
            return Err(problem("versions have a gap or a double"));
        }
        let mut order = shown.last().and_then(Value::as_object).cloned().unwrap_or_else(|| first(id, event));
        // Timestamps are RFC 3339 with or without a fraction; seconds are enough to see time run backwards.
        if order["updated_at"].as_str().map(second) > event["time"].as_str().map(second) {
            return Err(problem("it was recorded before the last"));
        }
        let before = order.get("status").and_then(Value::as_str).unwrap_or("absent").to_owned();
        let kind = event["type"].as_str().unwrap_or_default();
        let Some(status) = next(&before, kind) else {
            return Err(problem(&format!("it can't follow {before}")));
        };
        order.insert("status".to_owned(), status.into());
        order.insert("version".to_owned(), version.into());
        order.insert("updated_at".to_owned(), event["time"].clone());
        match &event["data"]["reason"] {
            Value::Null => order.remove("reason"),
            reason => order.insert("reason".to_owned(), reason.clone()),
        };
        shown.push(order.into());
    }
    Ok(shown)
}

fn first(id: &str, event: &Value) -> Map<String, Value> {
    let fields = [
        ("id", id.into()),
        ("name", event["data"]["name"].clone()),
        ("created_at", event["time"].clone()),
        ("updated_at", event["time"].clone()),
    ];
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn second(time: &str) -> &str {
    time.get(..19).unwrap_or(time)
}

/// Returns an order's status after an event, or `None` when the event can't happen.
fn next(status: &str, event: &str) -> Option<&'static str> {
    match (status, event) {
        ("absent", "OrderCreated") => Some("new"),
        ("new" | "failed", "ProcessingStarted") => Some("processing"),
        ("processing", "OrderProcessed") => Some("processed"),
        ("processing", "ProcessingFailed") => Some("failed"),
        ("new" | "failed", "OrderCancelled") => Some("cancelled"),
        _ => None,
    }
}
