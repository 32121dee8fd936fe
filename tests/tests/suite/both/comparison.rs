//! The comparison of the view with the event store, which fills in missing events.

use tests::damage::View;
use tests::poll::until;
use tests::system::System;

#[tokio::test]
async fn a_view_that_lost_its_table_is_not_ready_and_is_filled_in_once_it_is_made_again() {
    let mut system = System::start_with(&["--reconcile-rate", "120"]).await;
    for id in ["a", "b"] {
        system.create_and_process(id).await;
    }
    View::of(&system).await.lose_table().await;
    system.admin().get("/readyz").await.with_status(503);
    system.stop().await;
    // A start makes the missing tables.
    system.start_again().await;
    for id in ["a", "b"] {
        let order = system.until_status(id, "processed").await;
        assert_eq!(order, system.get(&format!("/{id}/versions/3")).await.with_status(200).json());
    }
    let comparison = until("the doubt to be over", async || {
        let ready = system.admin().get("/readyz").await.with_status(200).json();
        Some(ready["comparison"].clone()).filter(|comparison| comparison["in_doubt_since"].is_null())
    })
    .await;
    // A new table is filled before the server is ready, and then lacks nothing.
    assert_eq!((&comparison["found"], &comparison["filled"]), (&0.into(), &0.into()), "{comparison}");
    assert_eq!(system.metrics().await.sum("orders_view_filled_events_total", &[]), 0.0);
}

#[tokio::test]
async fn a_rebuild_makes_the_tables_that_are_missing() {
    let mut system = System::start().await;
    system.create_and_process("a").await;
    system.stop().await;
    View::of(&system).await.lose_table().await;
    system.orders(&["rebuild"]).await.with_code(0);
    system.start_again().await;
    system.until_status("a", "processed").await;
    system.expect_verified().await;
}
