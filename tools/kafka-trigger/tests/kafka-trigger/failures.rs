//! Functions that fail.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use event_channel::EventChannel;
use serde_json::{Value, json};

use crate::broker::with_topic;
use crate::support::{Place, brokers, different, text_record, until};

#[tokio::test]
async fn a_record_that_is_given_up_is_parted_from_the_others_and_goes_to_the_topic_for_failures() {
    with_topic(|topic| async move {
        let place = Place::new(topic, 1).await;
        let dead = format!("{}.dead", place.topic.name());
        let letters = EventChannel::open(format!("kafka://{}/{dead}?partitions=1", brokers())).unwrap();
        // The topic only has to exist.
        letters.publish(vec![]).await.unwrap();
        place.publish(0..10).await;
        let properties = format!(
            "StartingPosition: TRIM_HORIZON
MaximumRetryAttempts: 1
BisectBatchOnFunctionError: true
DestinationConfig: {{OnFailure: {{Destination: 'kafka://{dead}'}}}}
ProvisionedPollerConfig: {{MinimumPollers: 1}}"
        );
        let trigger = place.start("fails-with-6", &properties, &[]);
        let line = trigger.until_line(|line| line["result"] == "given_up").await;
        assert_eq!(line["partitions"][0]["records"], 1);
        assert_eq!((&line["attempts"], &line["destination"]), (&json!(2), &json!(format!("kafka://{dead}"))));
        assert_eq!(line["error"], "the function failed: Poison: on purpose");
        place.until(|notes| different(notes) == 10).await;

        let mut consumer = letters.subscribe("readers", |_| true).unwrap();
        let letter = consumer.poll(10).await.unwrap().deliveries.remove(0);
        let document: Value = serde_json::from_slice(letter.record.value.as_deref().unwrap()).unwrap();
        assert_eq!(document["requestContext"]["condition"], "RetriesExhausted");
        assert_eq!(document["requestContext"]["approximateInvokeCount"], 2);
        let record = &document["payload"]["records"][format!("{}-0", place.topic.name())][0];
        assert_eq!(record["value"], STANDARD.encode("6"));
        assert_eq!(document["KafkaBatchInfo"]["recordInfo"]["offset"], record["offset"].to_string());
        assert_eq!(letter.record.key.as_deref(), Some(b"key-6".as_slice()));
        trigger.stop().await;
        drop(consumer);
        place.topic.admin().delete_topics(&[&dead], &Default::default()).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_function_that_nobody_knows_is_named_with_the_flag_that_helps() {
    with_topic(|topic| async move {
        let place = Place::new(topic, 1).await;
        place.channel().publish(vec![text_record("a", "1")]).await.unwrap();
        let trigger = place.start(
            "unknown",
            "StartingPosition: TRIM_HORIZON",
            &["--function-name", "Function=unknown-too"],
        );
        let line = trigger.until_line(|line| line["result"] == "not_reached").await;
        let error = line["error"].as_str().unwrap();
        assert!(error.contains("knows no function unknown-too (not here)"), "{error}");
        assert!(error.contains("--function-name LOGICAL_ID=NAME"), "{error}");
        trigger.stop().await;

        // The function has several possible names. The binary uses the one that the endpoint knows: here the logical id.
        let trigger = place.start("unknown", "StartingPosition: TRIM_HORIZON", &[]);
        place.until(|notes| notes.len() == 1).await;
        trigger.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_second_signal_stops_at_once() {
    with_topic(|topic| async move {
        let place = Place::new(topic, 1).await;
        place.publish(0..1).await;
        let mut trigger = place.start("hangs-with-0", "StartingPosition: TRIM_HORIZON", &["--drain", "3600"]);
        place.until(|notes| notes.len() == 1).await;
        trigger.signal("-INT");
        until(async || trigger.errors().contains("once more stops at once").then_some(())).await;
        trigger.signal("-INT");
        assert_eq!(trigger.ended().await.code(), Some(130));
    })
    .await;
}

#[tokio::test]
async fn a_function_that_takes_longer_than_its_timeout_has_failed() {
    with_topic(|topic| async move {
        let place = Place::new(topic, 1).await;
        place.publish(0..3).await;
        let properties = "StartingPosition: TRIM_HORIZON\nBatchSize: 1\nMaximumRetryAttempts: 0\n\
                          ProvisionedPollerConfig: {MinimumPollers: 1}";
        // The endpoint leaves the call hanging, and takes others meanwhile.
        let flags = ["--timeout", "0.5", "--function-concurrency", "2"];
        let trigger = place.start("hangs-with-1", properties, &flags);
        let line = trigger.until_line(|line| line["result"] == "given_up").await;
        assert_eq!(line["error"], "the function failed: Task timed out after 0.50 seconds");
        assert_eq!(line["destination"], Value::Null);
        // The record behind it is not held up.
        place.until(|notes| different(notes) == 3).await;
        trigger.stop().await;
    })
    .await;
}

#[tokio::test]
async fn that_a_function_has_never_answered_yet_is_not_held_against_its_records() {
    with_topic(|topic| async move {
        let place = Place::new(topic, 1).await;
        place.publish(0..1).await;
        let properties = "StartingPosition: TRIM_HORIZON\nMaximumRetryAttempts: 0\n\
                          ProvisionedPollerConfig: {MinimumPollers: 1}";
        let flags =
            ["--timeout", "0.1", "--first-answer", "0.5", "--drain", "0", "--function-concurrency", "2"];
        let trigger = place.start("hangs-with-0", properties, &flags);
        let line = trigger.until_line(|line| line["result"] == "not_reached").await;
        assert!(line["error"].as_str().unwrap().ends_with("it may still be compiling"), "{line}");
        // The record comes again.
        place.until(|notes| notes.len() >= 2).await;
        trigger.stop().await;
    })
    .await;
}
