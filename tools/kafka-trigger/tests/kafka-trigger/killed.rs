//! `kill -9` at any time: no record is lost, and the order of each partition is kept.

use std::time::Duration;

use tokio::time;

use crate::broker::with_topic;
use crate::function::Note;
use crate::support::{Place, by_partition, different};

const RECORDS: usize = 4_000;
const KILLS: usize = 6;

/// The number of new records before the next kill, and the time from then to the kill. The number is from one to half of a kill's
/// share.
fn next_kill() -> (usize, Duration) {
    let kill = (rand::random_range(1..=RECORDS / KILLS / 2), rand::random_range(0..20));
    println!("the next kill: after {} records and {} ms", kill.0, kill.1);
    (kill.0, Duration::from_millis(kill.1))
}

/// Asserts that each record came after all records before it. It may come again.
fn assert_in_order(notes: &[Note]) {
    for (partition, offsets) in by_partition(notes) {
        let mut next = 0;
        for offset in offsets {
            assert!(offset <= next, "partition {partition}: {offset} came before {next}");
            next = next.max(offset + 1);
        }
    }
}

#[tokio::test]
async fn no_record_is_lost_when_kafka_trigger_is_killed() {
    with_topic(|topic| async move {
        let place = Place::new(topic, 4).await;
        place.publish(0..RECORDS).await;
        let properties = "StartingPosition: TRIM_HORIZON\nBatchSize: 10";
        // The group waits no longer than this for a killed member.
        let kafka = format!("kafka://{}?session_timeout_ms=6000", crate::support::brokers());
        for _ in 1..=KILLS {
            let before = place.function.notes().len();
            let trigger = place.start("f", properties, &["--kafka", &kafka]);
            let (more, later) = next_kill();
            place.until(|notes| notes.len() >= before + more || different(notes) == RECORDS).await;
            // This sleep waits for no condition. It makes the kill hit any step of the work.
            time::sleep(later).await;
            trigger.kill();
            assert_in_order(&place.function.notes());
        }
        let trigger = place.start("f", properties, &["--kafka", &kafka]);
        let notes = place.until(|notes| different(notes) == RECORDS).await;
        assert_in_order(&notes);
        trigger.stop().await;
    })
    .await;
}

#[tokio::test]
async fn no_record_is_lost_when_the_function_is_killed() {
    with_topic(|topic| async move {
        let mut place = Place::new(topic, 4).await;
        place.publish(0..RECORDS).await;
        // The retries are finite. An unreachable function does not use them up.
        let properties = "StartingPosition: TRIM_HORIZON\nBatchSize: 10\nMaximumRetryAttempts: 0\n\
                          ProvisionedPollerConfig: {MinimumPollers: 1}";
        let trigger = place.start("f", properties, &[]);
        for _ in 1..=KILLS {
            let before = place.function.notes().len();
            let (more, later) = next_kill();
            place.until(|notes| notes.len() >= before + more || different(notes) == RECORDS).await;
            time::sleep(later).await;
            place.function.start_again();
        }
        let notes = place.until(|notes| different(notes) == RECORDS).await;
        assert_in_order(&notes);
        assert!(trigger.lines().iter().all(|line| line["result"] != "given_up"), "{}", trigger.errors());
        trigger.stop().await;
    })
    .await;
}
