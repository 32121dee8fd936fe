//! Discarded records, on their way to a queue, an SNS topic or a bucket.

use std::net::TcpListener;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;

use crate::aws::{Aws, with_aws};
use crate::support::{Place, Trigger, different, until};

/// Starts a mapping to a function that fails with the record of value 2. The record is discarded after a second try.
fn start(place: &Place, destination: &str, url: &str) -> Trigger {
    let properties = format!(
        "StartingPosition: TRIM_HORIZON
MaximumRetryAttempts: 1
BisectBatchOnFunctionError: true
DestinationConfig: {{OnFailure: {{Destination: '{destination}'}}}}
ProvisionedPollerConfig: {{MinimumPollers: 1}}"
    );
    place.start("fails-with-2", &properties, &["--destination", &format!("{destination}={url}")])
}

/// Waits for the line about the discarded record, and until the function was given all five records.
async fn until_given_up(place: &Place, trigger: &Trigger, destination: &str) {
    let line = trigger.until_line(|line| line["result"] == "given_up").await;
    assert_eq!((&line["records"], &line["attempts"]), (&json!(1), &json!(2)));
    assert_eq!(line["destination"], destination);
    assert_eq!(line["partitions"][0]["first"], 2);
    place.until(|notes| different(notes) == 5).await;
}

/// Asserts the content that SQS, SNS and S3 all get about the discarded record.
fn assert_is_about_the_record(document: &Value, place: &Place) {
    assert_eq!(document["requestContext"]["condition"], "RetryAttemptsExhausted");
    assert_eq!(document["requestContext"]["approximateInvokeCount"], 2);
    let arn = "arn:aws:lambda:us-east-1:123456789012:function:fails-with-2";
    assert_eq!(document["requestContext"]["functionArn"], arn);
    let batch = &document["KafkaBatchInfo"];
    assert_eq!(batch["batchSize"], 1);
    let range = &batch["recordsInfo"][format!("{}-0", place.topic.name())];
    assert_eq!((&range["firstRecordOffset"], &range["lastRecordOffset"]), (&json!("2"), &json!("2")));
}

/// A name that all three services accept, and that no other test uses.
fn name(place: &Place) -> String {
    place.topic.name().replace('.', "-")
}

async fn with_records(aws: &Aws, topic: crate::broker::Topic) -> (Place, String) {
    let place = Place::new(topic, 1).await;
    place.publish(0..5).await;
    let name = name(&place);
    aws.create_queue(&name).await;
    (place, name)
}

#[tokio::test]
async fn a_queue_is_told_of_a_record_that_is_given_up() {
    with_aws(|aws, topic| async move {
        let (place, name) = with_records(&aws, topic).await;
        let arn = Aws::queue_arn(&name);
        let trigger = start(&place, &arn, aws.url());
        until_given_up(&place, &trigger, &arn).await;
        let messages = aws.messages(&name).await;
        assert_eq!(messages.len(), 1, "{messages:?}");
        assert_is_about_the_record(&messages[0], &place);
        assert_eq!(messages[0]["payload"], Value::Null);
        assert!(trigger.errors().contains(&format!(", failures to {arn} at {}", aws.url())));
        trigger.stop().await;
    })
    .await;
}

#[tokio::test]
async fn an_sns_topic_is_told_of_a_record_that_is_given_up() {
    with_aws(|aws, topic| async move {
        let (place, name) = with_records(&aws, topic).await;
        let arn = aws.create_topic(&name, &name).await;
        let trigger = start(&place, &arn, aws.url());
        until_given_up(&place, &trigger, &arn).await;
        let messages = until(async || Some(aws.messages(&name).await).filter(|some| !some.is_empty())).await;
        assert_eq!((messages.len(), &messages[0]["TopicArn"]), (1, &json!(arn)));
        let message = serde_json::from_str(messages[0]["Message"].as_str().unwrap()).unwrap();
        assert_is_about_the_record(&message, &place);
        trigger.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_bucket_gets_a_record_that_is_given_up() {
    with_aws(|aws, topic| async move {
        let (place, name) = with_records(&aws, topic).await;
        aws.create_bucket(&name).await;
        let arn = format!("arn:aws:s3:::{name}");
        let trigger = start(&place, &arn, aws.url());
        until_given_up(&place, &trigger, &arn).await;
        let objects = aws.objects(&name).await;
        assert_eq!(objects.len(), 1, "{objects:?}");
        let (key, document) = &objects[0];
        let parts: Vec<&str> = key.split('/').collect();
        assert_eq!(parts[..2], ["aws", "lambda"], "{key}");
        assert_eq!(parts[3], format!("{}-0", place.topic.name()), "{key}");
        assert_is_about_the_record(document, &place);
        let event: Value = serde_json::from_str(document["payload"].as_str().unwrap()).unwrap();
        let record = &event["records"][parts[3]][0];
        assert_eq!((&record["offset"], &record["value"]), (&json!(2), &json!(STANDARD.encode("2"))));
        trigger.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_record_waits_for_its_destination_which_is_said_once() {
    with_aws(|aws, topic| async move {
        let place = Place::new(topic, 1).await;
        place.publish(0..5).await;
        let name = name(&place);
        let arn = Aws::queue_arn(&name);
        // Nobody listens on this port, because its listener was just dropped.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let url = format!("http://{address}");
        let trigger = start(&place, &arn, &url);
        let refused = format!("{arn} at {url}: Connection refused");
        until(async || trigger.errors().contains(&refused).then_some(())).await;
        // Now a server listens there, but the queue does not exist.
        let listener = tokio::net::TcpListener::bind(address).await.unwrap();
        let server = aws.url().trim_start_matches("http://").to_owned();
        let forwarding = tokio::spawn(async move {
            loop {
                let (mut client, _) = listener.accept().await.unwrap();
                let mut server = TcpStream::connect(&server).await.unwrap();
                tokio::spawn(async move { copy_bidirectional(&mut client, &mut server).await });
            }
        });
        let missing = format!("{arn} at {url}: 400 Bad Request: QueueDoesNotExist");
        until(async || trigger.errors().contains(&missing).then_some(())).await;
        assert!(trigger.lines().iter().all(|line| line["result"] != "given_up"), "{:?}", trigger.lines());
        aws.create_queue(&name).await;
        until_given_up(&place, &trigger, &arn).await;
        let messages = aws.messages(&name).await;
        assert_eq!(messages.len(), 1, "{messages:?}");
        assert_is_about_the_record(&messages[0], &place);
        let errors = trigger.errors();
        assert_eq!((errors.matches(&refused).count(), errors.matches(&missing).count()), (1, 1), "{errors}");
        trigger.stop().await;
        forwarding.abort();
    })
    .await;
}

#[tokio::test]
async fn without_a_url_what_is_given_up_is_printed_with_where_it_was() {
    crate::broker::with_topic(|topic| async move {
        let place = Place::new(topic, 1).await;
        place.publish(0..5).await;
        let arn = Aws::queue_arn("nowhere");
        let properties = format!(
            "StartingPosition: TRIM_HORIZON\nMaximumRetryAttempts: 0\nBisectBatchOnFunctionError: true\n\
             DestinationConfig: {{OnFailure: {{Destination: '{arn}'}}}}\nProvisionedPollerConfig: {{MinimumPollers: 1}}"
        );
        let trigger = place.start("fails-with-2", &properties, &[]);
        let line = trigger.until_line(|line| line["result"] == "given_up").await;
        let partition = json!({"partition": format!("{}-0", place.topic.name()), "first": 2, "last": 2, "records": 1});
        assert_eq!(line["partitions"], json!([partition]));
        assert_eq!((&line["destination"], &line["out_of_reach"]), (&Value::Null, &json!(arn)));
        place.until(|notes| different(notes) == 5).await;
        assert!(trigger.errors().contains(&format!("--destination {arn}=URL gives it one")));
        let given_up = trigger.lines().into_iter().filter(|line| line["result"] == "given_up");
        assert_eq!(given_up.count(), 1);
        trigger.stop().await;
    })
    .await;
}
