//! `orders relay` on files: the receivers run with it, because no other process could run them.

use tests::damage::SqliteView;
use tests::stores::Stores;

use crate::both::relay::killed_with_work_left;

#[tokio::test]
async fn a_relay_on_a_stopped_system_publishes_and_finishes_what_was_left() {
    let mut system = killed_with_work_left(Stores::Embedded, 20).await;
    let relayed = system.orders(&["relay", "--json"]).await.with_code(0).json();
    assert_eq!((&relayed["failed"], &relayed["left"]), (&0.into(), &0.into()), "{relayed}");
    assert!(relayed["commits"].as_u64().unwrap() >= 20, "{relayed}");
    system.expect_verified().await;
    let view = SqliteView::of(&system);
    let processed = format!("SELECT count(*) FROM orders_{} WHERE status = 'processed'", view.active());
    assert_eq!(view.number(&processed), 20);
    let idle = system.orders(&["relay"]).await.with_code(0).stdout;
    assert_eq!(idle, "published 0 commits of 0 streams; 0 left\n");

    system.start_again_with(&[]).await;
    for number in 0..20 {
        let types = system.event_types(&format!("a{number}")).await;
        assert_eq!(types, ["OrderCreated", "ProcessingStarted", "OrderProcessed"]);
    }
}
