//! A fault of one order stops no other order, and a wrong clock stops none.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;
use tests::damage::{leave_unpublished_in_the_future, set_schema};
use tests::fulfilment::{Reply, Service};
use tests::poll::{until, until_within};
use tests::report;
use tests::stores::Stores;
use tests::system::{Setup, System};

/// The number of other orders, more than there are partitions.
const OTHERS: usize = 150;
const STRANGE: usize = 8;

/// The time limit for an order that was set aside. It comes again after 5 s, 10 s, and so on. The limit covers the time that a
/// busy machine takes for the others, and one more reminder.
const COMES_AGAIN: Duration = Duration::from_secs(320);

fn all() -> impl Iterator<Item = Stores> {
    [Stores::Embedded].into_iter().chain(Stores::postgres()).chain(Stores::servers())
}

#[tokio::test]
async fn orders_that_cant_be_read_or_whose_keys_read_like_outcomes_stop_no_other() {
    for stores in all() {
        let name = stores.name();
        strange_orders_among_others(stores).await;
        let figures = json!({"orders": OTHERS, "strange": 2 * STRANGE, "stopped": 0});
        report::note("no order stops another", name, &figures);
    }
}

async fn strange_orders_among_others(stores: Stores) {
    let answers = Arc::new(AtomicBool::new(false));
    let answering = Arc::clone(&answers);
    // The service is silent until the processor has met all streams that it can't read.
    let service = Service::start(move |_| match answering.load(Ordering::Relaxed) {
        false => Reply::Silence,
        true => Reply::Fulfilled,
    })
    .await;
    let flags = ["--fulfilment", service.url(), "--fulfilment-timeout", "1"];
    let system = Setup::on(stores).with(&flags).start().await;
    let newer: Vec<String> = (0..STRANGE).map(|number| format!("newer-{number}")).collect();
    for id in &newer {
        system.create(id).await;
        system.process(id).await;
        set_schema(&system, id, 1, 99).await;
    }
    until("the processor to meet the streams that it can't read", async || {
        let sum = system.metrics().await.sum("orders_unreadable_streams_total", &[("by", "processor")]);
        (sum >= STRANGE as f64).then_some(())
    })
    .await;
    answers.store(true, Ordering::Relaxed);
    for number in 0..STRANGE {
        let id = format!("key-{number}");
        system.create(&id).await;
        system.post(&format!("/{id}")).key(&format!("fulfilment:{id}@2")).await.with_status(200);
    }
    let others: Vec<String> = (0..OTHERS).map(|number| format!("other-{number}")).collect();
    for id in &others {
        system.create(id).await;
        system.process(id).await;
    }
    let keys = (0..STRANGE).map(|number| format!("key-{number}"));
    for id in keys.chain(others) {
        system.until_status(&id, "processed").await;
    }
    for id in &newer {
        set_schema(&system, id, 1, 1).await;
    }
    for id in &newer {
        until_within(COMES_AGAIN, &format!("{id} to be processed"), async || {
            let order = system.get(&format!("/{id}")).await.with_status(200).json();
            (order["status"] == "processed").then_some(())
        })
        .await;
    }
    system.expect_verified().await;
}

#[tokio::test]
async fn commits_that_a_wrong_clock_has_dated_in_the_future_are_published_at_once() {
    for stores in all() {
        let name = stores.name();
        let mut system = Setup::on(stores).start().await;
        for number in 0..OTHERS {
            system.create(&format!("a{number}")).await;
        }
        until("all to be published", async || is_all_published(&system).await.then_some(())).await;
        system.stop().await;
        for number in 0..OTHERS {
            leave_unpublished_in_the_future(&system, &format!("a{number}"), 1).await;
        }
        // Nothing is old enough for this relay.
        system.start_again_with(&["--relay-min-age", "86400"]).await;
        until("commits of a wrong clock to be published", async || {
            is_all_published(&system).await.then_some(())
        })
        .await;
        report::note("clocks may be wrong", name, &json!({"commits": OTHERS, "left": 0}));
    }
}

async fn is_all_published(system: &System) -> bool {
    let metrics = system.metrics().await;
    metrics.tells("orders_unpublished_commits")
        && metrics.sum("orders_unpublished_commits", &[]) == 0.0
        && metrics.sum("orders_unpublished_oldest_age", &[]) == 0.0
}
