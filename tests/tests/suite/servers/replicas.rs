//! Two servers on the same stores share the work, and each can be killed at any time.

use tests::load::{acknowledged, commands_of_clients, expect_nothing_lost, start_load};
use tests::poll::until;
use tests::process::Running;
use tests::stores::Stores;
use tests::system::{Setup, System, lasting_address};

/// Starts two replicas, each with partitions of its own for both functions.
async fn two_replicas() -> Option<[System; 2]> {
    let stores = Stores::servers()?;
    let replica = || Setup::on(stores.clone()).listening_at(lasting_address()).start();
    let replicas = [replica().await, replica().await];
    let mut orders = 0;
    until("both replicas to be invoked for records", async || {
        // Each order has another key, so that sooner or later every partition has one.
        let id = format!("first-{orders}");
        replicas[orders % 2].create(&id).await;
        replicas[orders % 2].process(&id).await;
        orders += 1;
        (invocations(&replicas[0]).await > 0.0 && invocations(&replicas[1]).await > 0.0).then_some(())
    })
    .await;
    Some(replicas)
}

/// Returns the number of invocations of the function that was invoked less.
async fn invocations(replica: &System) -> f64 {
    let metrics = replica.metrics().await;
    let of =
        |function| metrics.sum("orders_event_source_mapping_batch_size_count", &[("function", function)]);
    of("projector").min(of("processor"))
}

/// Waits until the replicas together have done so many of the load's commands more than at the first look.
async fn until_done(replicas: &[System], load: &mut Running, more: f64) {
    let mut before = None;
    until(&format!("{more} commands"), async || {
        assert_eq!(load.ended(), None, "the load was over first: {}", load.stdout());
        let mut done = 0.0;
        for replica in replicas {
            done += commands_of_clients(replica).await;
        }
        (done >= *before.get_or_insert(done) + more).then_some(())
    })
    .await;
}

fn load_over(replicas: &[System; 2], words: &[&str]) -> (Running, std::path::PathBuf) {
    let other = format!("http://{}", replicas[1].api().address());
    start_load(&replicas[0], &[words, &["--url", &other]].concat())
}

/// Waits until this replica has published the commits that the other one left.
async fn expect_all_published(replica: &System) {
    until("everything to be published", async || {
        let metrics = replica.metrics().await;
        (metrics.sum("orders_unpublished_commits", &[]) == 0.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn of_two_that_share_a_load_one_is_killed_and_nothing_that_was_acknowledged_is_missing() {
    let Some(mut replicas) = two_replicas().await else { return };
    let before = [invocations(&replicas[0]).await, invocations(&replicas[1]).await];
    let (mut load, check) = load_over(&replicas, &["--orders", "1000", "--retries", "100"]);
    until_done(&replicas, &mut load, 1000.0).await;
    for (replica, before) in replicas.iter().zip(before) {
        assert!(invocations(replica).await > before, "a replica did nothing of the load");
    }
    replicas[0].kill();
    let report = load.end().await.with_code(0).json();
    assert_eq!((&report["answered"], &report["not_acknowledged"]), (&2000.into(), &0.into()), "{report}");
    expect_nothing_lost(&replicas[1], &check).await;
    assert!(acknowledged(&check).into_values().all(|processed| processed));
    expect_all_published(&replicas[1]).await;
}

#[tokio::test]
async fn each_may_be_killed_and_come_back_in_turn() {
    let Some(mut replicas) = two_replicas().await else { return };
    // The load is long enough; the test ends it.
    let (mut load, check) = load_over(&replicas, &["--orders", "1000000", "--retries", "100"]);
    for turn in [0, 1, 0, 1] {
        until_done(&replicas, &mut load, 200.0).await;
        replicas[turn].kill();
        replicas[turn].start_again().await;
    }
    load.signal("INT");
    let report = load.end().await.json();
    assert_eq!(report["ended"], "interrupted", "{report}");
    expect_nothing_lost(&replicas[0], &check).await;
    expect_all_published(&replicas[1]).await;
}

#[tokio::test]
async fn one_that_is_stopped_hands_its_partitions_over_at_once() {
    let Some([mut stopped, stays]) = two_replicas().await else { return };
    stopped.stop().await;
    for number in 0..16 {
        let id = format!("a{number}");
        stays.create(&id).await;
        // This wait is well below a session's time, for which the partitions of a killed replica wait.
        stays.get(&format!("/{id}?min_version=1")).header("prefer", "wait=5").await.with_status(200);
        stays.process(&id).await;
    }
    for number in 0..16 {
        stays.until_status(&format!("a{number}"), "processed").await;
    }
    stays.expect_verified().await;
}
