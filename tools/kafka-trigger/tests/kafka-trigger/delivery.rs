//! Records on their way to a function.

use std::net::TcpListener;

use crate::broker::with_topic;
use crate::support::{Place, by_partition, different, until};

#[tokio::test]
async fn every_record_is_invoked_once_and_in_order_and_not_again_after_a_restart() {
    with_topic(|topic| async move {
        let place = Place::new(topic, 4).await;
        place.publish(0..1_000).await;
        let trigger = place.start("f", "StartingPosition: TRIM_HORIZON\nBatchSize: 50", &[]);
        let notes = place.until(|notes| notes.len() >= 1_000).await;
        assert_eq!(by_partition(&notes).len(), 4);
        for offsets in by_partition(&notes).values() {
            assert!(offsets.iter().copied().eq(0..offsets.len() as i64), "{offsets:?}");
        }
        // The stop commits the offsets, so that no record comes again.
        trigger.stop().await;
        place.publish(1_000..1_010).await;
        let trigger = place.start("f", "StartingPosition: TRIM_HORIZON", &[]);
        let notes = place.until(|notes| different(notes) >= 1_010).await;
        assert_eq!(notes.len(), 1_010);
        trigger.stop().await;
    })
    .await;
}

#[tokio::test]
async fn every_invocation_is_a_line() {
    with_topic(|topic| async move {
        let place = Place::new(topic, 1).await;
        place.publish(0..30).await;
        let trigger = place.start("f", "StartingPosition: TRIM_HORIZON\nBatchSize: 10", &[]);
        let name = format!("{}-0", place.topic.name());
        let last = trigger.until_line(|line| line["partitions"][0]["last"] == 29).await;
        assert_eq!(last["partitions"][0]["partition"], name);
        assert_eq!((&last["mapping"], &last["function"]), (&"Mapping".into(), &"f".into()));
        assert_eq!(last["result"], "succeeded");
        let records =
            trigger.lines().iter().map(|line| line["records"].as_u64().unwrap()).collect::<Vec<_>>();
        assert_eq!(records.iter().sum::<u64>(), 30);
        assert!(records.iter().all(|records| *records <= 10), "{records:?}");
        trigger.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_mapping_that_begins_with_the_latest_gets_what_comes_after_it_and_its_filter_chooses() {
    with_topic(|topic| async move {
        let place = Place::new(topic, 2).await;
        place.publish(0..20).await;
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let listen = format!("127.0.0.1:{port}");
        let filter = r#"FilterCriteria: {Filters: [{Pattern: '{"value": [{"prefix": "2"}]}'}]}"#;
        let properties = format!("StartingPosition: LATEST\n{filter}");
        let trigger = place.start("f", &properties, &["--metrics-listen", &listen]);
        // The mapping has its partitions once the metrics show its lag.
        let metrics = || async {
            let client = reqwest_client();
            let answer = client.get(format!("http://{listen}/metrics")).send().await.ok()?;
            answer.text().await.ok()
        };
        until(async || {
            let text = metrics().await?;
            (text.matches("event_source_mapping_offset_lag{").count() == 2).then_some(())
        })
        .await;
        place.publish(20..32).await;
        let notes = place.until(|notes| notes.len() >= 10).await;
        let mut values: Vec<_> = notes.iter().map(|note| note.value.clone()).collect();
        values.sort();
        let expected: Vec<String> = (20..30).map(|value| value.to_string()).collect();
        assert_eq!(values, expected);
        let counted = "event_source_mapping_filtered_total{function=\"f\"} 2";
        until(async || metrics().await.unwrap().contains(counted).then_some(())).await;
        trigger.stop().await;
    })
    .await;
}

fn reqwest_client() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().unwrap()
}
