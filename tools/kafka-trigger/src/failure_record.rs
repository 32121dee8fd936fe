//! The documents that Lambda writes about discarded records. They follow two AWS pages:
//!
//! - "Capturing discarded batches for Amazon MSK and self-managed Apache Kafka event sources"
//! - "Using a Kafka topic as an on-failure destination"
//!
//! | destination | document | records in it |
//! |---|---|---|
//! | Kafka topic | a message for each record, under the record's own key | yes, as JSON |
//! | queue, SNS topic | one message for the records that were discarded together | no, only their partition and offsets |
//! | bucket | one object for the records that were discarded together | yes, as the text of the event |

use std::collections::BTreeMap;

use bytes::Bytes;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use event_source_mapping::event::{KafkaEvent, KafkaRecord};
use event_source_mapping::{DeadLetter, DiscardReason, EventSource};

/// The data that is the same for all records that a mapping discards at one time.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The function's ARN, with the version or alias that was invoked.
    pub function_arn: &'a str,
    /// The event source of the records.
    pub source: &'a EventSource,
    /// The mapping's UUID. It is part of the names of a bucket's objects.
    pub mapping: Uuid,
    /// A unique id for this set of documents. AWS gives the id of the last invocation.
    pub request: Uuid,
    /// The current time.
    pub now: Timestamp,
}

/// A message for a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailureMessage {
    /// The record's own key.
    pub key: Option<Bytes>,
    /// The document, as JSON.
    pub value: Bytes,
}

impl FailureMessage {
    /// Returns the message without the record itself, for topics that do not accept a message of this size. The rest still has
    /// the record's offset and timestamp.
    #[must_use]
    pub fn without_payload(&self) -> Self {
        let mut document: Value = serde_json::from_slice(&self.value).unwrap_or_default();
        if let Some(fields) = document.as_object_mut() {
            fields.remove("payload");
        }
        Self { key: self.key.clone(), value: document.to_string().into() }
    }
}

/// An object for a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailureObject {
    /// The object's name in the bucket.
    pub key: String,
    /// The document, as JSON.
    pub value: Bytes,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    request_context: RequestContext<'a>,
    /// Null if the function was not invoked.
    response_context: Option<ResponseContext>,
    version: &'a str,
    timestamp: String,
    #[serde(rename = "KafkaBatchInfo")]
    batch: BatchInfo<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<Payload>,
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
    #[serde(flatten)]
    records: Records,
}

/// The position of the records.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum Records {
    RecordInfo(RecordInfo),
    /// The ranges of records, by `topic-partition`.
    RecordsInfo(BTreeMap<String, RangeInfo>),
}

/// The position of one record. Its offset is in quotes, as in AWS's examples.
#[derive(Serialize)]
struct RecordInfo {
    offset: String,
    timestamp: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RangeInfo {
    first_record_offset: String,
    last_record_offset: String,
    first_record_timestamp: String,
    last_record_timestamp: String,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Payload {
    Event(KafkaEvent),
    /// The event as JSON, in a string.
    Text(String),
}

/// Returns the messages for a topic: one for each record, in order.
///
/// # Errors
/// When a record can't be written as JSON.
pub fn messages(
    discarded: &DeadLetter,
    context: &Context<'_>,
) -> Result<Vec<FailureMessage>, serde_json::Error> {
    let of = |record: &KafkaRecord| message(discarded, record, context);
    discarded.records.iter().map(of).collect()
}

fn message(
    discarded: &DeadLetter,
    record: &KafkaRecord,
    context: &Context<'_>,
) -> Result<FailureMessage, serde_json::Error> {
    let event = event(std::slice::from_ref(record), context.source);
    let info = RecordInfo { offset: record.offset.to_string(), timestamp: time_of(record) };
    let batch = BatchInfo {
        batch_size: 1,
        payload_size: event.json_size(),
        ..batch_info(context, Records::RecordInfo(info))
    };
    let document = Document {
        request_context: RequestContext {
            function_arn: context.function_arn,
            ..request_context(discarded, context, "RetriesExhausted")
        },
        payload: Some(Payload::Event(event)),
        ..document(discarded, context, batch)
    };
    Ok(FailureMessage { key: record.key.clone(), value: serde_json::to_vec(&document)?.into() })
}

/// Returns the message for a queue or an SNS topic. It has the partition and the offsets of the records.
///
/// # Errors
/// When the message can't be written as JSON.
pub fn notice(discarded: &DeadLetter, context: &Context<'_>) -> Result<String, serde_json::Error> {
    let event = event(&discarded.records, context.source);
    serde_json::to_string(&document(discarded, context, whole_batch(discarded, context, event.json_size())))
}

/// Returns the object for a bucket. It has the partition and the offsets of the records, and the event that they make.
///
/// # Errors
/// When a record can't be written as JSON.
pub fn object(discarded: &DeadLetter, context: &Context<'_>) -> Result<FailureObject, serde_json::Error> {
    let event = serde_json::to_string(&event(&discarded.records, context.source))?;
    let batch = whole_batch(discarded, context, event.len());
    let document = Document { payload: Some(Payload::Text(event)), ..document(discarded, context, batch) };
    Ok(FailureObject { key: object_key(discarded, context), value: serde_json::to_vec(&document)?.into() })
}

/// The object's name, as the AWS page on Kinesis describes it, with the partition in place of the shard. The page on Kafka does
/// not describe it.
fn object_key(discarded: &DeadLetter, context: &Context<'_>) -> String {
    let Context { mapping, request, now, .. } = context;
    let partition = discarded.records.first().map(partition_of).unwrap_or_default();
    let (day, time) = (now.strftime("%Y/%m/%d"), now.strftime("%Y-%m-%dT%H.%M.%S"));
    format!("aws/lambda/{mapping}/{partition}/{day}/{time}-{request}")
}

fn document<'a>(discarded: &DeadLetter, context: &Context<'a>, batch: BatchInfo<'a>) -> Document<'a> {
    let was_invoked = discarded.attempts > 0;
    Document {
        request_context: request_context(discarded, context, "RetryAttemptsExhausted"),
        response_context: was_invoked.then_some(ResponseContext {
            status_code: 200,
            executed_version: "$LATEST",
            function_error: "Unhandled",
        }),
        version: "1.0",
        timestamp: iso_8601(context.now),
        batch,
        payload: None,
    }
}

/// `exhausted` is the condition for retries that are used up. AWS has two words for it.
fn request_context<'a>(
    discarded: &DeadLetter,
    context: &Context<'a>,
    exhausted: &'static str,
) -> RequestContext<'a> {
    RequestContext {
        request_id: context.request.to_string(),
        function_arn: context.function_arn.strip_suffix(":$LATEST").unwrap_or(context.function_arn),
        condition: match discarded.reason {
            DiscardReason::RetriesExhausted => exhausted,
            DiscardReason::TooOld => "RecordAgeExceeded",
            DiscardReason::SchemaNotFound => "SCHEMA_NOT_FOUND",
            DiscardReason::Undecodable => "DESERIALIZATION_ERROR",
        },
        approximate_invoke_count: discarded.attempts,
    }
}

fn batch_info<'a>(context: &Context<'a>, records: Records) -> BatchInfo<'a> {
    BatchInfo {
        batch_size: 0,
        event_source_arn: context.source.arn.as_deref(),
        bootstrap_servers: context.source.bootstrap_servers.as_deref(),
        payload_size: 0,
        records,
    }
}

/// Describes records that were discarded together. All are of one partition.
fn whole_batch<'a>(discarded: &DeadLetter, context: &Context<'a>, payload_size: usize) -> BatchInfo<'a> {
    let DeadLetter { records, .. } = discarded;
    let range = records.first().zip(records.last()).map(|(first, last)| {
        let info = RangeInfo {
            first_record_offset: first.offset.to_string(),
            last_record_offset: last.offset.to_string(),
            first_record_timestamp: time_of(first),
            last_record_timestamp: time_of(last),
        };
        (partition_of(first), info)
    });
    let records_info = Records::RecordsInfo(range.into_iter().collect());
    BatchInfo { batch_size: records.len(), payload_size, ..batch_info(context, records_info) }
}

/// The event that the records of one partition make.
fn event(records: &[KafkaRecord], source: &EventSource) -> KafkaEvent {
    let partition = records.first().map(|first| (partition_of(first), records.to_vec()));
    KafkaEvent {
        event_source: source.name.clone(),
        event_source_arn: source.arn.clone(),
        bootstrap_servers: source.bootstrap_servers.clone(),
        records: partition.into_iter().collect(),
    }
}

/// `topic-partition`.
fn partition_of(record: &KafkaRecord) -> String {
    format!("{}-{}", record.topic, record.partition)
}

fn time_of(record: &KafkaRecord) -> String {
    iso_8601(Timestamp::from_millisecond(record.timestamp).unwrap_or_default())
}

/// The time with exactly three digits of milliseconds.
fn iso_8601(time: Timestamp) -> String {
    format!("{time:.3}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The example of the AWS page, with numbers that are possible in a partition.
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

    /// Changes the example's discarded record, and returns the document that `write` makes of it.
    fn with_example<T>(
        change: impl FnOnce(&mut DeadLetter),
        write: impl FnOnce(&DeadLetter, &Context<'_>) -> Result<T, serde_json::Error>,
    ) -> T {
        let example: KafkaEvent = serde_json::from_value(awss_example()["payload"].clone()).unwrap();
        let source = EventSource {
            name: example.event_source,
            arn: example.event_source_arn,
            bootstrap_servers: example.bootstrap_servers,
        };
        let mut discarded = DeadLetter {
            function: "my-function".to_owned(),
            records: example.records["my-topic-0"].clone(),
            reason: DiscardReason::RetriesExhausted,
            attempts: 3,
            error: "on purpose".to_owned(),
        };
        change(&mut discarded);
        let context = Context {
            function_arn: "arn:aws:lambda:us-east-1:123456789012:function:my-function:$LATEST",
            source: &source,
            mapping: "f89f8514-cdd9-4602-9e1f-01a5b77d449b".parse().unwrap(),
            request: "e4b46cbf-b738-4000-8880-a18cdf61200e".parse().unwrap(),
            now: "2019-11-14T18:16:05.568Z".parse().unwrap(),
        };
        write(&discarded, &context).unwrap()
    }

    fn written(change: impl FnOnce(&mut DeadLetter)) -> Vec<FailureMessage> {
        with_example(change, messages)
    }

    /// The document for two records that were discarded together, as in the AWS page's example for a queue.
    fn expected_notice() -> Value {
        let mut expected = awss_example();
        expected.as_object_mut().unwrap().remove("payload");
        expected["requestContext"]["functionArn"] =
            json!("arn:aws:lambda:us-east-1:123456789012:function:my-function");
        expected["requestContext"]["condition"] = json!("RetryAttemptsExhausted");
        let batch = expected["KafkaBatchInfo"].as_object_mut().unwrap();
        batch.remove("recordInfo");
        batch.insert("batchSize".to_owned(), json!(2));
        batch.insert("payloadSize".to_owned(), json!(event_of_two().len()));
        let range = json!({
            "firstRecordOffset": "100",
            "lastRecordOffset": "107",
            "firstRecordTimestamp": "2025-06-05T09:44:52.330Z",
            "lastRecordTimestamp": "2025-06-05T09:44:53.330Z",
        });
        batch.insert("recordsInfo".to_owned(), json!({ "my-topic-0": range }));
        expected
    }

    fn second(discarded: &mut DeadLetter) {
        let next = later(&discarded.records[0]);
        discarded.records.push(next);
    }

    fn later(record: &KafkaRecord) -> KafkaRecord {
        KafkaRecord { offset: 107, timestamp: record.timestamp + 1000, ..record.clone() }
    }

    /// The event of the two records, as JSON.
    fn event_of_two() -> String {
        let mut event: KafkaEvent = serde_json::from_value(awss_example()["payload"].clone()).unwrap();
        let records = event.records.get_mut("my-topic-0").unwrap();
        records.push(later(&records[0]));
        serde_json::to_string(&event).unwrap()
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
    fn what_could_not_be_decoded_has_the_reason_codes_of_awss_page() {
        for (reason, condition) in [
            (DiscardReason::SchemaNotFound, "SCHEMA_NOT_FOUND"),
            (DiscardReason::Undecodable, "DESERIALIZATION_ERROR"),
        ] {
            let messages = written(|discarded| (discarded.reason, discarded.attempts) = (reason, 0));
            assert_eq!(read(&messages[0])["requestContext"]["condition"], condition);
        }
    }

    #[test]
    fn of_a_record_that_the_function_never_saw_there_is_no_response() {
        let messages =
            written(|discarded| (discarded.reason, discarded.attempts) = (DiscardReason::TooOld, 0));
        let message = read(&messages[0]);
        assert_eq!(message["responseContext"], Value::Null);
        assert_eq!(message["requestContext"]["condition"], "RecordAgeExceeded");
    }

    #[test]
    fn a_queue_is_told_where_records_are_and_does_not_get_them() {
        let notice: Value = serde_json::from_str(&with_example(second, notice)).unwrap();
        assert_eq!(notice, expected_notice());
    }

    #[test]
    fn a_bucket_gets_the_event_as_a_text_under_a_name_of_its_own() {
        let object = with_example(second, object);
        let mut expected = expected_notice();
        expected["payload"] = json!(event_of_two());
        assert_eq!(serde_json::from_slice::<Value>(&object.value).unwrap(), expected);
        let key = "aws/lambda/f89f8514-cdd9-4602-9e1f-01a5b77d449b/my-topic-0/2019/11/14/\
                   2019-11-14T18.16.05-e4b46cbf-b738-4000-8880-a18cdf61200e";
        assert_eq!(object.key, key);
    }

    #[test]
    fn an_alias_stays_in_the_functions_arn() {
        let arn = "arn:aws:lambda:us-east-1:123456789012:function:my-function:live";
        let notice = with_example(
            |_| {},
            |discarded, context| notice(discarded, &Context { function_arn: arn, ..*context }),
        );
        assert!(notice.contains(&format!("{arn:?}")), "{notice}");
    }

    #[test]
    fn the_size_of_an_event_is_that_of_its_json() {
        let notice: Value = serde_json::from_str(&with_example(|_| {}, notice)).unwrap();
        assert_eq!(notice["KafkaBatchInfo"]["payloadSize"], awss_example()["payload"].to_string().len());
    }
}
