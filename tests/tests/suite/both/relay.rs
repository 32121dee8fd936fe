//! Commits that a system that is gone has left unpublished.

use tests::fulfilment::{Reply, Service};
use tests::stores::Stores;
use tests::system::{Setup, System};

/// Returns a system that was killed with orders in processing. The service was asked for an outcome, but none is recorded.
pub(crate) async fn killed_with_work_left(stores: Stores, orders: usize) -> System {
    let service = Service::start(|_| Reply::Silence).await;
    let mut system = Setup::on(stores).with(&["--fulfilment", service.url()]).start().await;
    for number in 0..orders {
        system.create(&format!("a{number}")).await;
        system.process(&format!("a{number}")).await;
    }
    service.until_asked().await;
    system.kill();
    system
}

#[tokio::test]
async fn a_server_publishes_by_itself_what_the_last_one_left() {
    let mut system = killed_with_work_left(Stores::fresh(), 5).await;
    system.start_again_with(&[]).await;
    for number in 0..5 {
        system.until_status(&format!("a{number}"), "processed").await;
    }
    system.expect_verified().await;
}
