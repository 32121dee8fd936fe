//! Compares the event's JSON with AWS's documented examples, and reads forms that no document promises.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// The example event of the AWS page "Using Lambda with Amazon MSK".
const MSK: &str = r#"{
  "eventSource":"aws:kafka",
  "eventSourceArn":"arn:aws:kafka:us-east-1:123456789012:cluster/vpc-2priv-2pub/751d2973-a626-431c-9d4e-d7975eb44dd7-2",
  "bootstrapServers":"b-2.demo-cluster-1.a1bcde.c1.kafka.us-east-1.amazonaws.com:9092,b-1.demo-cluster-1.a1bcde.c1.kafka.us-east-1.amazonaws.com:9092",
  "records":{
    "mytopic-0":[
      {
        "topic":"mytopic",
        "partition":0,
        "offset":15,
        "timestamp":1545084650987,
        "timestampType":"CREATE_TIME",
        "key":"abcDEFghiJKLmnoPQRstuVWXyz1234==",
        "value":"SGVsbG8sIHRoaXMgaXMgYSB0ZXN0Lg==",
        "headers":[{"headerKey":[104,101,97,100,101,114,86,97,108,117,101]}]
      }
    ]
  }
}"#;

/// The example event of the AWS page "Using Lambda with self-managed Apache Kafka".
const SELF_MANAGED: &str = r#"{
  "eventSource":"SelfManagedKafka",
  "bootstrapServers":"b-2.demo-cluster-1.a1bcde.c1.kafka.us-east-1.amazonaws.com:9092",
  "records":{
    "mytopic-0":[
      {
        "topic":"mytopic",
        "partition":0,
        "offset":15,
        "timestamp":1545084650987,
        "timestampType":"CREATE_TIME",
        "key":"cmVjb3JkS2V5",
        "value":"SGVsbG8sIHRoaXMgaXMgYSB0ZXN0Lg==",
        "headers":[{"headerKey":[104,101,97,100,101,114,86,97,108,117,101]}]
      }
    ]
  }
}"#;

fn read(json: &str) -> KafkaEvent {
    serde_json::from_str(json).unwrap()
}

fn record(fields: Value) -> KafkaRecord {
    let mut json = json!({"topic": "t", "partition": 1, "offset": 2});
    json.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    serde_json::from_str(&json.to_string()).unwrap()
}

fn bytes(of: &[u8]) -> Option<Bytes> {
    Some(Bytes::copy_from_slice(of))
}

#[test]
fn awss_example_for_msk_is_read() {
    let event = read(MSK);
    assert_eq!(event.event_source, "aws:kafka");
    assert!(event.event_source_arn.unwrap().ends_with("d7975eb44dd7-2"));
    let record = &event.records["mytopic-0"][0];
    assert_eq!((&*record.topic, record.partition, record.offset), ("mytopic", 0, 15));
    assert_eq!((record.timestamp, record.timestamp_type), (1_545_084_650_987, TimestampType::CreateTime));
    assert_eq!(record.value, bytes(b"Hello, this is a test."));
    assert_eq!(record.headers, [("headerKey".into(), bytes(b"headerValue"))]);
}

/// The event of both examples, apart from the source that they name.
fn example(event_source: &str, bootstrap_servers: &str, key: Bytes) -> KafkaEvent {
    let record = KafkaRecord {
        topic: "mytopic".into(),
        partition: 0,
        offset: 15,
        timestamp: 1_545_084_650_987,
        timestamp_type: TimestampType::CreateTime,
        key: Some(key),
        value: bytes(b"Hello, this is a test."),
        headers: vec![("headerKey".into(), bytes(b"headerValue"))],
        key_schema_metadata: None,
        value_schema_metadata: None,
    };
    KafkaEvent {
        event_source: event_source.to_owned(),
        event_source_arn: None,
        bootstrap_servers: Some(bootstrap_servers.to_owned()),
        records: BTreeMap::from([("mytopic-0".to_owned(), vec![record])]),
    }
}

/// Removes all spaces. No text of the examples has one.
fn without_spaces(json: &str) -> String {
    json.split_whitespace().collect()
}

#[test]
fn an_event_of_self_managed_kafka_is_written_as_awss_example_has_it() {
    let servers = "b-2.demo-cluster-1.a1bcde.c1.kafka.us-east-1.amazonaws.com:9092";
    let event = example("SelfManagedKafka", servers, "recordKey".into());
    assert_eq!(serde_json::to_string(&event).unwrap(), without_spaces(SELF_MANAGED));
    assert_eq!(read(SELF_MANAGED), event);
}

#[test]
fn an_event_of_msk_is_written_as_awss_example_has_it() {
    let servers = "b-2.demo-cluster-1.a1bcde.c1.kafka.us-east-1.amazonaws.com:9092,\
                   b-1.demo-cluster-1.a1bcde.c1.kafka.us-east-1.amazonaws.com:9092";
    let cluster =
        "arn:aws:kafka:us-east-1:123456789012:cluster/vpc-2priv-2pub/751d2973-a626-431c-9d4e-d7975eb44dd7-2";
    let event = KafkaEvent {
        event_source_arn: Some(cluster.to_owned()),
        ..example("aws:kafka", servers, "recordKey".into())
    };
    // No bytes are written as the example's key, so the test replaces that key.
    let expected = MSK.replace("abcDEFghiJKLmnoPQRstuVWXyz1234==", "cmVjb3JkS2V5");
    assert_eq!(serde_json::to_string(&event).unwrap(), without_spaces(&expected));
    assert_eq!(read(&expected), event);
}

#[test]
fn awss_placeholder_for_a_key_is_not_base64_and_is_kept_as_text() {
    // Its last character has bits that no encoder would write.
    assert!(STANDARD.decode("abcDEFghiJKLmnoPQRstuVWXyz1234==").is_err());
    assert_eq!(read(MSK).records["mytopic-0"][0].key, bytes(b"abcDEFghiJKLmnoPQRstuVWXyz1234=="));
}

#[test]
fn a_record_without_key_and_value_is_written_without_them() {
    let written = serde_json::to_value(record(json!({}))).unwrap();
    let expected = json!({
        "topic": "t", "partition": 1, "offset": 2, "timestamp": 0, "timestampType": "CREATE_TIME", "headers": []
    });
    assert_eq!(written, expected);
}

#[test]
fn schemas_are_written_as_awss_page_has_them_and_what_is_none_is_passed_over() {
    let schema = json!({"dataFormat": "AVRO", "schemaId": "1234"});
    let read = record(json!({"valueSchemaMetadata": schema, "keySchemaMetadata": "odd"}));
    assert_eq!(read.key_schema_metadata, None);
    let written = serde_json::to_value(&read).unwrap();
    assert_eq!((&written["valueSchemaMetadata"], written.get("keySchemaMetadata")), (&schema, None));
}

#[test]
fn header_bytes_over_127_are_written_as_negative_numbers() {
    let record = KafkaRecord {
        headers: vec![("h".into(), bytes(&[0, 127, 128, 255])), ("h".into(), None)],
        ..record(json!({}))
    };
    let written = serde_json::to_value(&record).unwrap();
    assert_eq!(written["headers"], json!([{"h": [0, 127, -128, -1]}, {"h": null}]));
}

#[test]
fn header_bytes_are_read_signed_and_unsigned() {
    let read = record(json!({"headers": [{"a": [-128, -1, 128, 255, 7]}, {"a": null}, {"b": []}]}));
    let expected =
        [("a".into(), bytes(&[128, 255, 128, 255, 7])), ("a".into(), None), ("b".into(), bytes(b""))];
    assert_eq!(read.headers, expected);
}

#[test]
fn missing_and_null_headers_are_none() {
    for fields in [json!({}), json!({"headers": null}), json!({"headers": []}), json!({"headers": [null]})] {
        assert_eq!(record(fields).headers, []);
    }
}

#[test]
fn null_keys_and_values_are_none() {
    let read = record(json!({"key": null, "value": null, "timestampType": null, "timestamp": null}));
    assert_eq!(read, record(json!({})));
}

#[test]
fn fields_that_nobody_knows_are_passed_over() {
    let event =
        read(r#"{"new": 1, "records": {"t-1": [{"topic": "t", "partition": 1, "offset": 2, "new": {}}]}}"#);
    assert_eq!(event.records["t-1"], [record(json!({}))]);
}

#[test]
fn an_event_without_records_is_empty() {
    for json in ["{}", r#"{"records": null}"#, r#"{"records": {}, "eventSource": null}"#] {
        assert_eq!(read(json), KafkaEvent::default());
    }
}

#[test]
fn what_is_not_base64_is_kept_as_it_was_written() {
    for (value, kept) in [
        (json!("not base64!"), "not base64!"),
        (json!("YQ"), "YQ"),
        (json!(12), "12"),
        (json!(true), "true"),
        (json!({"a": [1]}), r#"{"a":[1]}"#),
        (json!(["x"]), r#"["x"]"#),
    ] {
        assert_eq!(record(json!({"value": value})).value, bytes(kept.as_bytes()));
    }
}

#[test]
fn an_unknown_timestamp_type_is_the_default() {
    let read = |name: &str| record(json!({"timestampType": name})).timestamp_type;
    assert_eq!(read("LOG_APPEND_TIME"), TimestampType::LogAppendTime);
    assert_eq!(read("NO_TIMESTAMP_TYPE"), TimestampType::CreateTime);
}

#[test]
fn a_response_is_written_as_aws_documents_it() {
    let failure = BatchItemFailure { partition: "shop.events-3".to_owned(), offset: 17 };
    let response = BatchResponse { batch_item_failures: vec![failure] };
    let json =
        json!({"batchItemFailures": [{"itemIdentifier": {"partition": "shop.events-3", "offset": 17}}]});
    assert_eq!(serde_json::to_value(&response).unwrap(), json);
    assert_eq!(BatchResponse::from_answer(json.to_string().as_bytes()).unwrap(), response);
}

#[test]
fn an_empty_answer_says_that_everything_succeeded() {
    for answer in ["", " ", "null", "{}", r#"{"batchItemFailures": null}"#, r#"{"batchItemFailures": []}"#] {
        assert_eq!(BatchResponse::from_answer(answer.as_bytes()).unwrap(), BatchResponse::default());
    }
}

#[test]
fn a_malformed_answer_is_a_failure_of_the_whole_batch() {
    for answer in [
        r#""done""#,
        "nonsense",
        r#"{"batchItemFailures": [{}]}"#,
        r#"{"batchItemFailures": [{"itemIdentifier": null}]}"#,
        r#"{"batchItemFailures": [{"itemIdentifier": ""}]}"#,
        r#"{"batchItemFailures": [{"itemIdentifier": {"partition": "t-0"}}]}"#,
        r#"{"batchItemFailures": [{"itemIdentifier": {"partition": "t-0", "offset": "1"}}]}"#,
    ] {
        let error = BatchResponse::from_answer(answer.as_bytes()).unwrap_err();
        assert!(matches!(error, crate::InvokeError::Function(_)), "{answer}: {error}");
    }
    let long = BatchResponse::from_answer(format!("\"{}\"", "x".repeat(100_000)).as_bytes()).unwrap_err();
    assert!(long.to_string().len() < 1_000);
}

fn any_bytes() -> impl Strategy<Value = Option<Bytes>> {
    proptest::option::of(proptest::collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from))
}

fn any_schema() -> impl Strategy<Value = Option<Arc<SchemaMetadata>>> {
    let schema = any::<(String, String)>()
        .prop_map(|(data_format, schema_id)| Arc::new(SchemaMetadata { data_format, schema_id }));
    proptest::option::of(schema)
}

fn any_record() -> impl Strategy<Value = KafkaRecord> {
    let headers = proptest::collection::vec((any::<String>().prop_map(Cow::Owned), any_bytes()), 0..4);
    let numbers = (any::<i32>(), any::<i64>(), any::<i64>());
    let schemas = (any_schema(), any_schema());
    (any::<String>(), numbers, any::<bool>(), any_bytes(), any_bytes(), headers, schemas).prop_map(
        |(topic, (partition, offset, timestamp), appended, key, value, headers, schemas)| KafkaRecord {
            topic: topic.into(),
            partition,
            offset,
            timestamp,
            timestamp_type: if appended { TimestampType::LogAppendTime } else { TimestampType::CreateTime },
            key,
            value,
            headers,
            key_schema_metadata: schemas.0,
            value_schema_metadata: schemas.1,
        },
    )
}

fn any_event() -> impl Strategy<Value = KafkaEvent> {
    let text = || proptest::option::of(any::<String>());
    let lists =
        proptest::collection::btree_map(any::<String>(), proptest::collection::vec(any_record(), 0..4), 0..4);
    (any::<String>(), text(), text(), lists).prop_map(
        |(event_source, event_source_arn, bootstrap_servers, records)| KafkaEvent {
            event_source,
            event_source_arn,
            bootstrap_servers,
            records,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn what_is_written_is_read_again(event in any_event()) {
        let json = serde_json::to_vec(&event).unwrap();
        prop_assert_eq!(serde_json::from_slice::<KafkaEvent>(&json).unwrap(), event);
    }

    #[test]
    fn the_size_of_an_event_is_that_of_its_json(event in any_event()) {
        prop_assert_eq!(event.json_size(), serde_json::to_vec(&event).unwrap().len());
    }
}
