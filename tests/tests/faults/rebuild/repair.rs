//! `orders verify --repair` under load, killed again and again, on a view that somebody has tampered with.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;
use tests::damage::View;
use tests::report;
use tests::system::System;

use super::{expect_all, kill_in_time, loads, random};

const KILLS: u64 = 6;
/// The number of orders that are tampered with, and the number of ways.
const ORDERS: usize = 60;
const WAYS: usize = 6;

fn id(number: usize) -> String {
    format!("mine-{number:02}")
}

/// Returns whether the test sends further commands for the order. It sends none if nobody can read the row: then events wait for
/// the repair.
fn goes_on(number: usize) -> bool {
    number % WAYS != 4
}

async fn tamper(view: &mut View) {
    for number in 0..ORDERS {
        let id = id(number);
        match number % WAYS {
            0 => view.remove(&id).await,
            1 => view.rename(&id, "a chair").await,
            2 => view.set_version(&id, 50).await,
            3 => view.add_ghost(&format!("ghost-{number}"), 2).await,
            4 => view.garble(&id).await,
            _ => {}
        }
    }
}

#[tokio::test]
async fn a_view_tampered_with_under_load_is_mended_by_repairs_that_were_killed_before() {
    let system = System::start().await;
    for number in 0..ORDERS {
        system.create(&id(number)).await;
    }
    for number in 0..ORDERS {
        system.until_version(&id(number), 1).await;
    }
    let mut view = View::of(&system).await;
    let over = AtomicBool::new(false);
    let mut killed = 0;
    let repairs = async {
        let mut random = random();
        tamper(&mut view).await;
        let words = ["verify", "--repair", "--patience", "0.5", "--json"];
        for round in 0..KILLS as usize {
            let step = async || {
                system.get("/?limit=10").await;
            };
            killed += u64::from(kill_in_time(&system, &words, &mut random, step).await.is_ok());
            // Sends commands on tampered orders, some before each further repair and some after the last.
            for number in (round..ORDERS).step_by(KILLS as usize + 1).filter(|number| goes_on(*number)) {
                system.process(&id(number)).await;
            }
        }
        let report = system.orders(&words).await.with_code(0).json();
        assert_eq!(report["faults"], report["repaired"], "{report}");
        for number in (0..ORDERS).filter(|number| goes_on(*number)) {
            system.process(&id(number)).await;
        }
        over.store(true, Ordering::Relaxed);
    };
    let (checks, ()) = tokio::join!(loads(&system, &over), repairs);
    assert!(killed > 0, "no repair was killed before its end");
    let orders = expect_all(&system, &checks).await;
    // This includes events that the projector ignored, because a row was ahead.
    system.expect_verified().await;
    for number in 0..ORDERS {
        let (status, version) = if goes_on(number) { ("processed", 3) } else { ("new", 1) };
        let order = system.get(&format!("/{}", id(number))).await.with_status(200).json();
        assert_eq!((&order["status"], &order["version"]), (&status.into(), &version.into()), "{order}");
        assert_eq!(order["name"], "a lamp", "{order}");
    }
    for number in (0..ORDERS).filter(|number| number % WAYS == 3) {
        system.get(&format!("/ghost-{number}")).await.problem(404, "order-not-found");
    }
    let held = system.orders(&["held", "list", "--json"]).await.with_code(0);
    assert_eq!(held.stdout, "", "nothing is held any more");
    let figures = json!({"kills": killed, "tampered with": ORDERS, "orders": orders, "faults left": 0});
    report::note("repairs under load", system.stores().name(), &figures);
}
