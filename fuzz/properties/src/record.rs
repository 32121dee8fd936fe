//! The value of a record on the channel.

use domain::wire::{self, RecordedEvent, Undecodable};
use domain::{Event, Version};
use serde_json::Value;

use crate::values::{assert_is_id, assert_is_line, assert_is_said_shortly};

/// An event that is read has valid parts, is what a plain reading of its JSON says, and is read as the same when it is written again.
/// What is not read says shortly why, and names an order only if it is one.
pub fn check(value: &[u8]) {
    match wire::decode(value) {
        Ok(recorded) => {
            assert_is_event(&recorded);
            assert_says_the_same(&recorded, value);
            let written = wire::encode(&recorded.order, recorded.version, recorded.time, &recorded.event);
            assert_eq!(wire::decode(&written).expect("what was written is read"), recorded);
            assert_heads(&recorded);
        }
        Err(problem) => {
            assert_is_said_shortly(&problem.to_string());
            match problem {
                Undecodable::Malformed(_) | Undecodable::NoValidOrder(_) => {}
                Undecodable::BadVersion { order, version } => {
                    assert_is_id(order.as_str());
                    assert!(version == 0 || version > Version::MAX, "{version}");
                }
                Undecodable::Unknown { order, version, .. } => {
                    assert_is_id(order.as_str());
                    assert!((1..=Version::MAX).contains(&version.get()), "{version}");
                }
            }
        }
    }
}

pub(crate) fn assert_is_event(recorded: &RecordedEvent) {
    assert_is_id(recorded.order.as_str());
    assert!((1..=Version::MAX).contains(&recorded.version.get()), "{}", recorded.version);
    match &recorded.event {
        Event::OrderCreated { name } => assert_is_line(name.as_str()),
        Event::ProcessingFailed { reason } | Event::OrderCancelled { reason } => {
            assert_is_line(reason.as_str());
        }
        Event::ProcessingStarted | Event::OrderProcessed => {}
    }
}

fn assert_says_the_same(recorded: &RecordedEvent, value: &[u8]) {
    assert!(std::str::from_utf8(value).is_ok());
    // What a newer program added is not looked at: it may hold a number, or be as deep, as this reading can't take.
    let Ok(read) = serde_json::from_slice::<Value>(value) else { return };
    assert_eq!(read["type"], recorded.event.kind());
    assert_eq!(read["order"], recorded.order.as_str());
    assert_eq!(read["version"], recorded.version.get());
    let data = serde_json::to_value(recorded.event.data()).expect("data is JSON");
    for (field, written) in data.as_object().expect("data is an object") {
        assert_eq!(&read["data"][field], written);
    }
}

/// The headers repeat the value, in visible ASCII.
fn assert_heads(recorded: &RecordedEvent) {
    let RecordedEvent { order, version, time, event } = recorded;
    let headers = wire::headers(order, *version, *time, event, None);
    let has = |wanted: &str, text: &str| headers.iter().any(|(name, value)| *name == wanted && value == text);
    assert!(has("ce_id", &format!("{order}@{version}")) && has("ce_sequence", &version.to_string()));
    assert!(
        headers.iter().all(|(_, value)| value.bytes().all(|byte| byte.is_ascii_graphic())),
        "{headers:?}"
    );
}
