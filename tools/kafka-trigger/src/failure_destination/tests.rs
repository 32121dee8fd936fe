use std::time::UNIX_EPOCH;

use jiff::Timestamp;
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use super::*;
use crate::aws::example_variables as variables;
use event_source_mapping::event::KafkaRecord;
use event_source_mapping::{DiscardReason, EventSource};

const QUEUE: &str = "arn:aws:sqs:eu-west-1:123456789012:dead";
const TOPIC: &str = "arn:aws:sns:eu-west-1:123456789012:given-up";
const BUCKET: &str = "arn:aws:s3:::letters";

fn open(arn: &str, variable: impl Fn(&str) -> Option<String>) -> FailureDestination {
    let url = "http://127.0.0.1:4566/".parse().unwrap();
    FailureDestination::open(arn.parse().unwrap(), url, "us-west-2", variable).unwrap()
}

/// The request for one record, at the first second of 2026. The name of the record's topic needs no encoding.
fn request(arn: &str) -> Request {
    let record: KafkaRecord =
        serde_json::from_value(json!({"topic": "t.1", "partition": 2, "offset": 9, "value": "eA=="}))
            .unwrap();
    let discarded = DeadLetter {
        function: "f".to_owned(),
        records: vec![record],
        reason: DiscardReason::RetriesExhausted,
        attempts: 3,
        error: "Boom".to_owned(),
    };
    let context = Context {
        function_arn: "arn:aws:lambda:eu-west-1:123456789012:function:f:$LATEST",
        source: &EventSource::default(),
        mapping: Uuid::nil(),
        request: Uuid::max(),
        now: Timestamp::from_second(1_767_225_600).unwrap(),
    };
    open(arn, variables).request(&discarded, &context).unwrap()
}

fn body(request: &Request) -> &str {
    std::str::from_utf8(request.body().unwrap().as_bytes().unwrap()).unwrap()
}

#[test]
fn a_queue_is_sent_a_message_by_its_url() {
    let request = request(QUEUE);
    assert_eq!((request.method(), request.url().as_str()), (&Method::POST, "http://127.0.0.1:4566/"));
    assert_eq!(request.headers()["x-amz-target"], "AmazonSQS.SendMessage");
    let sent: Value = serde_json::from_str(body(&request)).unwrap();
    assert_eq!(sent["QueueUrl"], "http://127.0.0.1:4566/123456789012/dead");
    let message: Value = serde_json::from_str(sent["MessageBody"].as_str().unwrap()).unwrap();
    assert_eq!(message["KafkaBatchInfo"]["recordsInfo"]["t.1-2"]["lastRecordOffset"], "9");
}

#[test]
fn a_topic_is_published_to_by_its_arn() {
    let request = request(TOPIC);
    let sent: Vec<(String, String)> =
        form_urlencoded::parse(body(&request).as_bytes()).into_owned().collect();
    let value = |name: &str| &sent.iter().find(|(known, _)| known == name).unwrap().1;
    assert_eq!((value("Action").as_str(), value("TopicArn").as_str()), ("Publish", TOPIC));
    assert!(value("Message").contains("RetryAttemptsExhausted"), "{}", value("Message"));
}

#[test]
fn a_bucket_is_in_the_path() {
    let request = request(BUCKET);
    let url = format!(
        "http://127.0.0.1:4566/letters/aws/lambda/{}/t.1-2/2026/01/01/2026-01-01T00.00.00-{}",
        Uuid::nil(),
        Uuid::max()
    );
    assert_eq!((request.method(), request.url().as_str()), (&Method::PUT, url.as_str()));
    let sent: Value = serde_json::from_str(body(&request)).unwrap();
    assert!(sent["payload"].as_str().unwrap().contains(r#""value":"eA==""#), "{sent}");
}

/// The expected signatures were computed separately, by "Create a signed AWS API request" of the AWS IAM User Guide.
#[test]
fn requests_are_signed_for_their_service_and_region() {
    let now = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    for (arn, scope, headers, signature) in [
        (
            QUEUE,
            "eu-west-1/sqs",
            "content-type;host;x-amz-date;x-amz-target",
            "92748b3bcd6e69b41331bfa4a1e1511dc742e0aebff59863475daa8e9a5b7784",
        ),
        (
            TOPIC,
            "eu-west-1/sns",
            "content-type;host;x-amz-date",
            "36f30e0e1dfde21cdcd2ba42ec9c4b2d67e33ad1c391f59a4e7d802add7ed05f",
        ),
        (
            BUCKET,
            "us-west-2/s3",
            "content-type;host;x-amz-content-sha256;x-amz-date",
            "25ec9cdd74cfa804e1649f07461d03f172e5cacff6cb39b0a3df6e4db9be2c69",
        ),
    ] {
        let mut request = request(arn);
        open(arn, variables).signer.sign(&mut request, now).unwrap();
        let expected = format!(
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20231114/{scope}/aws4_request, SignedHeaders={headers}, Signature={signature}"
        );
        assert_eq!(request.headers()["authorization"], expected.as_str(), "{}", body(&request));
    }
}

#[test]
fn without_credentials_requests_are_signed_as_servers_for_tests_take_them() {
    let mut request = request(QUEUE);
    open(QUEUE, |_| None).signer.sign(&mut request, UNIX_EPOCH).unwrap();
    let authorization = request.headers()["authorization"].to_str().unwrap();
    assert!(authorization.contains("Credential=test/19700101/eu-west-1/sqs/"), "{authorization}");
}

#[test]
fn what_is_no_url_is_refused() {
    for url in ["", "localhost:4566", "ftp://host", "http://", "http://host?x=1", "http://host#x"] {
        let said = url.parse::<BaseUrl>().unwrap_err().to_string();
        assert!(said.contains(&format!("{url:?}")) && said.contains("http://HOST:PORT"), "{said}");
    }
}
