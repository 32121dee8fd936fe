//! Checks that `aws_lambda_events` reads an event from here: most functions in Rust read their events with it.
//! `deploy/examples/check` checks the libraries of other languages.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use event_source_mapping::event::{KafkaEvent, KafkaRecord, TimestampType};

fn record(offset: i64) -> KafkaRecord {
    KafkaRecord {
        topic: "shop.events".into(),
        partition: 3,
        offset,
        // Half a second exactly: the library reads seconds with a fraction, and takes .987 for .986.
        timestamp: 1_545_084_650_500,
        timestamp_type: TimestampType::CreateTime,
        key: Some("a key".into()),
        value: Some(vec![0, 127, 128, 255].into()),
        headers: vec![("trace".into(), Some(vec![0, 127, 128, 255].into()))],
        key_schema_metadata: None,
        value_schema_metadata: None,
    }
}

fn read(records: Vec<KafkaRecord>) -> aws_lambda_events::event::kafka::KafkaEvent {
    let event = KafkaEvent {
        event_source: "aws:kafka".to_owned(),
        event_source_arn: Some("arn:aws:kafka:eu-west-1:123456789012:cluster/c/1".to_owned()),
        bootstrap_servers: Some("one:9092,two:9092".to_owned()),
        records: BTreeMap::from([("shop.events-3".to_owned(), records)]),
    };
    serde_json::from_slice(&serde_json::to_vec(&event).unwrap()).unwrap()
}

#[test]
fn aws_lambda_events_reads_every_field() {
    let event = read(vec![record(15)]);
    assert_eq!(event.event_source.as_deref(), Some("aws:kafka"));
    assert_eq!(event.event_source_arn.as_deref(), Some("arn:aws:kafka:eu-west-1:123456789012:cluster/c/1"));
    assert_eq!(event.bootstrap_servers.as_deref(), Some("one:9092,two:9092"));
    let read = &event.records["shop.events-3"][0];
    assert_eq!(read.topic.as_deref(), Some("shop.events"));
    assert_eq!((read.partition, read.offset), (3, 15));
    assert_eq!(read.timestamp.timestamp_millis(), 1_545_084_650_500);
    assert_eq!(read.timestamp_type.as_deref(), Some("CREATE_TIME"));
    assert_eq!(STANDARD.decode(read.key.as_ref().unwrap()).unwrap(), b"a key");
    assert_eq!(STANDARD.decode(read.value.as_ref().unwrap()).unwrap(), [0, 127, 128, 255]);
    assert_eq!(read.headers[0]["trace"], [0, 127, -128, -1]);
}

#[test]
fn aws_lambda_events_reads_what_has_no_key_value_or_headers() {
    let bare = KafkaRecord { key: None, value: None, headers: Vec::new(), ..record(16) };
    let event = read(vec![bare]);
    let read = &event.records["shop.events-3"][0];
    assert_eq!((&read.key, &read.value), (&None, &None));
    assert!(read.headers.is_empty());
}
