//! What Lambda writes to a Kafka topic for a record that was given up, as the AWS page "Using a Kafka topic as an on-failure
//! destination" has it: one message a record, under the record's own key.

use std::collections::BTreeMap;

use bytes::Bytes;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use crate::event::{KafkaEvent, KafkaRecord};
use crate::{Discarded, EventSource, Reason};

/// A message for the failure destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailureMessage {
    /// The record's own.
    pub key: Option<Bytes>,
    /// JSON.
    pub value: Bytes,
}

impl FailureMessage {
    /// The message without the record itself, for topics that do not take one so large: what is left says where it is.
    #[must_use]
    pub fn without_payload(&self) -> Self {
        let mut document: Value = serde_json::from_slice(&self.value).unwrap_or_default();
        if let Some(fields) = document.as_object_mut() {
            fields.remove("payload");
        }
        Self { key: self.key.clone(), value: document.to_string().into() }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    request_context: RequestContext<'a>,
    /// Null where the function was not invoked.
    response_context: Option<ResponseContext>,
    version: &'a str,
    timestamp: String,
    #[serde(rename = "KafkaBatchInfo")]
    batch: BatchInfo<'a>,
    payload: KafkaEvent,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RequestContext<'a> {
    request_id: String,
    function_arn: &'a str,
    condition: &'a str,
    approximate_invoke_count: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ResponseContext {
    status_code: u16,
    executed_version: &'static str,
    function_error: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct BatchInfo<'a> {
    batch_size: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_source_arn: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bootstrap_servers: Option<&'a str>,
    payload_size: usize,
    record_info: RecordInfo,
}

#[derive(Serialize)]
struct RecordInfo {
    /// In quotes, as AWS has it.
    offset: String,
    timestamp: String,
}

/// A message for each record that was given up, in order. `request` is a number for the whole of it, that nobody else has; AWS
/// gives that of the last invocation.
///
/// # Errors
/// When a record can't be written as JSON.
pub fn messages(
    discarded: &Discarded,
    function_arn: &str,
    source: &EventSource,
    request: Uuid,
    now: Timestamp,
) -> Result<Vec<FailureMessage>, serde_json::Error> {
    let of = |record: &KafkaRecord| message(discarded, record, function_arn, source, request, now);
    discarded.records.iter().map(of).collect()
}

fn message(
    discarded: &Discarded,
    record: &KafkaRecord,
    function_arn: &str,
    source: &EventSource,
    request: Uuid,
    now: Timestamp,
) -> Result<FailureMessage, serde_json::Error> {
    let name = format!("{}-{}", record.topic, record.partition);
    let payload = KafkaEvent {
        event_source: source.name.clone(),
        event_source_arn: source.arn.clone(),
        bootstrap_servers: source.bootstrap_servers.clone(),
        records: BTreeMap::from([(name, vec![record.clone()])]),
    };
    let was_invoked = discarded.attempts > 0;
    let document = Document {
        request_context: RequestContext {
            request_id: request.to_string(),
            function_arn,
            condition: match discarded.reason {
                Reason::RetriesExhausted => "RetriesExhausted",
                Reason::TooOld => "RecordAgeExceeded",
            },
            approximate_invoke_count: discarded.attempts,
        },
        response_context: was_invoked.then_some(ResponseContext {
            status_code: 200,
            executed_version: "$LATEST",
            function_error: "Unhandled",
        }),
        version: "1.0",
        timestamp: iso_8601(now),
        batch: BatchInfo {
            batch_size: 1,
            event_source_arn: source.arn.as_deref(),
            bootstrap_servers: source.bootstrap_servers.as_deref(),
            payload_size: payload.json_size(),
            record_info: RecordInfo {
                offset: record.offset.to_string(),
                timestamp: iso_8601(Timestamp::from_millisecond(record.timestamp).unwrap_or_default()),
            },
        },
        payload,
    };
    Ok(FailureMessage { key: record.key.clone(), value: serde_json::to_vec(&document)?.into() })
}

/// With milliseconds, always three digits of them.
fn iso_8601(time: Timestamp) -> String {
    format!("{time:.3}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The example of the AWS page, with numbers that a partition can have.
    fn awss_example() -> Value {
        let (arn, servers) = (
            "arn:aws:kafka:us-east-1:123456789012:cluster/my-cluster/abc123",
            "b-1.mycluster.abc123.kafka.us-east-1.amazonaws.com:9098",
        );
        let payload = json!({
            "bootstrapServers": servers,
            "eventSource": "aws:kafka",
            "eventSourceArn": arn,
            "records": {"my-topic-0": [{
                "headers": [],
                "key": "dGVzdC1rZXk=",
                "offset": 100,
                "partition": 0,
                "timestamp": 1_749_116_692_330_i64,
                "timestampType": "CREATE_TIME",
                "topic": "my-topic",
                "value": "dGVzdC12YWx1ZQ=="
            }]}
        });
        json!({
            "requestContext": {
                "requestId": "e4b46cbf-b738-4000-8880-a18cdf61200e",
                "functionArn": "arn:aws:lambda:us-east-1:123456789012:function:my-function:$LATEST",
                "condition": "RetriesExhausted",
                "approximateInvokeCount": 3
            },
            "responseContext": {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"},
            "version": "1.0",
            "timestamp": "2019-11-14T18:16:05.568Z",
            "KafkaBatchInfo": {
                "batchSize": 1,
                "eventSourceArn": arn,
                "bootstrapServers": servers,
                "payloadSize": payload.to_string().len(),
                "recordInfo": {"offset": "100", "timestamp": "2025-06-05T09:44:52.330Z"}
            },
            "payload": payload
        })
    }

    fn written(change: impl FnOnce(&mut Discarded)) -> Vec<FailureMessage> {
        let example: KafkaEvent = serde_json::from_value(awss_example()["payload"].clone()).unwrap();
        let source = EventSource {
            name: example.event_source,
            arn: example.event_source_arn,
            bootstrap_servers: example.bootstrap_servers,
        };
        let mut discarded = Discarded {
            function: "my-function".to_owned(),
            records: example.records["my-topic-0"].clone(),
            reason: Reason::RetriesExhausted,
            attempts: 3,
            error: "on purpose".to_owned(),
        };
        change(&mut discarded);
        let arn = "arn:aws:lambda:us-east-1:123456789012:function:my-function:$LATEST";
        let request = "e4b46cbf-b738-4000-8880-a18cdf61200e".parse().unwrap();
        messages(&discarded, arn, &source, request, "2019-11-14T18:16:05.568Z".parse().unwrap()).unwrap()
    }

    fn read(message: &FailureMessage) -> Value {
        serde_json::from_slice(&message.value).unwrap()
    }

    #[test]
    fn a_message_is_as_awss_example_has_it_and_under_the_records_key() {
        let messages = written(|_| {});
        assert_eq!(messages.len(), 1);
        assert_eq!(read(&messages[0]), awss_example());
        assert_eq!(messages[0].key.as_deref(), Some(b"test-key".as_slice()));
    }

    #[test]
    fn a_message_can_go_without_its_record() {
        let message = read(&written(|_| {})[0].without_payload());
        let mut expected = awss_example();
        expected.as_object_mut().unwrap().remove("payload");
        assert_eq!(message, expected);
    }

    #[test]
    fn every_record_is_a_message_of_its_own() {
        let messages = written(|discarded| {
            let mut next = discarded.records[0].clone();
            (next.offset, next.key) = (101, None);
            discarded.records.push(next);
        });
        assert_eq!(messages.len(), 2);
        assert_eq!(read(&messages[1])["KafkaBatchInfo"]["recordInfo"]["offset"], "101");
        assert_eq!(messages[1].key, None);
    }

    #[test]
    fn of_a_record_that_the_function_never_saw_there_is_no_response() {
        let messages = written(|discarded| (discarded.reason, discarded.attempts) = (Reason::TooOld, 0));
        let message = read(&messages[0]);
        assert_eq!(message["responseContext"], Value::Null);
        assert_eq!(message["requestContext"]["condition"], "RecordAgeExceeded");
    }
}
