//! The librdkafka threads that join a group and keep a member in it stop for good, as when two of them wait for each other.
//! Members are replaced, and unfinished records come again.

use std::time::Instant;

use serde_json::json;
use tests::poll::until;
use tests::report;
use tests::stores::Stores;
use tests::system::Setup;
use tests::threads;

/// The name that librdkafka gives these threads: one for the producer, and one for each member.
const MAIN: &str = "rdk:main";
const MEMBERS: usize = 2;

#[tokio::test]
async fn a_consumer_whose_client_hangs_is_replaced() {
    let Some(stores) = Stores::servers() else { return };
    let mut system = Setup::on(stores).start().await;
    system.create_and_process("before").await;

    let Some(held) = threads::hold(system.server().pid(), MAIN) else { return };
    assert_eq!(held.threads, MEMBERS + 1);
    let since = Instant::now();
    // Records that are fetched already still come, and more of them: those threads do not fetch.
    let mut orders = 0;
    until("both members to be replaced", async || {
        system.create_and_process(&format!("during-{orders}")).await;
        orders += 1;
        (system.server().stderr().matches("joining the group anew").count() == MEMBERS).then_some(())
    })
    .await;
    system.create_and_process("during").await;
    let healed = since.elapsed();
    drop(held);
    system.create_and_process("after").await;

    system.expect_verified().await;
    let types = system.event_types("during").await;
    assert_eq!(types, ["OrderCreated", "ProcessingStarted", "OrderProcessed"]);
    system.stop().await;
    let figures = json!({"faults": MEMBERS, "orders_checked": orders + 3, "healed_s": healed.as_secs_f64()});
    report::note("librdkafka hangs", "servers", &figures);
}
