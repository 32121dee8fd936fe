//! `orders rebuild` under load, killed again and again. No query goes back, and the next rebuild is whole.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;
use tests::damage::View;
use tests::report;
use tests::stores::Stores;
use tests::system::{Setup, System};

use super::watcher::Watcher;
use super::{expect_all, kill_in_time, loads, random};

/// The number of rebuilds that are killed, and the number that come to their end between them.
const KILLS: u64 = 12;
const DONE: u64 = 3;

/// Starts the system, and on servers another replica beside it.
async fn replicas() -> Vec<System> {
    let stores = Stores::fresh();
    let mut replicas = vec![Setup::on(stores.clone()).start().await];
    if !matches!(stores, Stores::Embedded) {
        replicas.push(Setup::on(stores).start().await);
    }
    replicas
}

#[tokio::test]
async fn rebuilds_under_load_killed_at_any_moment_take_no_query_back_and_the_next_one_is_whole() {
    let replicas = replicas().await;
    let replicas: Vec<&System> = replicas.iter().collect();
    let system = replicas[0];
    system.load(&["--orders", "2000", "--clients", "16", "--prefix", "old"]).run().await.with_code(0);
    let mut view = View::of(system).await;
    let over = AtomicBool::new(false);
    let (mut killed, mut done, mut in_the_middle) = (0, 0, 0);
    let rebuilds = async {
        let mut random = random();
        while killed < KILLS || done < DONE {
            // A step is one read of the view, because the steps of a rebuild take longer.
            let step = async || {
                system.get("/").await.with_status(200);
            };
            if killed < KILLS {
                match kill_in_time(system, &["rebuild"], &mut random, step).await {
                    Ok(()) => killed += 1,
                    Err(finished) => _ = finished.with_code(0),
                }
                in_the_middle += view.building().await;
            }
            if killed == KILLS || killed * DONE > done * KILLS {
                system.orders(&["rebuild", "--json"]).await.with_code(0);
                assert_eq!(
                    (view.building().await, view.tables().await),
                    (0, 1),
                    "nothing is left of the killed"
                );
                done += 1;
            }
        }
        over.store(true, Ordering::Relaxed);
    };
    let mut watcher = Watcher::default();
    let mut choice = random();
    let (checks, (), ()) =
        tokio::join!(loads(system, &over), rebuilds, watcher.watch(&replicas, &mut choice, &over));
    let orders = expect_all(system, &checks).await;
    assert!(in_the_middle > 0, "no rebuild was killed in its middle");
    for replica in &replicas {
        replica.expect_verified().await;
    }
    let figures = json!({
        "kills": killed, "in the middle": in_the_middle, "rebuilds": done, "reads": watcher.reads(),
        "orders": orders, "orders watched": watcher.orders(), "steps back": 0,
    });
    report::note("rebuilds under load", system.stores().name(), &figures);
}
