//! The same check while servers are killed. A client that got no answer may find its command done, or not.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tests::poll::until;
use tests::stores::Stores;
use tests::system::System;

use super::clients::History;
use super::{CLIENTS, SIDE_BY_SIDE, all_go_on, expect_linearizable, seeds, service, start};

/// How often a server is killed.
const KILLS: u64 = 5;

/// The number of calls that a client makes if no server is killed. It is so small that a history with `AFTERWARDS` can be
/// checked.
const BEFORE: usize = 8;
/// The number of calls that a client makes after the kill.
const AFTERWARDS: usize = 4;

/// Kills one server after the other amid the calls of many clients. Each time the orders are fresh.
async fn kill_amid_calls(test: &str, stores: &Stores, systems: &mut [System], kind: u64) {
    let mut all = vec![];
    let mut seeds = seeds(kind, KILLS * SIDE_BY_SIDE as u64);
    for kill in 0..KILLS as usize {
        let histories: Vec<History> = seeds.by_ref().take(SIDE_BY_SIDE).map(History::new).collect();
        let clocks: Vec<_> = histories.iter().map(History::clock).collect();
        let most = SIDE_BY_SIDE * CLIENTS * BEFORE * 2;
        let moment = StdRng::seed_from_u64(histories[0].seed()).random_range(most / 8..most / 2);
        let going_on = tokio::spawn(all_go_on(histories, apis(systems), BEFORE));
        until("the moment of the kill", async || {
            let passed: u64 = clocks.iter().map(|clock| clock.passed()).sum();
            (passed >= moment as u64).then_some(())
        })
        .await;
        let killed = kill % systems.len();
        systems[killed].kill();
        let histories = going_on.await.unwrap();
        systems[killed].start_again().await;
        all.extend(all_go_on(histories, apis(systems), AFTERWARDS).await);
    }
    let unanswered: usize = all.iter().map(History::unanswered).sum();
    assert!(unanswered > 0, "no kill came amid a call");
    expect_linearizable(test, stores, &all);
}

fn apis(systems: &[System]) -> Vec<tests::http::Http> {
    systems.iter().map(|system| system.api().clone()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_call_that_a_killed_server_left_unanswered_took_effect_once_or_never() {
    let (stores, service) = (Stores::fresh(), service().await);
    let mut systems = [start(&stores, &service).await];
    let test = "a_call_that_a_killed_server_left_unanswered_took_effect_once_or_never";
    kill_amid_calls(test, &stores, &mut systems, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_call_that_a_killed_replica_left_unanswered_took_effect_once_or_never() {
    let Some(stores) = Stores::servers() else { return };
    let service = service().await;
    let mut replicas = [start(&stores, &service).await, start(&stores, &service).await];
    let test = "a_call_that_a_killed_replica_left_unanswered_took_effect_once_or_never";
    kill_amid_calls(test, &stores, &mut replicas, 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_call_that_a_killed_replica_on_postgresql_alone_left_unanswered_took_effect_once_or_never() {
    let Some(stores) = Stores::postgres() else { return };
    let service = service().await;
    let mut replicas = [start(&stores, &service).await, start(&stores, &service).await];
    let test = "a_call_that_a_killed_replica_on_postgresql_alone_left_unanswered_took_effect_once_or_never";
    kill_amid_calls(test, &stores, &mut replicas, 5).await;
}
