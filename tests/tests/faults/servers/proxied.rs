//! Each server behind a proxy that is slow, or cuts connections half-way through a reply.

use std::time::Duration;

use serde_json::{Value, json};
use tests::load::{expect_nothing_lost, start_load};
use tests::poll::until;
use tests::proxy::Proxy;
use tests::report;
use tests::stores::Stores;
use tests::system::{Setup, System};

use super::mixed::{self, Mixed};

/// The store that is behind the proxy.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Store {
    Event,
    Channel,
    Read,
    /// The only one: the event store and the read store.
    Postgres,
}

impl Store {
    const fn flag(self) -> &'static str {
        match self {
            Self::Event => "--event-store",
            Self::Channel => "--channel",
            Self::Read => "--read-store",
            Self::Postgres => "--postgres",
        }
    }
}

/// Starts a system that reaches one of its stores through a proxy, with clients. Its tools reach the store directly.
async fn behind_proxy(store: Store) -> Option<(Proxy, System, Mixed)> {
    let stores = if store == Store::Postgres { Stores::postgres()? } else { Stores::servers()? };
    let url = match (store, &stores) {
        (Store::Event, Stores::Servers(servers)) => servers.event_store(),
        (Store::Channel, Stores::Servers(servers)) => servers.channel(),
        (Store::Read, Stores::Servers(servers)) => servers.read_store(),
        (_, Stores::Postgres(schema)) => schema.url(),
        (_, stores) => unreachable!("{} have no such URL", stores.name()),
    };
    let (proxy, url) = Proxy::before(&url).await;
    let (system, mixed) = mixed::start(Setup::on(stores).with(&[store.flag(), &url])).await;
    Some((proxy, system, mixed))
}

/// How many replies are cut, one after the other.
const CUTS: usize = 25;

async fn cut(store: Store) {
    let Some((proxy, system, mixed)) = behind_proxy(store).await else { return };
    let load = ["--rate", "150", "--orders", "1500", "--retries", "1000"];
    let (mut load, check) = start_load(&system, &load);
    for cuts in 1..=CUTS {
        proxy.cut(1);
        until("a reply to be cut", async || {
            assert_eq!(load.ended(), None, "the load was over first: {}", load.stdout());
            (proxy.was_cut() >= cuts).then_some(())
        })
        .await;
        // The next cut must hit a reply to the next command, and not the rest of this one.
        tokio::time::sleep(BETWEEN).await;
    }
    let report = load.end().await.with_code(0).json();
    expect_survived(store, &report);
    expect_nothing_lost(&system, &check).await;
    let orders = mixed.expect_whole(&system).await.orders;
    let figures = json!({"faults": proxy.was_cut(), "orders_checked": orders});
    note("connections cut", &system, store, figures, &report);
}

/// The pause between two cuts, which is part of the fault. A cut that comes before the system has recovered from the last one would
/// be the same fault.
const BETWEEN: Duration = Duration::from_millis(200);

/// How long each piece of a request or a reply takes.
const DELAY: Duration = Duration::from_millis(50);

async fn slow(store: Store) {
    let Some((proxy, system, mixed)) = behind_proxy(store).await else { return };
    proxy.delay(DELAY);
    let (load, check) = start_load(&system, &["--rate", "60", "--orders", "300", "--retries", "1000"]);
    let report = load.end().await.with_code(0).json();
    // Slow is not down.
    assert_eq!(report["retries"], json!({}), "{report}");
    expect_survived(store, &report);
    proxy.delay(Duration::ZERO);
    expect_nothing_lost(&system, &check).await;
    let orders = mixed.expect_whole(&system).await.orders;
    let figures = json!({"delay_ms": DELAY.as_millis(), "orders_checked": orders});
    note("slow server", &system, store, figures, &report);
}

fn expect_survived(store: Store, report: &Value) {
    assert_eq!((&report["not_acknowledged"], &report["errors"]), (&0.into(), &json!({})), "{report}");
    let retries = report["retries"].as_object().unwrap();
    assert!(
        retries.keys().all(|why| why == "503" && matches!(store, Store::Event | Store::Postgres)),
        "{report}"
    );
}

fn note(test: &str, system: &System, store: Store, mut figures: Value, report: &Value) {
    figures["commands"] = report["answered"].clone();
    figures["lost"] = report["not_acknowledged"].clone();
    figures["retries"] = report["retries"].clone();
    figures["latency_ms"] = report["calls"]["create"]["latency_ms"].clone();
    report::note(&format!("{test}: {}", store.flag()), system.stores().name(), &figures);
}

#[tokio::test]
async fn connections_to_mongodb_are_cut() {
    cut(Store::Event).await;
}

#[tokio::test]
async fn connections_to_kafka_are_cut() {
    cut(Store::Channel).await;
}

#[tokio::test]
async fn connections_to_postgresql_are_cut() {
    cut(Store::Read).await;
}

#[tokio::test]
async fn mongodb_is_slow() {
    slow(Store::Event).await;
}

#[tokio::test]
async fn kafka_is_slow() {
    slow(Store::Channel).await;
}

#[tokio::test]
async fn postgresql_is_slow() {
    slow(Store::Read).await;
}

#[tokio::test]
async fn connections_to_postgresql_alone_are_cut() {
    cut(Store::Postgres).await;
}

#[tokio::test]
async fn postgresql_alone_is_slow() {
    slow(Store::Postgres).await;
}
