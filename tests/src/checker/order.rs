//! The rules for one order, given its events and all answers about it. Pure.

use std::collections::BTreeMap;

use serde_json::Value;

use super::fold::{Wrong, fold};
use super::ledger::{Said, Wanted};
use crate::fulfilment::Reply;

/// The fulfilment service's effects on an order, by the version that asked for them: one for each key.
pub type Effects = BTreeMap<u64, Vec<(String, Reply)>>;

/// Returns every fault of an order, and the order as it must be shown. No client may be sending commands for it.
#[must_use]
pub fn check(id: &str, events: &[Value], said: &[Said], effects: &Effects) -> (Vec<Wrong>, Option<Value>) {
    let shown = match fold(id, events) {
        Ok(shown) => shown,
        Err(wrong) => return (vec![wrong], None),
    };
    let mut wrong = vec![];
    wrong.extend(said.iter().filter_map(|said| taken_once(id, events, &shown, said)));
    wrong.extend(events.iter().filter_map(|event| asked_for(id, events, said, event)));
    wrong.extend(fulfilled_once(id, events, effects));
    (wrong, shown.last().cloned())
}

fn of_command<'e>(events: &'e [Value], key: &'e str) -> impl Iterator<Item = &'e Value> {
    events.iter().filter(move |event| is_by_client(event, key))
}

fn is_by_client(event: &Value, key: &str) -> bool {
    event["command_id"] == key && event["command_kind"] == "client"
}

/// Checks that an acknowledged command took effect once or was true already, and that a refused command took no effect.
fn taken_once(id: &str, events: &[Value], shown: &[Value], said: &Said) -> Option<Wrong> {
    let Said { key, wanted, status, version, body } = said;
    let wrong = |what: &str| Some(format!("{id}: {wanted:?} under {key}, answered {status} {body}: {what}"));
    let found: Vec<&Value> = of_command(events, key).collect();
    if !said.is_done() {
        let was = |statuses: &[&str]| {
            shown.iter().any(|order| statuses.contains(&order["status"].as_str().unwrap_or_default()))
        };
        let allowed = match (wanted, status) {
            (Wanted::Process, 409) => was(&["cancelled"]),
            (Wanted::Cancel { .. }, 409) => was(&["processing", "processed"]),
            _ => false,
        };
        return match (found.is_empty(), allowed) {
            (false, _) => wrong("it was refused and took place"),
            (true, false) => wrong("it must not be refused so"),
            (true, true) => None,
        };
    }
    let Some(then) = version.checked_sub(1).and_then(|place| shown.get(place as usize)) else {
        return wrong("the event store does not have that version");
    };
    if then != body {
        return wrong(&format!("it was answered with something else than {then}"));
    }
    match found[..] {
        [] if wanted.is_true_of(body) && *status == 200 => None,
        [] => wrong("it is lost"),
        [event] if event["version"] != *version => wrong("it took place at another version"),
        [event] if event["type"] != wanted.event() => wrong("it did something else"),
        [_] => None,
        _ => wrong("it took place more than once"),
    }
}

/// Checks that a client's command or an outcome is behind the event.
fn asked_for(id: &str, events: &[Value], said: &[Said], event: &Value) -> Option<Wrong> {
    if said.iter().any(|said| is_by_client(event, &said.key)) {
        return None;
    }
    let version = event["version"].as_u64().unwrap_or_default();
    let started = version.checked_sub(2).and_then(|place| events.get(place as usize));
    let cause = format!("{id}@{}", version.saturating_sub(1));
    let is_outcome = started.is_some_and(|started| started["type"] == "ProcessingStarted")
        && event["causation_id"] == cause
        && event["command_id"] == format!("fulfilment:{cause}")
        && event["command_kind"] == "system";
    if is_outcome { None } else { Some(format!("{id}@{version}: nobody asked for it: {event}")) }
}

/// Checks that each start of processing has one outcome. The outcome is the fulfilment service's reply under the only key that
/// had an effect.
fn fulfilled_once(id: &str, events: &[Value], effects: &Effects) -> Vec<Wrong> {
    let mut wrong = vec![];
    for (version, event) in (1_u64..).zip(events).filter(|(_, event)| event["type"] == "ProcessingStarted") {
        let outcome = events.get(version as usize).map_or(&Value::Null, |outcome| &outcome["type"]);
        let expected = match effects.get(&version).map(Vec::as_slice) {
            Some([(_, Reply::Fulfilled)]) => "OrderProcessed",
            Some([(_, Reply::Refused(..))]) => "ProcessingFailed",
            other => {
                wrong.push(format!("{id}@{version}: fulfilled by {other:?}: {event}"));
                continue;
            }
        };
        if outcome != expected {
            wrong.push(format!("{id}@{version}: its outcome is {outcome}, not {expected}"));
        }
    }
    let is_start = |version: &u64| {
        let event = version.checked_sub(1).and_then(|place| events.get(place as usize));
        event.is_some_and(|event| event["type"] == "ProcessingStarted")
    };
    let stray = effects.keys().filter(|version| !is_start(version));
    wrong.extend(stray.map(|version| format!("{id}@{version}: fulfilled, and it is not in the event store")));
    wrong
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(version: u64, kind: &str, key: &str) -> Value {
        let cause = key.strip_prefix("fulfilment:");
        json!({
            "version": version, "type": kind, "time": "2026-01-02T03:04:05Z", "command_id": key, "causation_id": cause,
            "command_kind": if cause.is_some() { "system" } else { "client" },
            "data": if version == 1 { json!({"name": "a lamp"}) } else { json!({}) },
        })
    }

    fn whole() -> Vec<Value> {
        vec![
            event(1, "OrderCreated", "k1"),
            event(2, "ProcessingStarted", "k2"),
            event(3, "OrderProcessed", "fulfilment:a@2"),
        ]
    }

    fn said(key: &str, wanted: Wanted, status: u16, version: u64) -> Said {
        let body = version.checked_sub(1).map(|place| fold("a", &whole()).unwrap()[place as usize].clone());
        Said { key: key.to_owned(), wanted, status, version, body: body.unwrap_or_default() }
    }

    fn all_said() -> Vec<Said> {
        vec![
            said("k1", Wanted::Create { name: "a lamp".to_owned() }, 201, 1),
            said("k2", Wanted::Process, 200, 2),
            said("k3", Wanted::Process, 200, 3),
            said("k4", Wanted::Cancel { reason: String::new() }, 409, 0),
        ]
    }

    fn effects() -> Effects {
        Effects::from([(2, vec![("a@2".to_owned(), Reply::Fulfilled)])])
    }

    #[track_caller]
    fn expect_wrong(events: &[Value], said: &[Said], effects: &Effects, what: &str) {
        let (wrong, _) = check("a", events, said, effects);
        assert!(wrong.iter().any(|wrong| wrong.contains(what)), "{wrong:?}");
    }

    #[test]
    fn a_whole_order_has_nothing_wrong() {
        let (wrong, shown) = check("a", &whole(), &all_said(), &effects());
        assert_eq!(wrong, [] as [String; 0]);
        assert_eq!(shown.unwrap()["status"], "processed");
    }

    #[test]
    fn what_is_lost_doubled_or_made_up_is_found() {
        let (events, all, done) = (whole(), all_said(), effects());
        expect_wrong(&events[..1], &all[..2], &Effects::new(), "does not have that version");
        let mut other = events.clone();
        other[1]["command_id"] = "other".into();
        expect_wrong(&other, &all, &done, "nobody asked for it");
        let mut gap = events.clone();
        gap[1]["version"] = 3.into();
        expect_wrong(&gap, &all, &done, "a gap or a double");
        let mut twice = events.clone();
        twice[2]["command_id"] = "k2".into();
        twice[2]["command_kind"] = "client".into();
        expect_wrong(&twice, &all, &done, "more than once");
        let mut refused = all.clone();
        refused[1].status = 409;
        expect_wrong(&events, &refused, &done, "refused and took place");
        refused[1].status = 404;
        expect_wrong(&events[..1], &refused[1..2], &Effects::new(), "must not be refused so");
    }

    #[test]
    fn an_outcome_that_is_missing_or_not_what_the_service_said_is_found() {
        let (events, all, done) = (whole(), all_said(), effects());
        expect_wrong(&events[..2], &all[..2], &done, "its outcome is null");
        expect_wrong(&events, &all, &Effects::new(), "fulfilled by None");
        let mut twice = done.clone();
        twice.get_mut(&2).unwrap().push(("other".to_owned(), Reply::Fulfilled));
        expect_wrong(&events, &all, &twice, "fulfilled by Some");
        let refused = Effects::from([(2, vec![("a@2".to_owned(), Reply::Refused(422, String::new()))])]);
        expect_wrong(&events, &all, &refused, "not ProcessingFailed");
        let mut stray = done.clone();
        stray.insert(3, vec![]);
        expect_wrong(&events, &all, &stray, "not in the event store");
    }
}
