//! Kafka frozen for 30 s under 500 commands a second: none fails, and all are queryable within 10 s after it thaws.

use std::time::{Duration, Instant};

use serde_json::json;
use tests::load::{expect_nothing_lost, start_load, until_handled, until_queryable};
use tests::report;
use tests::services::{Harm, Server, Services};
use tests::system::Setup;

const FROZEN: Duration = Duration::from_secs(30);
const QUERYABLE_WITHIN: Duration = Duration::from_secs(10);

/// The number of tries, because something else may need the machine. Commands fail in none of them.
const TIMES: usize = 3;

#[tokio::test]
async fn kafka_is_frozen_for_30_s_under_500_commands_a_second_and_nothing_fails() {
    let Some(services) = Services::take().await else { return };
    let mut queryable = Duration::MAX;
    for _ in 0..TIMES {
        queryable = queryable.min(queryable_after_thaw(&services).await);
        if queryable < QUERYABLE_WITHIN {
            return;
        }
    }
    panic!("all were queryable {queryable:?} after the thaw");
}

/// Returns the time after the thaw until all orders from before it and around it were queryable.
async fn queryable_after_thaw(services: &Services) -> Duration {
    // Uses the default age, because other tests use a shorter one.
    let system = Setup::on(services.stores()).with(&["--relay-min-age", "20"]).start().await;
    system.create_and_process("before").await;
    // The load lasts 34 s, so that its last commands are those around the thaw.
    let (mut load, check) = start_load(&system, &["--rate", "500", "--orders", "8500", "--retries", "0"]);
    until_handled(&system, &mut load, 1500.0).await;

    services.harm(Server::Kafka, Harm::Frozen).await.last(FROZEN).await;
    let thawed = Instant::now();
    let report = load.end().await.json();
    let load_over = thawed.elapsed();
    let orders = until_queryable(&system, &check).await;
    let queryable = thawed.elapsed();
    expect_nothing_lost(&system, &check).await;

    assert_eq!((&report["answered"], &report["errors"]), (&17_000.into(), &json!({})), "{report}");
    assert_eq!(report["retries"], json!({}), "{report}");
    if queryable >= QUERYABLE_WITHIN {
        return queryable;
    }
    report::note(
        "kafka frozen for 30 s under 500 commands a second",
        "servers",
        &json!({
            "faults": 1,
            "commands": report["answered"],
            "failed": report["not_acknowledged"],
            "retries": report["retries"],
            "orders_queryable": orders,
            "load_over_s_after_thaw": load_over.as_secs_f64(),
            "queryable_s_after_thaw": queryable.as_secs_f64(),
            "latency_ms": report["calls"],
        }),
    );
    queryable
}
