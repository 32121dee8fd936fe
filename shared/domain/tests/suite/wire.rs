//! Events as records: every written event can be read, and anything else is told apart.

use std::borrow::Cow;

use domain::wire::{self, Undecodable};
use domain::{Aggregate, EncodedEvent, Event, Order, OrderId, RecordedEvent, Version};
use jiff::Timestamp;
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::dsl::*;
use crate::strategies::*;

fn decode(value: &[u8]) -> Result<RecordedEvent, Undecodable> {
    wire::decode::<Event>(value)
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn what_is_encoded_is_decoded(
        order in any_id(), version in any_version(), time in any_time(), event in any_event(),
    ) {
        let value = wire::encode(&order, version, time, &EncodedEvent::encode(&event));
        let decoded = decode(&value).unwrap();
        prop_assert_eq!(decoded, RecordedEvent { stream: order, version, time, event });
    }

    #[test]
    fn any_bytes_are_decoded_or_refused(bytes in vec(any::<u8>(), 0..300)) {
        // Random bytes are not even JSON with these fields.
        prop_assert!(matches!(decode(&bytes), Err(Undecodable::Malformed(_))));
    }

    #[test]
    fn a_damaged_record_is_refused_or_is_another_event(
        order in any_id(), version in any_version(), event in any_event(),
        place in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        let mut value = wire::encode(&order, version, Timestamp::UNIX_EPOCH, &EncodedEvent::encode(&event));
        let place = place.index(value.len());
        value[place] = byte;
        if let Ok(decoded) = decode(&value) {
            prop_assert!(decoded.version >= Version::new(1) && decoded.version.get() <= Version::MAX);
            prop_assert_eq!(OrderId::parse(decoded.stream.as_str()), Ok(decoded.stream));
        }
    }

    #[test]
    fn a_record_that_was_cut_is_malformed(
        order in any_id(), version in any_version(), event in any_event(),
        cut in any::<prop::sample::Index>(),
    ) {
        let value = wire::encode(&order, version, Timestamp::UNIX_EPOCH, &EncodedEvent::encode(&event));
        let cut = &value[..cut.index(value.len())];
        prop_assert!(matches!(decode(cut), Err(Undecodable::Malformed(_))));
    }

    #[test]
    fn headers_are_visible_text_whatever_the_event(
        order in any_id(), version in any_version(), time in any_time(), event in any_event(),
    ) {
        for (name, value) in wire::headers(Order::SOURCE, &order, version, time, &EncodedEvent::encode(&event), None) {
            prop_assert!(value.bytes().all(|b| b.is_ascii_graphic()), "{name}: {value:?}");
        }
    }
}

fn some() -> (OrderId, Version, Timestamp) {
    let time = "2026-01-02T03:04:05.678Z".parse().unwrap();
    (OrderId::parse("someid").unwrap(), Version::new(3), time)
}

/// Returns the record of a failure with one changed field.
fn record_with(field: &str, value: Value) -> Vec<u8> {
    let mut record = json!({
        "type": "ProcessingFailed", "schema": 1, "stream": "someid", "version": 3,
        "time": "2026-01-02T03:04:05.678Z", "data": {"reason": "out of stock"},
    });
    record[field] = value;
    serde_json::to_vec(&record).unwrap()
}

#[test]
fn a_record_is_this_json() {
    let (order, version, time) = some();
    let text = |event| {
        String::from_utf8(wire::encode(&order, version, time, &EncodedEvent::encode(&event))).unwrap()
    };
    let record = |kind: &str, data: &str| {
        format!(
            r#"{{"type":"{kind}","schema":1,"stream":"someid","version":3,"time":"2026-01-02T03:04:05.678Z","data":{data}}}"#
        )
    };
    assert_eq!(text(created()), record("OrderCreated", r#"{"name":"a lamp"}"#));
    assert_eq!(text(processing_started()), record("ProcessingStarted", "{}"));
    assert_eq!(text(processed()), record("OrderProcessed", "{}"));
    assert_eq!(text(processing_failed()), record("ProcessingFailed", r#"{"reason":"out of stock"}"#));
    assert_eq!(text(cancelled()), record("OrderCancelled", r#"{"reason":"no longer wanted"}"#));
}

#[test]
fn fields_that_a_newer_program_added_are_ignored() {
    for field in ["added", "data"] {
        let value = json!({"reason": "out of stock", "added": 1});
        let decoded = decode(&record_with(field, value)).unwrap();
        assert_eq!(decoded.event, processing_failed());
    }
}

#[test]
fn a_record_without_one_of_its_fields_is_malformed() {
    let whole: Value = serde_json::from_slice(&record_with("version", json!(3))).unwrap();
    for field in ["type", "schema", "stream", "version", "time", "data"] {
        let mut record = whole.clone();
        record.as_object_mut().unwrap().remove(field);
        let error = decode(&serde_json::to_vec(&record).unwrap()).unwrap_err();
        assert!(matches!(&error, Undecodable::Malformed(text) if text.contains(field)), "{error}");
    }
}

#[test]
fn a_field_of_another_kind_is_malformed() {
    let odd = [
        ("type", json!(1)),
        ("schema", json!("1")),
        ("schema", json!(-1)),
        ("stream", json!(7)),
        ("version", json!(-1)),
        ("version", json!(1.5)),
        ("time", json!("yesterday")),
    ];
    for (field, value) in odd {
        let error = decode(&record_with(field, value)).unwrap_err();
        assert!(matches!(error, Undecodable::Malformed(_)), "{field}: {error}");
    }
}

#[test]
fn what_is_said_of_a_record_is_never_long() {
    let long = "x".repeat(1_000_000);
    let records = [
        ("type", json!(long)),
        ("schema", json!(long)),
        ("stream", json!(long)),
        ("data", json!({"reason": {"no": long}})),
    ];
    for (field, value) in records {
        let error = decode(&record_with(field, value)).unwrap_err().to_string();
        assert!(error.len() < 500, "{field}: {} bytes", error.len());
    }
}

#[test]
fn what_is_no_text_is_malformed_also_where_a_newer_program_may_have_added_something() {
    let mut record = record_with("added", json!("here"));
    let place = record.windows(4).position(|part| part == b"here").unwrap();
    record[place] = 0xff;
    assert!(matches!(decode(&record), Err(Undecodable::Malformed(_))));
}

#[test]
fn a_record_of_no_valid_order_says_so() {
    for id in ["", "..", "a/b", "é"] {
        let error = decode(&record_with("stream", json!(id))).unwrap_err();
        assert!(matches!(error, Undecodable::NoValidStream(_)), "{id:?}: {error}");
    }
}

#[test]
fn a_version_that_no_event_has_is_named_with_its_order() {
    for number in [0, Version::MAX + 1, u64::MAX] {
        match decode(&record_with("version", json!(number))).unwrap_err() {
            Undecodable::BadVersion { stream, version } => {
                assert_eq!((stream.as_str(), version), ("someid", number));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn an_event_that_is_not_known_is_named_with_its_order_and_version() {
    let unknown = [
        ("type", json!("OrderPainted"), "unknown event type \"OrderPainted\""),
        ("schema", json!(2), "unknown schema 2 of event type ProcessingFailed"),
        ("schema", json!(0), "unknown schema 0 of event type ProcessingFailed"),
        ("data", json!({}), "the data of ProcessingFailed schema 1 can't be read: missing field `reason`"),
        (
            "data",
            json!({"reason": ""}),
            "the data of ProcessingFailed schema 1 can't be read: reason is empty",
        ),
    ];
    for (field, value, expected) in unknown {
        let error = decode(&record_with(field, value)).unwrap_err();
        assert!(error.to_string().starts_with(expected), "{error}");
        match error {
            Undecodable::Unknown { stream, version, .. } => {
                assert_eq!((stream.as_str(), version), ("someid", Version::new(3)));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn headers_are_those_of_cloudevents_1_0_in_binary_mode() {
    let (order, version, time) = some();
    let expected = [
        ("ce_specversion", "1.0"),
        ("ce_id", "someid@3"),
        ("ce_type", "ProcessingFailed"),
        ("ce_source", "/orders"),
        ("ce_time", "2026-01-02T03:04:05.678Z"),
        ("ce_sequence", "3"),
        ("content-type", "application/json"),
    ];
    let own = |headers: &[(&'static str, &str)]| -> Vec<_> {
        headers.iter().map(|(name, value)| (*name, Cow::from((*value).to_owned()))).collect()
    };
    assert_eq!(
        wire::headers(
            Order::SOURCE,
            &order,
            version,
            time,
            &EncodedEvent::encode(&processing_failed()),
            None
        ),
        own(&expected)
    );

    let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let traced = wire::headers(
        Order::SOURCE,
        &order,
        version,
        time,
        &EncodedEvent::encode(&processing_failed()),
        Some(traceparent),
    );
    assert_eq!(traced, own(&[expected.as_slice(), &[("traceparent", traceparent)]].concat()));
}

#[test]
fn names_of_attributes_are_what_cloudevents_allows() {
    let (order, version, time) = some();
    for (name, _) in
        wire::headers(Order::SOURCE, &order, version, time, &EncodedEvent::encode(&created()), None)
    {
        let attribute = name.strip_prefix("ce_").unwrap_or("datacontenttype");
        assert!(attribute.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()), "{name}");
    }
}
