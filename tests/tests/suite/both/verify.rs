//! `orders verify` finds the faults of the view, and repairs them.

use serde_json::{Value, json};
use tests::damage::{View, lose_commit};
use tests::process::Finished;
use tests::system::System;

const PATIENT: [&str; 3] = ["verify", "--patience", "0.2"];

async fn verify(system: &System, words: &[&str]) -> Finished {
    system.orders(&[&PATIENT[..], words].concat()).await
}

/// Starts a system with damaged orders: one is lost, one stale, one different, two are ahead of their events, and two are well.
async fn damaged() -> System {
    let system = System::start().await;
    for id in ["ahead", "different", "lost", "stale", "well"] {
        system.create_and_process(id).await;
    }
    system.create("new").await;
    system.until_version("new", 1).await;
    let mut view = View::of(&system).await;
    view.remove("lost").await;
    view.set_back("stale").await;
    view.rename("different", "a chair").await;
    view.set_version("ahead", 4).await;
    view.add_ghost("ghost", 1).await;
    system
}

fn found() -> Value {
    json!([
        {"order": "ahead", "fault": "extra", "store": 3, "view": 4},
        {"order": "different", "fault": "different", "store": 3, "view": 3},
        {"order": "ghost", "fault": "extra", "store": null, "view": 1},
        {"order": "lost", "fault": "lost", "store": 3, "view": null},
        {"order": "stale", "fault": "stale", "store": 3, "view": 1},
    ])
}

/// Returns the findings of a report, by order.
fn findings(report: &Value) -> Value {
    let mut findings = report["findings"].as_array().unwrap().clone();
    findings.sort_by_key(|finding| finding["order"].as_str().unwrap().to_owned());
    findings.into()
}

#[tokio::test]
async fn a_view_that_is_right_is_0_and_one_that_is_not_is_1_with_every_fault() {
    let system = System::start().await;
    let report = verify(&system, &["--json"]).await.with_code(0).json();
    assert_eq!(report, json!({"orders": 0, "faults": 0, "repaired": 0, "findings": []}));

    let system = damaged().await;
    let report = verify(&system, &["--json"]).await.with_code(1).json();
    assert_eq!(
        (&report["orders"], &report["faults"], &report["repaired"]),
        (&6.into(), &5.into(), &0.into())
    );
    assert_eq!(findings(&report), found());
    let again = verify(&system, &["--json"]).await.with_code(1).json();
    assert_eq!(again, report, "looking changes nothing");
}

#[tokio::test]
async fn what_it_finds_is_told_to_people_too() {
    let system = damaged().await;
    let told = verify(&system, &[]).await.with_code(1).stdout;
    assert!(told.contains("stale: Stale; event store at 3, view at 1\n"), "{told}");
    assert!(told.contains("fault           found  repaired\nlost                1         0\n"), "{told}");
    assert!(told.ends_with("6 orders compared, 5 faults, 0 repaired\n"), "{told}");
}

#[tokio::test]
async fn repair_mends_every_fault_while_the_system_runs() {
    let system = damaged().await;
    let report = verify(&system, &["--repair", "--json"]).await.with_code(0).json();
    assert_eq!((&report["faults"], &report["repaired"]), (&5.into(), &5.into()));
    assert_eq!(findings(&report), found());
    let report = verify(&system, &["--json"]).await.with_code(0).json();
    assert_eq!(report["faults"], 0, "{report}");
    for id in ["ahead", "different", "lost", "stale"] {
        let order = system.get(&format!("/{id}")).await.with_status(200).json();
        assert_eq!(order, system.get(&format!("/{id}/versions/3")).await.with_status(200).json());
    }
    system.get("/ghost").await.problem(404, "order-not-found");
    // The view goes on after the repair.
    system.delete("/new").await.with_status(200);
    system.until_version("new", 2).await;
}

#[tokio::test]
async fn a_stopped_system_can_be_verified_and_mended_too() {
    let mut system = damaged().await;
    system.stop().await;
    verify(&system, &[]).await.with_code(1);
    verify(&system, &["--repair"]).await.with_code(0);
    verify(&system, &[]).await.with_code(0);
}

#[tokio::test]
async fn rows_that_nobody_can_read_are_found_and_mended() {
    let system = System::start().await;
    for id in ["a", "b"] {
        system.create_and_process(id).await;
    }
    let before = system.get("/a").await.json();
    let mut view = View::of(&system).await;
    view.add_ghost("ghost", 1).await;
    for id in ["a", "ghost"] {
        view.garble(id).await;
        system.get(&format!("/{id}")).await.problem(500, "internal");
    }
    let report = verify(&system, &["--json"]).await.with_code(1).json();
    let found = json!([
        {"order": "a", "fault": "different", "store": 3, "view": null},
        {"order": "ghost", "fault": "extra", "store": null, "view": 1},
    ]);
    assert_eq!(findings(&report), found);
    verify(&system, &["--repair"]).await.with_code(0);
    assert_eq!(system.get("/a").await.with_status(200).json(), before);
    system.get("/ghost").await.problem(404, "order-not-found");
    system.expect_verified().await;
}

#[tokio::test]
async fn a_stream_that_cannot_be_read_is_named_and_all_others_are_compared() {
    let mut system = System::start().await;
    for id in ["torn", "well"] {
        system.create_and_process(id).await;
    }
    system.stop().await;
    lose_commit(&system, "torn", 2).await;
    View::of(&system).await.remove("well").await;
    let torn = json!({"order": "torn", "fault": "unreadable", "store": null, "view": 3});
    let well = json!({"order": "well", "fault": "lost", "store": 3, "view": null});
    let report = verify(&system, &["--json"]).await.with_code(1).json();
    assert_eq!((&report["orders"], findings(&report)), (&2.into(), json!([torn, well])));
    let repaired = verify(&system, &["--json", "--repair"]).await.with_code(1).json();
    assert_eq!((&repaired["faults"], &repaired["repaired"]), (&2.into(), &1.into()), "{repaired}");
    assert_eq!(findings(&verify(&system, &["--json"]).await.with_code(1).json()), json!([torn]));
}

#[tokio::test]
async fn orders_that_are_on_their_way_are_no_fault() {
    let system = System::start().await;
    let mut load = system.load(&["--orders", "1000", "--clients", "16"]).start();
    let mut rounds = 0;
    while load.ended().is_none() || rounds < 2 {
        system.expect_verified().await;
        rounds += 1;
    }
    load.end().await.with_code(0);
    system.expect_verified().await;
}
