//! Processes are killed with SIGKILL at every step of the path of a command, and started again. Nothing is lost, nothing is done
//! twice, and everything stays in order.
//!
//! `ORDERS_FAULTS_KILLS` says how many kills a run has; without it each point has one. The points come in turn first, and then in a
//! random order that follows from the seed.

mod points;
mod world;

use std::collections::BTreeMap;
use std::env;
use std::time::Instant;

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use serde_json::json;
use tests::checker::Checked;
use tests::report;
use tests::stores::Stores;

use points::{Point, points};
use world::World;

/// The number of kills between two checks of the orders that have changed.
const LOOK: usize = 12;

/// The number of kills of one system, before all of it is checked and another begins.
const SYSTEM: usize = 100;

/// Returns how many kills this run has on stores with so many points.
fn wanted(points: usize) -> usize {
    env::var("ORDERS_FAULTS_KILLS").map_or(points, |kills| kills.parse().expect("a number of kills"))
}

/// Kills processes of so many servers on fresh stores. After `SYSTEM` kills it goes on with the next stores, until it has made
/// all kills that are wanted.
async fn survive(test: &str, servers: usize, mut stores: impl FnMut() -> Option<Stores>) {
    let Some(mut next) = stores() else { return };
    let (began, kind) = (Instant::now(), next.name());
    // Each test has its own variant, or all would have the same kills in the same order.
    let variant = match next {
        Stores::Embedded => 1,
        Stores::Servers(_) => 0,
        Stores::Postgres(_) => 4,
    };
    let variant = 2 * servers as u64 + variant;
    let mut random = StdRng::seed_from_u64(report::seed().wrapping_mul(10).wrapping_add(variant));
    let all = points(&next);
    let (mut in_turn, kills) = (all.iter(), wanted(all.len()));
    let (mut killed, mut left, mut figures, mut checked) =
        (BTreeMap::new(), kills, vec![], Checked::default());
    let mut other_kills = 0;
    while left > 0 {
        let mut world = World::new(next.clone(), servers, StdRng::from_rng(&mut random)).await;
        for kill in 1..=left.min(SYSTEM) {
            let point: Point = *in_turn.next().or_else(|| all.choose(&mut random)).expect("a point");
            println!(
                "{test}: kill {} of {kills}, seed {}: {}",
                kills - left + kill,
                report::seed(),
                point.name
            );
            world.kill_at(point).await;
            if kill % LOOK == 0 {
                world.check(false).await;
            }
        }
        left -= left.min(SYSTEM);
        let whole = world.check(true).await;
        checked.orders += whole.orders;
        checked.events += whole.events;
        checked.fulfilled += whole.fulfilled;
        for (point, times) in std::mem::take(&mut world.kills) {
            *killed.entry(point).or_insert(0) += times;
        }
        other_kills += world.other_kills;
        figures.push(world.figures());
        drop(world);
        if left > 0 {
            next = stores().expect("stores that were there before");
        }
    }
    let sum = |name: &str| figures.iter().filter_map(|system| system[name].as_u64()).sum::<u64>();
    let figures = json!({
        "kills": killed.values().sum::<u64>(), "other_kills": other_kills, "points": killed,
        "commands": sum("commands"), "commands_repeated": sum("commands_repeated"),
        "orders": checked.orders, "events": checked.events, "fulfilled": checked.fulfilled,
        "fulfilment_calls": sum("fulfilment_calls"), "records": sum("records"), "records_again": sum("records_again"),
        "lost": 0, "seconds": began.elapsed().as_secs(),
    });
    let kind = if servers == 1 { kind.to_owned() } else { format!("{kind}, several replicas") };
    report::note(test, &kind, &figures);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_killed_at_every_step_loses_nothing() {
    survive("a_server_killed_at_every_step_loses_nothing", 1, || Some(Stores::Embedded)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_on_servers_killed_at_every_step_loses_nothing() {
    survive("a_server_on_servers_killed_at_every_step_loses_nothing", 1, Stores::servers).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_two_servers_killed_at_every_step_loses_nothing() {
    survive("one_of_two_servers_killed_at_every_step_loses_nothing", 2, Stores::servers).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_two_servers_on_postgresql_alone_killed_at_every_step_loses_nothing() {
    let test = "one_of_two_servers_on_postgresql_alone_killed_at_every_step_loses_nothing";
    survive(test, 2, Stores::postgres).await;
}
