//! `orders rebuild` makes the view anew, while everything goes on.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;
use tests::damage::{View, set_schema};
use tests::http::Answer;
use tests::system::System;

#[tokio::test]
async fn a_rebuilt_view_is_what_the_events_say_whatever_was_in_the_old_one() {
    let system = System::start().await;
    for id in ["a", "b", "c"] {
        system.create_and_process(id).await;
    }
    let mut view = View::of(&system).await;
    let before = system.get("/").await.json();
    view.rename("a", "a chair").await;
    view.set_version("a", 1).await;
    view.remove("b").await;
    view.add_ghost("ghost", 0).await;
    let (old, tables) = (view.active().await, view.tables().await);
    let rebuilt = system.orders(&["rebuild", "--json"]).await.with_code(0).json();
    assert_eq!((&rebuilt["commits"], &rebuilt["events"]), (&9.into(), &9.into()));
    assert_eq!(system.get("/").await.json(), before);
    assert_ne!(view.active().await, old);
    assert_eq!((view.building().await, view.tables().await), (0, tables), "the old view is gone");
    system.expect_verified().await;
    let told = system.orders(&["rebuild"]).await.with_code(0).stdout;
    assert!(told.starts_with("rebuilt the view from 9 commits with 9 events in "), "{told}");
}

#[tokio::test]
async fn an_order_that_cant_be_read_is_in_a_rebuilt_view_as_it_was_before() {
    let system = System::start().await;
    for id in ["newer", "well"] {
        system.create_and_process(id).await;
    }
    let before = system.get("/newer").await.json();
    set_schema(&system, "newer", 1, 99).await;
    View::of(&system).await.remove("well").await;
    let rebuilt = system.orders(&["rebuild", "--json"]).await.with_code(0).json();
    assert_eq!(rebuilt["unreadable"], 1);
    assert_eq!(system.get("/newer").await.with_status(200).json(), before);
    set_schema(&system, "newer", 1, 1).await;
    system.expect_verified().await;
}

/// Checks that no order is older than it was, or gone, within the range of a page. Notes the versions that the page shows.
fn expect_no_step_back(seen: &mut BTreeMap<String, u64>, page: &Answer) {
    let shown: BTreeMap<String, u64> = page.json().as_array().unwrap().iter().map(id_and_version).collect();
    let last = shown.keys().next_back().filter(|_| page.next_page().is_some()).cloned();
    for (id, version) in seen.iter().filter(|(id, _)| last.as_ref().is_none_or(|last| *id <= last)) {
        assert!(shown.get(id) >= Some(version), "{id} was at {version} and is at {:?}", shown.get(id));
    }
    seen.extend(shown);
}

fn id_and_version(order: &Value) -> (String, u64) {
    (order["id"].as_str().unwrap().to_owned(), order["version"].as_u64().unwrap())
}

#[tokio::test]
async fn queries_are_served_and_never_go_back_while_rebuilds_and_commands_go_on() {
    let system = System::start().await;
    let over = AtomicBool::new(false);
    let writes = async {
        let load = system.load(&["--orders", "500", "--clients", "8", "--prefix", "w", "--json"]).run().await;
        over.store(true, Ordering::Relaxed);
        load.with_code(0).json()
    };
    let rebuilds = async {
        let mut rebuilds = 0;
        while !over.load(Ordering::Relaxed) || rebuilds < 2 {
            system.orders(&["rebuild", "--json"]).await.with_code(0);
            rebuilds += 1;
        }
    };
    let reads = async {
        let mut seen = BTreeMap::new();
        while !over.load(Ordering::Relaxed) {
            let page = system.get("/?limit=200").await.with_status(200);
            expect_no_step_back(&mut seen, &page);
        }
        seen.len()
    };
    let (load, (), seen) = tokio::join!(writes, rebuilds, reads);
    assert_eq!((&load["answered"], &load["not_acknowledged"]), (&1000.into(), &0.into()), "{load}");
    assert!(seen > 0, "nothing was read");
    system.expect_verified().await;
}

#[tokio::test]
async fn a_rebuild_that_was_killed_changes_nothing_and_the_next_clears_up_after_it() {
    let system = System::start().await;
    system.load(&["--orders", "2000", "--clients", "32", "--only", "create"]).run().await.with_code(0);
    system.expect_verified().await;
    let mut view = View::of(&system).await;
    let active = view.active().await;
    // The moment is between two transactions of the other process: it may take some rebuilds to hit it.
    let mut hit = false;
    for _ in 0..20 {
        let mut rebuild = system.invocation(&["rebuild"]).start();
        while rebuild.ended().is_none() && view.building().await == 0 {
            tokio::task::yield_now().await;
        }
        if rebuild.ended().is_none() {
            rebuild.kill();
        }
        hit = view.building().await == 1;
        if hit {
            break;
        }
    }
    assert!(hit, "no rebuild was killed in its middle");
    assert_eq!(view.tables().await, 2);
    assert!(view.active().await >= active);
    system.create_and_process("meanwhile").await;
    system.expect_verified().await;
    system.orders(&["rebuild"]).await.with_code(0);
    assert_eq!((view.building().await, view.tables().await), (0, 1));
    system.create_and_process("afterwards").await;
    system.expect_verified().await;
}
