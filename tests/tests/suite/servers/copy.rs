//! `orders copy` between stores of every kind: nothing is missing and nothing is there twice, also where it is cut short.

use std::time::Duration;

use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use tests::fulfilment::{Reply, Service};
use tests::poll::until;
use tests::process::Invocation;
use tests::proxy::Proxy;
use tests::servers::Servers;
use tests::stores::Stores;
use tests::system::{Setup, System};

use crate::embedded::copy::{copy, file};

/// The delay of each piece between a copy and its target. It makes a copy of these systems take seconds.
const DELAY: Duration = Duration::from_millis(15);

/// The number of replies of a store that are cut, one after the other.
const CUTS: usize = 6;

/// Starts a system on files that has all that an event store can hold: orders in every state, commands without events, an order
/// that is set aside, and one for which nobody has an outcome, so that its commit is not marked. The server is stopped.
async fn system_with_everything() -> System {
    let service = Service::start(|asked| match asked.body["order"].as_str() {
        Some("bad") => Reply::NotNow(503),
        Some("slow") => Reply::Silence,
        Some("refused") => Reply::Refused(422, "no läwps\n".to_owned()),
        _ => Reply::Fulfilled,
    });
    let service = service.await;
    let mut system = Setup::on(Stores::Embedded).with(&["--fulfilment", service.url()]).start().await;
    system.load(&["--orders", "400", "--clients", "8"]).run().await.with_code(0);
    for id in ["bad", "refused", "slow"] {
        system.create(id).await;
    }
    system.post("/").key("no-op").json(&lamp()).await.with_status(200);
    system.process("refused").await;
    system.until_status("refused", "failed").await;
    system.delete("/refused").json(&json!({"reason": "läte"})).await.with_status(200);
    system.process("bad").await;
    let mut others = 0;
    until("the order to be set aside", async || {
        system.create_and_process(&format!("other-{others}")).await;
        others += 1;
        (system.metrics().await.sum("orders_reminders_set_aside", &[]) == 1.0).then_some(())
    })
    .await;
    system.process("slow").await;
    system.kill();
    system
}

fn lamp() -> Value {
    json!({"id": "bad", "name": "a lamp"})
}

fn number(report: &Value, name: &str) -> u64 {
    report[name].as_u64().unwrap_or_else(|| panic!("{name}: {report}"))
}

/// Builds a view from the event store, and compares the two.
async fn expect_a_whole_view(system: &System, event_store: &str, view: &str) {
    let view = file(system, view);
    let stores = ["--event-store", event_store, "--read-store", &view, "--json"];
    system.orders(&[&["rebuild"], &stores[..]].concat()).await.with_code(0);
    let report = system.orders(&[&["verify"], &stores[..]].concat()).await.with_code(0).json();
    assert_eq!(report["faults"], 0, "{report}");
}

#[tokio::test]
async fn a_copy_of_a_copy_is_the_same_to_the_byte_on_every_store_and_goes_to_work_where_the_first_one_stopped()
 {
    let Some(Stores::Servers(servers)) = Stores::servers() else { return };
    let mut system = system_with_everything().await;
    let stores =
        [file(&system, "events.db"), servers.read_store(), servers.event_store(), file(&system, "last.db")];
    let mut first: Option<Value> = None;
    for (at, pair) in stores.windows(2).enumerate() {
        let report = copy(&system, &pair[0], &pair[1]).await.with_code(0).json();
        for name in ["commits", "unpublished", "records", "reminders"] {
            assert!(number(&report, name) > 0, "{name}: {report}");
        }
        assert_eq!(report["copied"], report["commits"], "{report}");
        let again = copy(&system, &pair[0], &pair[1]).await.with_code(0).json();
        assert_eq!((&again["copied"], &again["digest"]), (&0.into(), &report["digest"]), "{again}");
        let first = first.get_or_insert_with(|| report.clone());
        for name in ["digest", "commits", "events", "unpublished", "records", "reminders"] {
            assert_eq!(report[name], first[name], "{name} at {at}");
        }
        expect_a_whole_view(&system, &pair[1], &format!("view-{at}.db")).await;
    }

    let view = file(&system, "view-2.db");
    system.start_again_with(&["--event-store", &stores[3], "--read-store", &view]).await;
    for id in ["bad", "slow"] {
        system.until_status(id, "processed").await;
        assert_eq!(system.event_types(id).await, ["OrderCreated", "ProcessingStarted", "OrderProcessed"]);
    }
    let again = system.post("/").key("no-op").json(&lamp()).await.with_status(200);
    assert_eq!(again.version(), 1, "as it was answered before the copy");
}

/// Returns a system with a few thousand commits, whose server is stopped.
async fn long_system() -> System {
    let mut system = Setup::on(Stores::Embedded).start().await;
    system.load(&["--orders", "1200", "--clients", "16"]).run().await.with_code(0);
    system.stop().await;
    system
}

fn invocation(system: &System, to: &str) -> Invocation {
    system.invocation(&["copy", "--from", &file(system, "events.db"), "--to", to, "--json"])
}

/// The number of commits that have come into PostgreSQL; none while there is no table.
async fn commits_in(servers: &Servers) -> i64 {
    let mut connection = PgConnection::connect(&servers.read_store()).await.expect("PostgreSQL is there");
    let count = sqlx::query_scalar("SELECT count(*) FROM orders_order_commits WHERE version IS NOT NULL");
    count.fetch_one(&mut connection).await.unwrap_or_default()
}

#[tokio::test]
async fn a_copy_that_is_killed_again_and_again_goes_on_where_it_was() {
    let Some(Stores::Servers(servers)) = Stores::servers() else { return };
    let system = long_system().await;
    let (proxy, near) = Proxy::before(&servers.read_store()).await;
    proxy.delay(DELAY);
    let mut there = 0;
    for _ in 0..3 {
        let mut copy = invocation(&system, &near).start();
        there = until("some more commits", async || {
            assert_eq!(copy.ended(), None, "it was over first: {}{}", copy.stdout(), copy.stderr());
            Some(commits_in(&servers).await).filter(|now| *now > there)
        })
        .await;
        copy.kill();
    }
    proxy.delay(Duration::ZERO);
    let report = invocation(&system, &near).run().await.with_code(0).json();
    assert_eq!(number(&report, "commits") - number(&report, "copied"), there.unsigned_abs(), "{report}");
    expect_a_whole_view(&system, &servers.read_store(), "view.db").await;
}

#[tokio::test]
async fn a_copy_waits_for_a_store_that_is_away() {
    let Some(Stores::Servers(servers)) = Stores::servers() else { return };
    let system = long_system().await;
    for store in [servers.read_store(), servers.event_store()] {
        let (proxy, near) = Proxy::before(&store).await;
        proxy.delay(DELAY);
        let mut copy = invocation(&system, &near).start();
        until("the store to be in use", async || {
            assert_eq!(copy.ended(), None, "{}", copy.stderr());
            (proxy.passed() > 40).then_some(())
        })
        .await;
        proxy.cut(CUTS);
        until("its replies to be cut", async || {
            assert_eq!(copy.ended(), None, "{}", copy.stderr());
            (proxy.was_cut() == CUTS).then_some(())
        })
        .await;
        proxy.delay(Duration::ZERO);
        let finished = copy.end().await.with_code(0);
        assert!(finished.stderr.contains("trying again"), "{}", finished.stderr);
        let direct = self::copy(&system, &file(&system, "events.db"), &store).await.with_code(0).json();
        assert_eq!((&direct["copied"], &direct["digest"]), (&0.into(), &finished.json()["digest"]));
        expect_a_whole_view(&system, &store, &format!("view-{}.db", near.len())).await;
    }
}
