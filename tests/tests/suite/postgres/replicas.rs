//! Replicas on the same stores publish their own commits, and those of a replica that is gone or silent.

use std::path::PathBuf;

use serde_json::Value;
use tests::damage::mark_unpublished;
use tests::fulfilment::{Asked, Reply, Service};
use tests::load::{acknowledged, commands_of_clients, expect_nothing_lost, start_load};
use tests::poll::until;
use tests::process::{Invocation, Running};
use tests::stores::Stores;
use tests::system::{Setup, System, lasting_address};

/// An age that no commit of a test has. Only the commits of the dead are taken by others.
const NEVER: [&str; 2] = ["--relay-min-age", "3600"];

/// An age that a commit has soon.
const SOON: [&str; 2] = ["--relay-min-age", "2"];

async fn two(setup: Setup) -> [System; 2] {
    let replica = || setup.clone().listening_at(lasting_address()).start();
    [replica().await, replica().await]
}

async fn two_on_postgres(flags: &[&str]) -> Option<[System; 2]> {
    Some(two(Setup::on(Stores::postgres()?).with(flags)).await)
}

/// Returns what a replica says in `/readyz` of the others.
async fn others(replica: &System) -> Value {
    replica.admin().get("/readyz").await.with_status(200).json()["other_replicas"].clone()
}

async fn until_others(replica: &System, alive: u64, left_to_them: u64) {
    let expected = serde_json::json!({"alive": alive, "left_to_them": left_to_them});
    until(&format!("the other replicas to be {expected}"), async || {
        (others(replica).await == expected).then_some(())
    })
    .await;
}

fn load_over(replicas: &[System; 2], words: &[&str]) -> (Running, PathBuf) {
    let other = format!("http://{}", replicas[1].api().address());
    start_load(&replicas[0], &[words, &["--url", &other]].concat())
}

/// Waits until each replica has done so many commands of the load.
async fn until_each_has_done(replicas: &[System; 2], load: &mut Running, commands: f64) {
    until(&format!("{commands} commands of each"), async || {
        assert_eq!(load.ended(), None, "the load was over first: {}", load.stdout());
        for replica in replicas {
            if commands_of_clients(replica).await < commands {
                return None;
            }
        }
        Some(())
    })
    .await;
}

/// Kills one of two replicas under a load. The other one has everything in the end.
async fn expect_nothing_missing_after_a_kill(mut replicas: [System; 2]) {
    let (mut load, check) = load_over(&replicas, &["--orders", "600", "--retries", "100"]);
    until_each_has_done(&replicas, &mut load, 200.0).await;
    replicas[0].kill();
    let report = load.end().await.with_code(0).json();
    assert_eq!((&report["answered"], &report["not_acknowledged"]), (&1200.into(), &0.into()), "{report}");
    expect_nothing_lost(&replicas[1], &check).await;
    assert!(acknowledged(&check).into_values().all(|processed| processed));
    until("everything to be published", async || {
        let unpublished = replicas[1].metrics().await.sum("orders_unpublished_commits", &[]);
        (unpublished == 0.0).then_some(())
    })
    .await;
    replicas[1].expect_verified().await;
}

#[tokio::test]
async fn one_of_two_is_killed_and_the_other_publishes_at_once_what_it_left() {
    let Some(replicas) = two_on_postgres(&NEVER).await else { return };
    for replica in &replicas {
        until_others(replica, 1, 0).await;
    }
    expect_nothing_missing_after_a_kill(replicas).await;
}

#[tokio::test]
async fn on_mongodb_the_other_publishes_it_once_it_is_old_enough() {
    let Some(stores) = Stores::servers() else { return };
    let in_memory = |server: Invocation| server.env("ORDERS_CHANNEL", "memory:");
    let replicas = two(Setup::on(stores).with(&SOON).with_server(in_memory)).await;
    assert_eq!(others(&replicas[0]).await, Value::Null);
    expect_nothing_missing_after_a_kill(replicas).await;
}

/// Starts an order on the first of two replicas. The service has got its call, and does not answer that one.
async fn with_a_silent_call(flags: &[&str]) -> Option<([System; 2], Service)> {
    let rule = |asked: &Asked| if asked.times == 1 { Reply::Silence } else { Reply::Fulfilled };
    let service = Service::start(rule).await;
    let replicas = two_on_postgres(&[flags, &["--fulfilment", service.url()]].concat()).await?;
    for replica in &replicas {
        until_others(replica, 1, 0).await;
    }
    replicas[0].create("a").await;
    replicas[0].process("a").await;
    service.until_asked().await;
    Some((replicas, service))
}

/// Waits until the replica's relay has looked for commits once more, while so many are left to others, whose relays are frozen. It shows
/// that by a published commit of this order, which is unpublished again and old.
async fn until_swept(replica: &System, order: &str, left: f64) {
    let told = async |name: &str| replica.metrics().await.sum(name, &[]);
    until("all else to be published", async || {
        (told("orders_unpublished_commits").await == left).then_some(())
    })
    .await;
    let before = told("orders_published_events_total").await;
    mark_unpublished(replica, order, 1).await;
    until("the commit to be published again", async || {
        (told("orders_published_events_total").await > before).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_a_replica_leaves_to_another_is_in_readyz_and_is_taken_when_that_one_is_killed() {
    let Some(([mut killed, stays], service)) = with_a_silent_call(&NEVER).await else { return };
    until_others(&killed, 1, 0).await;
    stays.create("b").await;
    until_others(&stays, 1, 1).await;
    killed.server().signal("STOP");
    until_swept(&stays, "b", 1.0).await;
    until_others(&stays, 1, 1).await;
    assert_eq!(service.calls(), 1);
    killed.kill();
    stays.until_status("a", "processed").await;
    until_others(&stays, 0, 0).await;
}

#[tokio::test]
async fn the_commits_of_a_frozen_replica_are_taken_and_its_order_is_fulfilled_once_by_two_calls_under_one_key()
 {
    let Some(([mut frozen, stays], service)) = with_a_silent_call(&SOON).await else { return };
    frozen.server().signal("STOP");
    stays.until_status("a", "processed").await;
    until_others(&stays, 1, 0).await;
    frozen.server().signal("CONT");
    let keys: Vec<_> = service.asked().into_iter().map(|asked| asked.key).collect();
    assert!(keys.len() > 1 && keys.iter().all(|key| key == "a@2"), "{keys:?}");
    assert_eq!(service.effects().len(), 1);
    // The one that was frozen gets no answer to its call, and asks again.
    frozen.create_and_process("b").await;
    for replica in [&frozen, &stays] {
        assert_eq!(replica.event_types("a").await, ["OrderCreated", "ProcessingStarted", "OrderProcessed"]);
    }
    frozen.expect_verified().await;
}

#[tokio::test]
async fn replicas_may_have_the_same_data_folder_and_one_that_stops_leaves_nothing() {
    let Some(stores) = Stores::postgres() else { return };
    let mut one = Setup::on(stores).with(&NEVER).start().await;
    let other =
        one.invocation(&["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]).start();
    until_others(&one, 1, 0).await;
    other.kill();
    until_others(&one, 0, 0).await;
    one.create_and_process("a").await;
    one.stop().await;
    let relayed = one.orders(&["relay", "--json"]).await.with_code(0).json();
    assert_eq!((&relayed["commits"], &relayed["left"]), (&0.into(), &0.into()), "{relayed}");
}
