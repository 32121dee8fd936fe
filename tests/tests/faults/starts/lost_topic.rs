//! The topic is deleted and made anew while orders are created and processed, with records in it that nobody has received.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Headers;
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};
use serde_json::{Value, json};
use tests::checker::ledger::Ledger;
use tests::clients::Clients;
use tests::fulfilment::{Reply, Service};
use tests::http::Http;
use tests::metrics::Metrics;
use tests::poll::{until, until_within};
use tests::process::Running;
use tests::report;
use tests::servers::{PARTITIONS, Servers};
use tests::stores::Stores;
use tests::system::{Setup, System, addresses, lasting_address};

use super::{ENDS, at_its_end};

const TEST: &str = "a_topic_that_is_deleted_and_made_anew_under_a_load_keeps_no_start_from_its_end";
const CLIENTS: u64 = 4;

/// The number of reminders that are due when several relays look at once.
const MANY: usize = 10;
/// The number of these relays.
const RELAYS: usize = 4;

const FLAGS: [&str; 2] = ["--reminder-after", "5"];

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_deleted_and_made_anew_under_a_load_keeps_no_start_from_its_end() {
    let Some(stores) = Stores::servers() else { return };
    let is_down = Arc::new(AtomicBool::new(true));
    let service = {
        let is_down = Arc::clone(&is_down);
        let answer =
            move || if is_down.load(Ordering::Relaxed) { Reply::NotNow(503) } else { Reply::Fulfilled };
        Service::start(move |_| answer()).await
    };
    let setup = Setup::on(stores).listening_at(lasting_address());
    let setup = setup.with(&["--fulfilment", service.url()]).with(&FLAGS);
    let mut system = setup.start().await;
    let ledger = Arc::new(Ledger::default());
    let load = Clients::of(vec![system.api().clone()], Arc::clone(&ledger)).start(CLIENTS, report::seed());
    until("commands", async || (ledger.counts().0 > 200).then_some(())).await;
    // A reminder is set when its start is marked as published, which is later than the answer to its command.
    until("many reminders", async || (reminders(&system).await.len() >= MANY).then_some(())).await;

    // No order is fulfilled yet, so the starts are on the topic. Everything in memory goes with the process.
    system.kill();
    make_anew(&system).await;
    let since = Instant::now();
    until("many reminders to be due", async || (due(&system).await >= MANY).then_some(())).await;
    relay_side_by_side(&system).await;
    system.start_again().await;
    let (_other, other_admin) = start_another(&system, &service).await;
    let commands = ledger.counts().0;
    until("more commands", async || (ledger.counts().0 > commands + 200).then_some(())).await;
    is_down.store(false, Ordering::Relaxed);
    load.stop().await;

    let (orders, mut starts) = (ledger.orders(), 0);
    for order in &orders {
        let events = at_its_end(system.api(), order).await;
        starts += events.iter().filter(|event| event["type"] == "ProcessingStarted").count();
    }
    let healed = since.elapsed();
    // There is one effect for each key, so each start was fulfilled once.
    assert_eq!(service.effects().len(), starts);
    let reminders = expect_each_reminder_once(&system).await;
    assert!(reminders > 0, "nothing was lost, so nothing is shown");
    for admin in [system.admin(), &other_admin] {
        until_within(ENDS, "no order to wait", async || (waiting(admin).await == 0.0).then_some(())).await;
    }
    let figures = json!({
        "faults": 1, "orders": orders.len(), "starts": starts, "ended": starts, "reminders": reminders,
        "healed_s": healed.as_secs_f64(),
    });
    report::note(TEST, "servers", &figures);
}

/// Starts a second server on the same stores.
async fn start_another(system: &System, service: &Service) -> (Running, Http) {
    let words = ["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
    let words = [&words[..], &["--fulfilment", service.url()], &FLAGS].concat();
    let mut server = system.invocation(&words).start();
    let (_, admin) = until("another server's greeting", async || {
        assert_eq!(server.ended(), None, "it has ended: {}", server.stderr());
        addresses(&server.stdout())
    })
    .await;
    (server, Http::at(admin))
}

async fn reminders(system: &System) -> Vec<Value> {
    let words = [&["reminders", "--json"], &FLAGS[..]].concat();
    system.orders(&words).await.with_code(0).json_lines()
}

async fn due(system: &System) -> usize {
    reminders(system).await.iter().filter(|reminder| reminder["state"] == "due").count()
}

/// Runs several relays that look at the same moment; only one of them sends a reminder. They may leave marks to each other.
async fn relay_side_by_side(system: &System) {
    let words = [&["relay", "--within", "30"], &FLAGS[..]].concat();
    join_all((0..RELAYS).map(|_| system.orders(&words))).await;
}

async fn waiting(admin: &Http) -> f64 {
    let metrics = Metrics::parse(&admin.get("/metrics").await.with_status(200).text());
    metrics.sum("orders_reminders_waiting", &[])
}

fn servers(system: &System) -> &Servers {
    let Stores::Servers(servers) = system.stores() else { panic!("these are servers") };
    servers
}

/// Deletes the topic and makes it again, as soon as the brokers let it.
async fn make_anew(system: &System) {
    let servers = servers(system);
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", servers.brokers());
    let admin: AdminClient<DefaultClientContext> = config.create().expect("an admin client");
    let name = servers.database();
    let deleted = admin.delete_topics(&[name], &AdminOptions::new()).await.expect("the brokers answer");
    assert!(deleted.iter().all(Result::is_ok), "{deleted:?}");
    let topic = NewTopic::new(name, i32::try_from(PARTITIONS).expect("few"), TopicReplication::Fixed(1));
    until("the topic to be made anew", async || {
        let made = admin.create_topics([&topic], &AdminOptions::new()).await.expect("the brokers answer");
        made.iter().all(Result::is_ok).then_some(())
    })
    .await;
}

/// Returns the number of reminders on the topic. Of an order and a number there may be only one.
async fn expect_each_reminder_once(system: &System) -> usize {
    let (brokers, name) = (servers(system).brokers().to_owned(), servers(system).database().to_owned());
    let read = tokio::task::spawn_blocking(move || reminders_on_topic(&brokers, &name));
    let reminders = read.await.expect("the topic is read");
    let different: BTreeSet<_> = reminders.iter().collect();
    assert_eq!(different.len(), reminders.len(), "a reminder was sent twice: {reminders:?}");
    reminders.len()
}

fn reminders_on_topic(brokers: &str, name: &str) -> Vec<(String, String)> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("group.id", "checker").set("enable.auto.commit", "false");
    let consumer: BaseConsumer = config.create().expect("a consumer");
    let (mut from, mut left) = (TopicPartitionList::new(), 0);
    for partition in 0..i32::try_from(PARTITIONS).expect("few") {
        let (low, high) =
            consumer.fetch_watermarks(name, partition, Duration::from_secs(20)).expect("its ends");
        left += high - low;
        from.add_partition_offset(name, partition, Offset::Beginning).expect("an offset");
    }
    consumer.assign(&from).expect("partitions");
    let mut reminders = vec![];
    while left > 0 {
        let Some(message) = consumer.poll(Duration::from_secs(20)) else { panic!("{left} records are left") };
        let message = message.expect("a record");
        left -= 1;
        let text = |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned();
        let headers = message.headers().into_iter().flat_map(Headers::iter);
        let numbers = headers.filter(|header| header.key == "reminder").map(|header| text(header.value));
        // The event is included, because an order may be asked to be processed several times.
        let event =
            message.headers().into_iter().flat_map(Headers::iter).find(|header| header.key == "ce_id");
        let event = text(event.and_then(|header| header.value));
        reminders.extend(numbers.map(|number| (event.clone(), number)));
    }
    reminders
}
