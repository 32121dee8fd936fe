//! The value of a record on the channel.

use domain::wire::{self, Undecodable};
use domain::{Aggregate, EncodedEvent, Event, Order, RecordedEvent, Version};
use serde_json::Value;

use crate::values::{assert_is_id, assert_is_line, assert_is_said_shortly};

/// Checks that an event that is read has valid parts and agrees with a plain reading of its JSON. It reads the same after it is
/// written again. A refusal says shortly why, and names a stream only if the stream's id is valid.
pub fn check(value: &[u8]) {
    match wire::decode(value) {
        Ok(recorded) => {
            assert_is_event(&recorded);
            assert_says_the_same(&recorded, value);
            let written = recorded.encode();
            assert_eq!(wire::decode(&written).expect("what was written is read"), recorded);
            assert_heads(&recorded);
        }
        Err(problem) => {
            assert_is_said_shortly(&problem.to_string());
            match problem {
                Undecodable::Malformed(_) | Undecodable::NoValidStream(_) => {}
                Undecodable::BadVersion { stream, version } => {
                    assert_is_id(stream.as_str());
                    assert!(version == 0 || version > Version::MAX, "{version}");
                }
                Undecodable::Unknown { stream, version, .. }
                | Undecodable::Unreadable { stream, version, .. } => {
                    assert_is_id(stream.as_str());
                    assert!((1..=Version::MAX).contains(&version.get()), "{version}");
                }
            }
        }
    }
}

pub(crate) fn assert_is_event(recorded: &RecordedEvent) {
    assert_is_id(recorded.stream.as_str());
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
    // Fields that a newer program added are not compared. They may hold a number, or be nested so deeply, that this plain reading
    // fails.
    let Ok(read) = serde_json::from_slice::<Value>(value) else { return };
    let written = EncodedEvent::encode(&recorded.event);
    assert_eq!(read["type"], *written.kind);
    assert_eq!(read["stream"], recorded.stream.as_str());
    assert_eq!(read["version"], recorded.version.get());
    let data: Value = serde_json::from_str(written.data.get()).expect("data is JSON");
    for (field, written) in data.as_object().expect("data is an object") {
        assert_eq!(&read["data"][field], written);
    }
}

/// Checks that the headers repeat the value, in visible ASCII.
fn assert_heads(recorded: &RecordedEvent) {
    let RecordedEvent { stream, version, time, event } = recorded;
    let event = EncodedEvent::encode(event);
    let headers = wire::headers(Order::SOURCE, stream, *version, *time, &event, None);
    let has = |wanted: &str, text: &str| headers.iter().any(|(name, value)| *name == wanted && value == text);
    assert!(has("ce_id", &format!("{stream}@{version}")) && has("ce_sequence", &version.to_string()));
    assert!(
        headers.iter().all(|(_, value)| value.bytes().all(|byte| byte.is_ascii_graphic())),
        "{headers:?}"
    );
}
