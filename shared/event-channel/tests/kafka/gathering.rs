//! Brokers that gather records before they hand them over.

use std::time::Duration;

use event_channel::{Beginning, ConsumerSettings};

use crate::broker::with_topic;
use crate::{everything, poll, record_of, take, within};

/// Far longer than the time to publish a few records.
const GATHER: ConsumerSettings =
    ConsumerSettings { gather: Duration::from_secs(5), beginning: Beginning::Oldest };

#[tokio::test]
async fn records_that_trickle_in_come_together_and_a_full_answer_is_not_waited_for() {
    with_topic(|topic| async move {
        let channel = topic.open("partitions=1");
        let mut one = channel.subscribe_with("readers", GATHER, everything).unwrap();
        within(channel.publish(vec![record_of(1)])).await.unwrap();
        // A single record comes late. After it, the brokers gather anew.
        assert_eq!(take(&mut one, 1).await.len(), 1);
        let publishing = async {
            for bytes in [1, 2, 3, 4, 5, 100_000] {
                within(channel.publish(vec![record_of(bytes)])).await.unwrap();
            }
        };
        let (polled, ()) = tokio::join!(poll(&mut one), publishing);
        let bytes: Vec<usize> =
            polled.deliveries.iter().map(|delivery| delivery.record.value.as_ref().unwrap().len()).collect();
        assert_eq!(bytes, [1, 2, 3, 4, 5, 100_000]);
    })
    .await;
}
