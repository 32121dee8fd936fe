//! `orders relay`: publishes what a system that is gone has left.

use tests::fulfilment::{Reply, Service};
use tests::stores::Stores;
use tests::system::{Setup, System};

use crate::view_file::ViewFile;

/// A system that was killed with orders whose processing was asked for, but not begun to be recorded.
async fn killed_with_work_left(orders: usize) -> System {
    let service = Service::start(|_| Reply::Silence).await;
    let mut system = Setup::on(Stores::Embedded).with(&["--fulfilment", service.url()]).start().await;
    for number in 0..orders {
        system.create(&format!("a{number}")).await;
        system.process(&format!("a{number}")).await;
    }
    service.until_asked().await;
    system.kill();
    system
}

#[tokio::test]
async fn a_relay_on_a_stopped_system_publishes_and_finishes_what_was_left() {
    let mut system = killed_with_work_left(20).await;
    let relayed = system.orders(&["relay", "--json"]).await.with_code(0).json();
    assert_eq!((&relayed["failed"], &relayed["left"]), (&0.into(), &0.into()), "{relayed}");
    assert!(relayed["commits"].as_u64().unwrap() >= 20, "{relayed}");
    system.expect_verified().await;
    let processed =
        format!("SELECT count(*) FROM orders_{} WHERE status = 'processed'", ViewFile::of(&system).active());
    assert_eq!(ViewFile::of(&system).number(&processed), 20);
    let idle = system.orders(&["relay"]).await.with_code(0).stdout;
    assert_eq!(idle, "published 0 commits of 0 streams; 0 left\n");

    system.start_again_with(&[]).await;
    for number in 0..20 {
        let types = system.event_types(&format!("a{number}")).await;
        assert_eq!(types, ["OrderCreated", "ProcessingStarted", "OrderProcessed"]);
    }
}

#[tokio::test]
async fn a_relay_is_refused_while_a_server_has_the_folder() {
    let mut system = Setup::on(Stores::Embedded).start().await;
    let refused = system.orders(&["relay"]).await.with_code(2);
    let pid = system.server().pid().to_string();
    assert!(refused.stderr.contains("in use") && refused.stderr.contains(&pid), "{refused:?}");
    assert_eq!(refused.stderr.lines().count(), 1);
    system.create_and_process("a").await;
}

#[tokio::test]
async fn a_server_publishes_by_itself_what_the_last_one_left() {
    let mut system = killed_with_work_left(5).await;
    system.start_again_with(&[]).await;
    for number in 0..5 {
        system.until_status(&format!("a{number}"), "processed").await;
    }
    system.expect_verified().await;
}
