//! `orders import-seed`, as a process, on a real server: a seed of its own each test, into each of the event stores.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod place;
mod seed;
mod startup;

use std::collections::BTreeMap;
use std::process::{Command, Output, Stdio};

use domain::{APPLICATION, CommandId, Event, Order, OrderId, Version};
use event_store::{EventStore, Load, Metadata, Namespace};
use mongodb::bson::{Document, doc};
use serde_json::{Value, json};

use place::{Place, Running, until};
use seed::{Seed, create, number, process};

fn orders(words: &[&str]) -> Command {
    let mut orders = Command::new(env!("CARGO_BIN_EXE_orders"));
    orders.args(words).env_clear().stdin(Stdio::null());
    orders
}

fn import(seed: &Seed, place: &Place, more: &[&str]) -> Command {
    orders(&[&["import-seed", seed.url(), "--json"], &*place.flags(), more].concat())
}

/// Runs a command to its end. Returns the exit code and the output, which is one JSON value a line.
fn finished(mut command: Command) -> (i32, Vec<Value>) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = String::from_utf8(stdout).unwrap();
    let line = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    let code = status.code().unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(&stderr)));
    assert!(!text.is_empty(), "{code}: {}", String::from_utf8_lossy(&stderr));
    (code, text.lines().map(line).collect())
}

/// The counts of a summary: imported, already there, refused.
fn counts(summary: &Value) -> [u64; 3] {
    ["imported", "already_there", "refused"].map(|name| summary[name].as_u64().unwrap())
}

/// The content of an event store, as far as an import decides it. It has the version, the command, the events and the metadata of
/// each commit, by stream.
type Content = BTreeMap<OrderId, Vec<(Version, CommandId, Vec<Event>, Metadata)>>;

fn namespace() -> Namespace {
    Namespace::of::<Order>(APPLICATION).unwrap()
}

async fn content(url: &str) -> Content {
    let store = EventStore::open(url, &namespace()).await.unwrap();
    let (mut content, mut position) = (Content::new(), None);
    loop {
        let page = store.scan::<Event>(position, 1_000).await.unwrap();
        let firsts = page.commits.into_iter().filter(|commit| commit.version == Version::new(1));
        let load = |stream: OrderId| Load::whole(stream);
        let loads: Vec<Load> = firsts.map(|commit| load(commit.stream)).collect();
        for stream in store.load_many(loads).await.unwrap().into_iter().map(Result::unwrap) {
            let id = stream.commits[0].stream.clone();
            let commits = stream.commits.into_iter();
            let seen = commits.map(|commit| {
                let events = commit.recorded().unwrap().into_iter().map(|recorded| recorded.event);
                (commit.version, commit.command_id, events.collect(), commit.metadata)
            });
            content.insert(id, seen.collect());
        }
        match page.next {
            Some(next) => position = Some(next),
            None => return content,
        }
    }
}

/// Documents of all sorts, each with the problem that it has.
fn all_sorts() -> Vec<(Document, Option<&'static str>)> {
    let command = |id: u32, name: &str, data: &str| doc! { "_id": number(id), "name": name, "data": data };
    vec![
        (create(1, "a", "first"), None),
        (command(2, "process_order", r#"{"id":"a","name":"first","status":"new"}"#), None),
        (create(3, "b", "second"), None),
        (command(4, "process_order", r#""b""#), None),
        // These two ask for something that has already happened.
        (command(5, "process_order", "b"), None),
        (create(6, "a", "first"), None),
        (create(7, "a", "other"), Some("an order with this id and another name exists")),
        (process(8, "unknown"), Some("there is no such order")),
        (command(9, "create_order", "{\"id\":"), Some("data is not JSON")),
        (create(10, "c/d", "name"), Some("id has the character '/'")),
        (create(11, "c", "a\u{7}b"), Some("name has the control character")),
        (
            command(12, "ship_order", "a"),
            Some("name is \"ship_order\"; allowed: create_order, process_order"),
        ),
        (
            doc! { "_id": number(13), "name": "create_order", "data": { "id": "c" } },
            Some("data is a document"),
        ),
        (doc! { "_id": number(14) }, Some("name is missing")),
        (doc! { "_id": "text", "name": "create_order", "data": r#"{"id":"e","name":"by hand"}"# }, None),
    ]
}

async fn every_command_is_taken_once_or_refused_with_its_reason(seed: &Seed, place: &Place) {
    let all = all_sorts();
    // The documents are inserted in reverse, because only the order of the ids counts.
    seed.insert(all.iter().rev().map(|(document, _)| document)).await;

    let (code, dry) = finished(import(seed, place, &["--dry-run"]));
    assert_eq!((code, counts(dry.last().unwrap())), (1, [5, 2, 8]), "{dry:?}");
    assert_eq!(content(&place.url()).await, Content::new());

    let (code, told) = finished(import(seed, place, &[]));
    let (summary, refusals) = told.split_last().unwrap();
    assert_eq!((code, counts(summary), &summary["dry_run"]), (1, [5, 2, 8], &json!(false)), "{told:?}");
    assert_eq!(summary["unpublished"], 5);
    let reasons: BTreeMap<&str, &str> = refusals
        .iter()
        .map(|line| (line["_id"].as_str().unwrap(), line["reason"].as_str().unwrap()))
        .collect();
    let expected = all
        .iter()
        .filter_map(|(document, problem)| Some((document.get_object_id("_id").ok()?.to_hex(), (*problem)?)));
    let expected: BTreeMap<String, &str> = expected.collect();
    assert_eq!(reasons.keys().copied().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    for (id, problem) in &expected {
        assert!(reasons[&**id].contains(problem), "{id}: {}", reasons[&**id]);
    }
    // The dry run printed the same refusals, in any order.
    let dry_reasons: BTreeMap<&str, &str> = dry[..8]
        .iter()
        .map(|line| (line["_id"].as_str().unwrap(), line["reason"].as_str().unwrap()))
        .collect();
    assert_eq!(dry_reasons, reasons);

    let there = content(&place.url()).await;
    assert_eq!(there.keys().map(OrderId::as_str).collect::<Vec<_>>(), ["a", "b", "e"]);
    for order in ["a", "b"] {
        let commits = &there[order];
        assert!(matches!(commits[0].2[..], [Event::OrderCreated { .. }]), "{commits:?}");
        assert_eq!(commits[1].2, [Event::ProcessingStarted]);
        assert_eq!(commits.len(), 2);
    }
    let (_, command_id, _, metadata) = &there["a"][1];
    assert_eq!(command_id.id(), format!("import-seed:{}", number(2)));
    assert_eq!(metadata.actor.as_deref(), Some("import-seed"));
    assert_eq!(metadata.correlation_id, command_id.id());

    let (code, again) = finished(import(seed, place, &[]));
    assert_eq!((code, counts(again.last().unwrap())), (1, [0, 7, 8]), "{again:?}");
    assert_eq!(content(&place.url()).await, there);

    // The document now asks for something else under an id that was imported.
    seed.replace(create(1, "a", "changed")).await;
    let (_, changed) = finished(import(seed, place, &[]));
    assert_eq!(counts(changed.last().unwrap()), [0, 6, 9]);
    let reason = "a command that asked something else was imported from this _id";
    assert!(changed.contains(&json!({"_id": number(1).to_hex(), "reason": reason})), "{changed:?}");
    assert_eq!(content(&place.url()).await, there);
}

const MANY: u32 = 4_000;

async fn an_import_that_is_killed_half_way_is_finished_by_the_next(seed: &Seed, place: &Place) {
    let created = (0..MANY).map(|order| create(order, &format!("order-{order}"), "name"));
    let processed = (0..MANY).map(|order| process(MANY + order, &format!("order-{order}")));
    seed.insert(&created.chain(processed).collect::<Vec<_>>()).await;

    let mut killed = Running::start(import(seed, place, &[]));
    let store = EventStore::open(place.url(), &namespace()).await.unwrap();
    until("the import to be under way", async || store.count().await.is_ok_and(|commits| commits > 0)).await;
    killed.kill();
    let half: usize = content(&place.url()).await.values().map(Vec::len).sum();
    assert!(half < 2 * MANY as usize, "it was not killed half-way");

    let (code, told) = finished(import(seed, place, &[]));
    let [imported, already_there, refused] = counts(&told[0]);
    assert_eq!((code, imported + already_there, refused), (0, u64::from(2 * MANY), 0));
    assert!(already_there >= half as u64, "{already_there} of {half} were found");

    // An import that nobody interrupts has the same result.
    let elsewhere = Place::sqlite();
    assert_eq!(finished(import(seed, &elsewhere, &[])).0, 0);
    assert!(content(&place.url()).await == content(&elsewhere.url()).await);
}

macro_rules! into_every_store {
    ($($scenario:ident),* $(,)?) => {
        mod into_sqlite {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $scenario() {
                let Some(seed) = super::Seed::fresh().await else { return };
                super::$scenario(&seed, &super::Place::sqlite()).await;
            })*
        }
        mod into_mongodb {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $scenario() {
                let Some(seed) = super::Seed::fresh().await else { return };
                super::$scenario(&seed, &super::Place::mongodb(seed.events_url())).await;
            })*
        }
    };
}

into_every_store! {
    every_command_is_taken_once_or_refused_with_its_reason,
    an_import_that_is_killed_half_way_is_finished_by_the_next,
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_imported_is_published_by_the_relay_and_fulfilled() {
    let Some(seed) = Seed::fresh().await else { return };
    let place = Place::sqlite();
    seed.insert(&[create(1, "a", "name"), process(2, "a"), create(3, "b", "name")]).await;
    let (code, told) = finished(import(&seed, &place, &[]));
    assert_eq!((code, &told[0]["unpublished"]), (0, &json!(3)), "{told:?}");

    let tool = |words: &[&str]| finished(orders(&[words, &["--json", "--data", place.folder()]].concat()));
    let (code, told) = tool(&["relay"]);
    assert_eq!((code, &told[0]["left"]), (0, &json!(0)), "{told:?}");
    let (code, told) = tool(&["verify"]);
    assert_eq!((code, &told[0]["orders"], &told[0]["faults"]), (0, &json!(2), &json!(0)), "{told:?}");
    let events = &content(&place.url()).await["a"];
    assert_eq!(events.last().unwrap().2, [Event::OrderProcessed]);

    // By now the order is processed, and another import leaves it so.
    assert_eq!(counts(&finished(import(&seed, &place, &[])).1[0]), [0, 3, 0]);
    assert_eq!(&content(&place.url()).await["a"], events);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_has_failed_is_not_started_anew_by_a_second_process_order() {
    let Some(seed) = Seed::fresh().await else { return };
    let place = Place::sqlite();
    seed.insert(&[create(1, "a", "name"), process(2, "a")]).await;
    assert_eq!(finished(import(&seed, &place, &[])).0, 0);
    let relay = ["relay", "--json", "--data", place.folder(), "--fulfilment", "mock:?failure_rate=1"];
    assert_eq!(finished(orders(&relay)).0, 0);
    let failed = content(&place.url()).await;
    assert!(matches!(failed["a"].last().unwrap().2[..], [Event::ProcessingFailed { .. }]), "{failed:?}");

    seed.insert(&[process(3, "a")]).await;
    for words in [&["--dry-run"][..], &[]] {
        let (code, told) = finished(import(&seed, &place, words));
        assert_eq!((code, counts(&told[0])), (0, [0, 3, 0]), "{told:?}");
    }
    assert_eq!(content(&place.url()).await, failed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_system_that_runs_meanwhile_takes_in_what_is_imported() {
    let Some(seed) = Seed::fresh().await else { return };
    let place = Place::sqlite();
    let free = ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
    let _serving = Running::start(orders(&[&["serve", "--data", place.folder()], &free[..]].concat()));
    seed.insert(&[create(1, "a", "name"), process(2, "a")]).await;
    assert_eq!(finished(import(&seed, &place, &[])).0, 0);
    until("the order to be processed", async || {
        let there = content(&place.url()).await;
        there["a"].iter().any(|(_, _, events, _)| events.contains(&Event::OrderProcessed))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_kafka_an_import_publishes_on_the_way() {
    let (Some(seed), Some(topic)) = (Seed::fresh().await, place::Topic::fresh()) else { return };
    let place = Place::mongodb(seed.events_url());
    let documents = (0..100).flat_map(|order| {
        let id = format!("order-{order}");
        [create(2 * order, &id, "name"), process(2 * order + 1, &id)]
    });
    seed.insert(&documents.collect::<Vec<_>>()).await;
    let (code, told) = finished(import(&seed, &place, &["--channel", &topic.url()]));
    topic.delete().await;
    assert_eq!((code, counts(&told[0])), (0, [200, 0, 0]));
    assert_eq!(told[0]["unpublished"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn people_are_told_in_lines() {
    let Some(seed) = Seed::fresh().await else { return };
    let place = Place::sqlite();
    seed.insert(&[create(1, "a", "name"), process(2, "b")]).await;
    let output = orders(&[&["import-seed", seed.url()], &*place.flags()].concat()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], format!("refused {}: there is no such order", number(2)));
    assert!(lines[1].starts_with("imported 1, already there 0, refused 1, in "), "{text}");
    assert_eq!(lines[2], "1 commits wait to be published: by `orders serve`, or now by `orders relay`");
}
