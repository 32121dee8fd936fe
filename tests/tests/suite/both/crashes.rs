//! `kill -9` in the middle of a load: nothing that was acknowledged is lost, doubled or left undone.

use tests::load::{acknowledged, expect_nothing_lost, start_load, until_handled};
use tests::stores::Stores;
use tests::system::{Setup, System, lasting_address};

#[tokio::test]
async fn a_load_whose_server_is_killed_and_started_again_ends_with_every_order_done() {
    let mut system = Setup::on(Stores::fresh()).listening_at(lasting_address()).start().await;
    let (mut load, check) = start_load(&system, &["--orders", "3000", "--retries", "100"]);
    // Far fewer than the load has, because it goes on between the look and the kill.
    for commands in [100.0, 300.0, 500.0] {
        until_handled(&system, &mut load, commands).await;
        system.kill();
        system.listen_again().await;
    }
    let report = load.end().await.with_code(0).json();
    assert_eq!((&report["answered"], &report["not_acknowledged"]), (&6000.into(), &0.into()), "{report}");
    assert!(report["retries"]["no answer"].as_u64().unwrap() > 0, "{report}");
    expect_nothing_lost(&system, &check).await;
    assert!(acknowledged(&check).into_values().all(|processed| processed));
}

#[tokio::test]
async fn a_load_whose_server_is_killed_for_good_loses_nothing_that_was_acknowledged() {
    for commands in [1.0, 250.0, 1000.0] {
        let mut system = System::start().await;
        let (mut load, check) = start_load(&system, &["--orders", "100000", "--retries", "1"]);
        until_handled(&system, &mut load, commands).await;
        system.kill();
        let report = load.end().await.with_code(1).json();
        assert_eq!(report["ended"], "server_gone", "{report}");
        system.start_again().await;
        expect_nothing_lost(&system, &check).await;
    }
}

#[tokio::test]
async fn a_system_killed_again_and_again_while_it_recovers_still_recovers() {
    let mut system = Setup::on(Stores::fresh()).listening_at(lasting_address()).start().await;
    let (mut load, check) = start_load(&system, &["--orders", "600", "--retries", "100"]);
    until_handled(&system, &mut load, 300.0).await;
    for _ in 0..5 {
        // It is killed as soon as it is ready, while its relay still publishes commits that the last server left.
        system.kill();
        system.start_again().await;
    }
    load.end().await.with_code(0);
    expect_nothing_lost(&system, &check).await;
}

#[tokio::test]
async fn a_command_is_durable_when_it_is_answered() {
    let mut system = System::start().await;
    for number in 0..5 {
        let id = format!("a{number}");
        let answer = system.create(&id).await;
        system.kill();
        system.start_again().await;
        // A broker reassigns the partitions of a killed member only when the member's session is over.
        let read = system.get(&format!("/{id}?min_version=1")).header("prefer", "wait=20").await;
        assert_eq!(read.with_status(200).json(), answer.json());
    }
}
