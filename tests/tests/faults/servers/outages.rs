//! Each server is killed and started again, and frozen for 10 s. In one test all of them are on a full disk.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::http::Answer;
use tests::load::{expect_nothing_lost, start_load, until_handled};
use tests::poll::until;
use tests::process::Running;
use tests::report;
use tests::services::{Harm, Server, Services};
use tests::stores::Stores;
use tests::system::{Setup, System};

use super::mixed;

/// How long a server is frozen.
const FROZEN: Duration = Duration::from_secs(10);

/// The time limit for a command's answer, whatever is down: 6 s, and some for a busy machine.
const DEADLINE: Duration = Duration::from_secs(9);

/// Runs one outage of a server under a load, with all three servers.
async fn outage(test: &str, server: Server, harm: Harm) {
    let Some(services) = Services::take().await else { return };
    outage_on(services.stores(), &services, test, server, harm).await;
}

/// Runs one outage of PostgreSQL under a load, where it is the only server.
async fn outage_of_the_only_server(test: &str, harm: Harm) {
    let Some(services) = Services::take().await else { return };
    outage_on(services.postgres(), &services, test, Server::Postgres, harm).await;
}

/// Runs one outage under a load, and checks the system when it is over.
async fn outage_on(stores: Stores, services: &Services, test: &str, server: Server, harm: Harm) {
    let (system, mixed) = mixed::start(Setup::on(stores)).await;
    let orders = orders_during(harm);
    let (mut load, check) = start(&system, orders);
    until_handled(&system, &mut load, 150.0).await;

    let fault = services.harm(server, harm).await;
    let since = Instant::now();
    let first = call_during(&system, server).await;
    match harm {
        Harm::Frozen => fault.last(FROZEN.saturating_sub(since.elapsed())).await,
        Harm::Killed => fault.undo().await,
    }
    let (down, healing) = (since.elapsed(), Instant::now());
    expect_healed(&system, DURING, first).await;
    let healed = healing.elapsed();

    let report = load.end().await.with_code(0).json();
    expect_all_answered(&report, orders, !go_on_without(&system, server));
    expect_nothing_lost(&system, &check).await;
    assert_eq!(system.event_types(DURING).await, ["OrderCreated"]);
    let mut figures = figures(&report, down, healed);
    figures["orders_checked"] = mixed.expect_whole(&system).await.orders.into();
    report::note(test, system.stores().name(), &figures);
}

/// Fills the disk of all servers, some of which end. Then there is room again, and those are started again.
async fn full_disk(test: &str, stores: fn(&Services) -> Stores) {
    let Some(services) = Services::take().await else { return };
    if !services.have_a_disk() {
        return;
    }
    let (system, mixed) = mixed::start(Setup::on(stores(&services))).await;
    let orders = orders_during(Harm::Frozen);
    let (mut load, check) = start(&system, orders);
    until_handled(&system, &mut load, 150.0).await;

    let fault = services.fill_disk().await;
    let since = Instant::now();
    let mut accepted = Vec::new();
    // Room that servers have reserved before may still hold some commands.
    let (id, answer) = until("a command to be refused", async || {
        let id = format!("during-{}", accepted.len());
        let answer = create(&system, &id).await;
        if answer.status == 201 {
            accepted.push(id);
            return None;
        }
        Some((id, answer))
    })
    .await;
    expect_unavailable(&answer);
    fault.last(FROZEN.saturating_sub(since.elapsed())).await;
    let (down, healing) = (since.elapsed(), Instant::now());
    expect_healed(&system, &id, answer).await;
    let healed = healing.elapsed();
    for id in &accepted {
        system.until_version(id, 1).await;
    }

    let report = load.end().await.with_code(0).json();
    expect_all_answered(&report, orders, true);
    expect_nothing_lost(&system, &check).await;
    let mut figures = figures(&report, down, healed);
    figures["accepted"] = accepted.len().into();
    figures["orders_checked"] = mixed.expect_whole(&system).await.orders.into();
    report::note(test, system.stores().name(), &figures);
}

fn expect_all_answered(report: &Value, orders: u64, may_be_unavailable: bool) {
    let commands = orders * 2;
    assert_eq!((&report["answered"], &report["not_acknowledged"]), (&commands.into(), &0.into()), "{report}");
    let retries = report["retries"].as_object().unwrap();
    assert!(retries.keys().all(|why| why == "503" && may_be_unavailable), "{report}");
}

/// Returns the number of orders in the load, each with two commands. On most machines some seconds of it come before the outage,
/// and some after it.
const fn orders_during(harm: Harm) -> u64 {
    match harm {
        Harm::Killed => 900,
        Harm::Frozen => 1200,
    }
}

/// Starts the load. A command is repeated for three times the timeout, which is longer than any outage lasts.
fn start(system: &System, orders: u64) -> (Running, PathBuf) {
    let orders = orders.to_string();
    start_load(system, &["--rate", "150", "--orders", &orders, "--retries", "10000", "--timeout", "60"])
}

/// Returns whether commands go on without this server; else they are answered 503.
fn go_on_without(system: &System, server: Server) -> bool {
    matches!(system.stores(), Stores::Servers(_)) && matches!(server, Server::Kafka | Server::Postgres)
}

/// Sends a command and a query while a server is down. Returns the answer to the command.
async fn call_during(system: &System, server: Server) -> Answer {
    let since = Instant::now();
    let answer = create(system, DURING).await;
    assert!(since.elapsed() < DEADLINE, "{:?}", since.elapsed());
    let query = system.get("/before").await;
    if go_on_without(system, server) {
        assert_eq!(answer.status, 201, "{}", answer.text());
    } else {
        expect_unavailable(&answer);
    }
    match server {
        // If the server is frozen, a query may wait long enough to be answered after all.
        Server::Postgres if query.status != 200 => expect_unavailable(&query),
        _ => assert_eq!(query.status, 200, "{}", query.text()),
    }
    answer
}

const DURING: &str = "during";

/// Creates an order, each time under the same key.
async fn create(system: &System, id: &str) -> Answer {
    system.post("/").key(id).json(&json!({"id": id, "name": "a lamp"})).await
}

#[track_caller]
fn expect_unavailable(answer: &Answer) {
    answer.problem(503, "unavailable");
    assert!(answer.header("retry-after").parse::<u64>().unwrap() > 0, "{answer:?}");
}

/// Checks that the command from the outage succeeds under the same key and is in the view, and that a new order is processed.
async fn expect_healed(system: &System, id: &str, first: Answer) {
    let answer = until("the command to succeed", async || {
        let answer = create(system, id).await;
        if answer.status == 503 { None } else { Some(answer) }
    })
    .await;
    // The status is 200 if the command took place although its first answer was 503.
    assert!(matches!(answer.status, 200 | 201), "{}", answer.text());
    if first.status == 201 {
        assert_eq!((answer.json(), answer.version()), (first.json(), first.version()));
    }
    system.until_status(id, "new").await;
    system.create_and_process("after").await;
}

fn figures(report: &Value, down: Duration, healed: Duration) -> Value {
    json!({
        "faults": 1,
        "commands": report["answered"],
        "lost": report["not_acknowledged"],
        "retries": report["retries"],
        "down_s": down.as_secs_f64(),
        "healed_s": healed.as_secs_f64(),
        "latency_ms": report["calls"]["create"]["latency_ms"],
    })
}

#[tokio::test]
async fn kafka_is_killed_and_commands_go_on() {
    outage("kafka killed", Server::Kafka, Harm::Killed).await;
}

#[tokio::test]
async fn kafka_is_frozen_and_commands_go_on() {
    outage("kafka frozen", Server::Kafka, Harm::Frozen).await;
}

#[tokio::test]
async fn postgresql_is_killed_and_commands_go_on() {
    outage("postgresql killed", Server::Postgres, Harm::Killed).await;
}

#[tokio::test]
async fn postgresql_is_frozen_and_commands_go_on() {
    outage("postgresql frozen", Server::Postgres, Harm::Frozen).await;
}

#[tokio::test]
async fn mongodb_is_killed_and_commands_are_told_to_come_again() {
    outage("mongodb killed", Server::MongoDb, Harm::Killed).await;
}

#[tokio::test]
async fn mongodb_is_frozen_and_commands_are_told_to_come_again() {
    outage("mongodb frozen", Server::MongoDb, Harm::Frozen).await;
}

#[tokio::test]
async fn the_storage_of_mongodb_is_killed_and_commands_are_told_to_come_again() {
    outage("mongodb's storage killed", Server::DocumentDb, Harm::Killed).await;
}

#[tokio::test]
async fn the_storage_of_mongodb_is_frozen_and_commands_are_told_to_come_again() {
    outage("mongodb's storage frozen", Server::DocumentDb, Harm::Frozen).await;
}

#[tokio::test]
async fn the_disk_of_all_servers_is_full_and_commands_are_told_to_come_again() {
    full_disk("disk full below all servers", Services::stores).await;
}

#[tokio::test]
async fn postgresql_alone_is_killed_and_commands_are_told_to_come_again() {
    outage_of_the_only_server("postgresql alone killed", Harm::Killed).await;
}

#[tokio::test]
async fn postgresql_alone_is_frozen_and_commands_are_told_to_come_again() {
    outage_of_the_only_server("postgresql alone frozen", Harm::Frozen).await;
}

#[tokio::test]
async fn the_disk_of_postgresql_alone_is_full_and_commands_are_told_to_come_again() {
    full_disk("disk full below postgresql alone", Services::postgres).await;
}

/// After a failover, the former primary takes no writes. Its sessions end, and new ones may only read.
#[tokio::test]
async fn postgresql_alone_takes_no_writes_and_commands_are_told_to_come_again() {
    let Some(services) = Services::take().await else { return };
    let stores = services.postgres();
    let Stores::Postgres(schema) = stores.clone() else { unreachable!("this is PostgreSQL") };
    let (system, mixed) = mixed::start(Setup::on(stores)).await;
    let orders = orders_during(Harm::Killed);
    let (mut load, check) = start(&system, orders);
    until_handled(&system, &mut load, 150.0).await;

    let read_only = schema.make_read_only();
    let since = Instant::now();
    let answer = until("a command to be refused", async || {
        Some(create(&system, DURING).await).filter(|answer| answer.status != 200 && answer.status != 201)
    })
    .await;
    expect_unavailable(&answer);
    let readiness = system.admin().get("/readyz").await.with_status(503).text();
    assert!(readiness.contains("takes no writes"), "{readiness}");
    drop(read_only);
    let (down, healing) = (since.elapsed(), Instant::now());
    expect_healed(&system, DURING, answer).await;
    let healed = healing.elapsed();

    let report = load.end().await.with_code(0).json();
    expect_all_answered(&report, orders, true);
    expect_nothing_lost(&system, &check).await;
    let mut figures = figures(&report, down, healed);
    figures["orders_checked"] = mixed.expect_whole(&system).await.orders.into();
    report::note("postgresql alone read-only", system.stores().name(), &figures);
}
