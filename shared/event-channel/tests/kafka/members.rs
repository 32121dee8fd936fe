//! Tests of several members of one group.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use event_channel::{Consumer, Delivery};

use crate::broker::with_topic;
use crate::{commit, everything, poll, publish, take, value_of, values, within};

/// The results of two members' polls, until `is_enough` holds for them.
#[derive(Default)]
struct Shared {
    revoked: BTreeSet<i32>,
    one: Vec<Delivery>,
    other: Vec<Delivery>,
}

impl Shared {
    async fn poll(&mut self, one: &mut Consumer, other: &mut Consumer, is_enough: impl Fn(&Self) -> bool) {
        within(async {
            while !is_enough(self) {
                tokio::select! {
                    polled = poll(one) => {
                        self.revoked.extend(&polled.revoked);
                        self.one.retain(|delivery| !polled.revoked.contains(&delivery.partition));
                        self.one.extend(polled.deliveries);
                    }
                    polled = poll(other) => self.other.extend(polled.deliveries),
                }
            }
        })
        .await;
    }

    fn count(&self) -> usize {
        self.one.len() + self.other.len()
    }
}

fn partitions(deliveries: &[Delivery]) -> BTreeSet<i32> {
    deliveries.iter().map(|delivery| delivery.partition).collect()
}

#[tokio::test]
async fn a_member_that_joins_takes_partitions_over_and_the_other_is_told() {
    with_topic(|topic| async move {
        let channel = topic.open("partitions=4");
        let mut one = channel.subscribe("readers", everything).unwrap();
        publish(&channel, 0..40).await;
        assert_eq!(partitions(&take(&mut one, 40).await).len(), 4);

        // Nothing was committed. So all records of the partitions that change hands come again.
        let mut other = channel.subscribe("readers", everything).unwrap();
        let mut shared = Shared::default();
        shared
            .poll(&mut one, &mut other, |shared| shared.revoked.len() == 2 && !shared.other.is_empty())
            .await;
        assert!(partitions(&shared.other).is_subset(&shared.revoked));
        assert!(shared.one.is_empty(), "who keeps a partition gets nothing again");
    })
    .await;
}

#[tokio::test]
async fn members_of_a_group_share_the_records() {
    with_topic(|topic| async move {
        let channel = topic.open("partitions=4");
        let mut one = channel.subscribe("readers", everything).unwrap();
        publish(&channel, 0..1).await;
        let first = take(&mut one, 1).await;
        commit(&mut one, &first[0]).await;
        let mut other = channel.subscribe("readers", everything).unwrap();
        let mut shared = Shared::default();
        shared.poll(&mut one, &mut other, |shared| shared.revoked.len() == 2).await;

        publish(&channel, 100..140).await;
        shared.poll(&mut one, &mut other, |shared| shared.count() >= 40).await;
        let mut all = [values(&shared.one), values(&shared.other)].concat();
        all.retain(|value| value.as_str() >= "100");
        all.sort();
        assert_eq!(all, (100..140).map(|value| value.to_string()).collect::<Vec<_>>());
        assert!(partitions(&shared.one).is_disjoint(&partitions(&shared.other)));
    })
    .await;
}

#[tokio::test]
async fn when_a_member_goes_another_takes_up_what_it_had_not_committed() {
    with_topic(|topic| async move {
        let channel = topic.open("partitions=4");
        let mut one = channel.subscribe("readers", everything).unwrap();
        publish(&channel, 0..40).await;
        let taken = take(&mut one, 40).await;
        let partition = taken[0].partition;
        let done: Vec<_> = taken.iter().filter(|delivery| delivery.partition == partition).cloned().collect();
        commit(&mut one, done.last().unwrap()).await;
        drop(one);

        let mut other = channel.subscribe("readers", everything).unwrap();
        let again = take(&mut other, 40 - done.len()).await;
        assert_eq!(again.len(), 40 - done.len());
        assert!(!partitions(&again).contains(&partition));
    })
    .await;
}

#[tokio::test]
async fn when_a_member_leaves_another_takes_over_at_once() {
    with_topic(|topic| async move {
        // A wait for the end of the session would take half a minute.
        let channel = topic.open("partitions=4&session_timeout_ms=30000");
        let mut one = channel.subscribe("readers", everything).unwrap();
        publish(&channel, 0..40).await;
        take(&mut one, 40).await;
        let elsewhere = topic.open("session_timeout_ms=30000");
        let mut other = elsewhere.subscribe("readers", everything).unwrap();
        let mut shared = Shared::default();
        shared.poll(&mut one, &mut other, |shared| shared.revoked.len() == 2).await;

        let left = Instant::now();
        drop(one);
        publish(&channel, 100..140).await;
        let mut seen = BTreeSet::new();
        while seen.len() < 4 {
            seen.extend(partitions(&poll(&mut other).await.deliveries));
        }
        assert!(left.elapsed() < Duration::from_secs(15), "it took {:?}", left.elapsed());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_that_leave_while_they_join_keep_nobody_waiting() {
    with_topic(|topic| async move {
        let options = "partitions=4&session_timeout_ms=30000";
        let channel = topic.open(options);
        let mut stays = channel.subscribe("readers", everything).unwrap();
        publish(&channel, 0..40).await;
        take(&mut stays, 40).await;
        for pause in [0, 50, 200, 500, 1_000, 1_500] {
            let mut passes = topic.open(options).subscribe("readers", everything).unwrap();
            let joined = async {
                loop {
                    tokio::select! {
                        _ = poll(&mut stays) => {}
                        _ = poll(&mut passes) => {}
                    }
                }
            };
            // The rounds differ in the moment when the member leaves.
            let _ = tokio::time::timeout(Duration::from_millis(pause), joined).await;
            drop(passes);
        }

        let left = Instant::now();
        publish(&channel, 100..140).await;
        let mut seen = BTreeSet::new();
        while seen.len() < 40 {
            seen.extend(
                poll(&mut stays)
                    .await
                    .deliveries
                    .iter()
                    .map(value_of)
                    .filter(|value| value.as_str() >= "100"),
            );
        }
        assert!(left.elapsed() < Duration::from_secs(15), "it took {:?}", left.elapsed());
    })
    .await;
}

#[tokio::test]
async fn a_member_that_hangs_loses_its_partitions_and_is_told_when_it_goes_on() {
    with_topic(|topic| async move {
        let channel = topic.open("partitions=4");
        let mut one = channel.subscribe("readers", everything).unwrap();
        publish(&channel, 0..40).await;
        let taken = take(&mut one, 40).await;

        // Nobody polls the first member meanwhile, but its client still sends heartbeats.
        let mut other = channel.subscribe("readers", everything).unwrap();
        assert_eq!(values(&take(&mut other, 40).await), values(&taken));
        let mut revoked = BTreeSet::new();
        while revoked != partitions(&taken) {
            revoked.extend(poll(&mut one).await.revoked);
        }
    })
    .await;
}

#[tokio::test]
async fn a_commit_of_what_was_revoked_is_passed_over() {
    with_topic(|topic| async move {
        let channel = topic.open("partitions=2");
        let mut one = channel.subscribe("readers", everything).unwrap();
        publish(&channel, 0..20).await;
        let taken = take(&mut one, 20).await;
        let mut other = channel.subscribe("readers", everything).unwrap();
        let mut shared = Shared::default();
        shared.poll(&mut one, &mut other, |shared| shared.revoked.len() == 1).await;

        let (lost, kept): (Vec<_>, Vec<_>) =
            taken.into_iter().partition(|delivery| shared.revoked.contains(&delivery.partition));
        for delivery in lost.iter().chain(&kept) {
            commit(&mut one, delivery).await;
        }
        drop((one, other));

        let mut next = channel.subscribe("readers", everything).unwrap();
        let mut seen = Vec::new();
        let is_seen =
            |seen: &[Delivery]| lost.iter().all(|delivery| values(seen).contains(&value_of(delivery)));
        while !is_seen(&seen) {
            seen.extend(poll(&mut next).await.deliveries);
        }
    })
    .await;
}

#[tokio::test]
async fn what_a_filter_passed_over_is_committed_with_what_was_done() {
    with_topic(|topic| async move {
        let channel = topic.open("partitions=1");
        let early = |value: Option<&[u8]>| value < Some(b"005");
        let mut one = channel.subscribe("readers", early).unwrap();
        publish(&channel, 0..10).await;
        let taken = take(&mut one, 5).await;
        commit(&mut one, taken.last().unwrap()).await;
        drop(one);

        let mut next = channel.subscribe("readers", everything).unwrap();
        publish(&channel, 10..11).await;
        assert_eq!(values(&take(&mut next, 1).await), ["010"]);
    })
    .await;
}

#[tokio::test]
async fn a_member_commits_while_it_goes_on_until_nothing_is_left() {
    with_topic(|topic| async move {
        let channel = topic.open("partitions=1");
        let early = |value: Option<&[u8]>| value < Some(b"005");
        let mut one = channel.subscribe("readers", early).unwrap();
        // The filter refuses the last five, so no later record is committed.
        for number in 0..10 {
            publish(&channel, number..number + 1).await;
            if number < 5 {
                let taken = take(&mut one, 1).await;
                commit(&mut one, &taken[0]).await;
            }
        }
        let lag = || channel.lag().iter().filter_map(|lag| lag.records).sum::<u64>();
        within(async {
            while channel.lag().is_empty() || lag() > 0 {
                let _ = tokio::time::timeout(std::time::Duration::from_millis(50), one.poll(1)).await;
            }
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn the_lag_of_a_member_is_what_it_has_not_committed() {
    with_topic(|topic| async move {
        let channel = topic.open("partitions=2");
        let mut one = channel.subscribe("readers", everything).unwrap();
        publish(&channel, 0..20).await;
        let taken = take(&mut one, 20).await;
        let partition = taken[0].partition;
        let done = taken.iter().filter(|delivery| delivery.partition == partition);
        commit(&mut one, done.clone().next_back().unwrap()).await;
        let left = 20 - done.count() as u64;
        let lag = || channel.lag().iter().filter_map(|lag| lag.records).sum::<u64>();
        let is_told = || channel.lag().len() == 2 && lag() == left;
        within(async {
            // The lag becomes known while the member polls; here it finds no record.
            while !is_told() {
                let _ = tokio::time::timeout(std::time::Duration::from_millis(50), one.poll(1)).await;
            }
        })
        .await;
        let group = format!("{}.readers", topic.name());
        assert!(channel.lag().iter().all(|lag| lag.group == group));
        drop(one);
        assert!(channel.lag().is_empty(), "nobody here knows any more");
    })
    .await;
}
