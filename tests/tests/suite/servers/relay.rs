//! `orders relay` beside servers: it publishes, and the servers that run receive.

use tests::stores::Stores;
use tests::system::Setup;

use crate::both::relay::killed_with_work_left;

#[tokio::test]
async fn a_relay_publishes_what_a_system_that_is_gone_has_left_and_the_next_one_finishes_it() {
    let Some(stores) = Stores::servers() else { return };
    let mut system = killed_with_work_left(stores, 10).await;
    // Some commits may have been published in time. The relay leaves nothing for the next server to publish.
    let relayed = system.orders(&["relay", "--relay-min-age", "0", "--json"]).await.with_code(0).json();
    assert_eq!((&relayed["failed"], &relayed["left"]), (&0.into(), &0.into()), "{relayed}");
    let idle = system.orders(&["relay", "--relay-min-age", "0"]).await.with_code(0).stdout;
    assert_eq!(idle, "published 0 commits of 0 streams; 0 left\n");

    system.start_again_with(&["--relay-min-age", "3600"]).await;
    for number in 0..10 {
        let id = format!("a{number}");
        system.until_status(&id, "processed").await;
        let types = system.event_types(&id).await;
        assert_eq!(types, ["OrderCreated", "ProcessingStarted", "OrderProcessed"]);
    }
    system.expect_verified().await;
}

#[tokio::test]
async fn a_relay_may_run_beside_a_server_that_publishes_too() {
    let Some(stores) = Stores::servers() else { return };
    let system = Setup::on(stores).start().await;
    let mut load = system.load(&["--orders", "300", "--clients", "8", "--json"]).start();
    let mut relays = 0;
    while load.ended().is_none() || relays == 0 {
        let relayed = system.orders(&["relay", "--relay-min-age", "0", "--json"]).await;
        let failed = relayed.json()["failed"].clone();
        assert_eq!(failed, 0, "{relayed:?}");
        relays += 1;
    }
    let report = load.end().await.with_code(0).json();
    assert_eq!(report["answered"], 600, "{report}");
    // Events that came twice were applied once.
    system.expect_verified().await;
}
