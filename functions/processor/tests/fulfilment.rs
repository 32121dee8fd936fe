//! Batches of events against a real fulfilment service: the calls that it gets, the outcomes that are recorded, and the batches
//! that come again.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use bytes::Bytes;
use clap::Parser;
use command_handler::{AnswerPolicy, CommandHandler, CommandRequest, KeyOrigin, command_hash};
use domain::{
    APPLICATION, Command, CommandId, EncodedEvent, Event, Order, OrderId, OrderName, Version, wire,
};
use event_channel::EventChannel;
use event_source_mapping::event::{KafkaEvent, KafkaRecord, TimestampType};
use event_store::{EventStore, Load, Metadata, Namespace, ReminderCounts, Reminders};
use processor::{BatchError, FulfilmentSettings, Processor};
use tempfile::TempDir;
use tokio::sync::Semaphore;

/// A service that answers each order with the status that a test sets, and notes the keys of its calls.
#[derive(Clone, Default)]
struct Service {
    answers: Arc<Mutex<HashMap<String, StatusCode>>>,
    keys: Arc<Mutex<Vec<String>>>,
    /// The number of calls that may still be answered, by order. Orders that are not in this map are not held up.
    allowed: Arc<Mutex<HashMap<String, Arc<Semaphore>>>>,
}

impl Service {
    async fn start(&self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/fulfil", post(fulfil)).with_state(self.clone());
        tokio::spawn(async { axum::serve(listener, router).await.unwrap() });
        format!("http://{address}/fulfil")
    }

    fn answer(&self, order: &str, status: StatusCode) {
        self.answers.lock().unwrap().insert(order.to_owned(), status);
    }

    /// Lets the service answer so many more calls for the order. Further calls wait until more are allowed.
    fn allow(&self, order: &str, calls: usize) {
        let mut allowed = self.allowed.lock().unwrap();
        allowed.entry(order.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(0))).add_permits(calls);
    }

    fn calls(&self) -> Vec<String> {
        let mut keys = self.keys.lock().unwrap().clone();
        keys.sort();
        keys
    }
}

async fn fulfil(
    State(service): State<Service>,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, &'static str) {
    let key = headers["idempotency-key"].to_str().unwrap().to_owned();
    let (order, _) = key.split_once('@').unwrap();
    assert!(
        body.starts_with(format!(r#"{{"order":"{order}","name":"a lamp","version":"#).as_bytes()),
        "{body:?}"
    );
    service.keys.lock().unwrap().push(key.clone());
    let allowed = service.allowed.lock().unwrap().get(order).cloned();
    if let Some(allowed) = allowed {
        allowed.acquire().await.unwrap().forget();
    }
    let status = service.answers.lock().unwrap().get(order).copied().unwrap_or(StatusCode::OK);
    (status, r#"{"detail":"no stock"}"#)
}

struct System {
    folder: TempDir,
    handler: CommandHandler<Order>,
    processor: Processor,
}

#[derive(Parser)]
struct Settings {
    #[command(flatten)]
    fulfilment: FulfilmentSettings,
}

async fn system(url: &str) -> System {
    let folder = tempfile::tempdir().unwrap();
    let file = format!("sqlite:{}", folder.path().join("events.db").display());
    let store = EventStore::open(file, &Namespace::of::<Order>(APPLICATION).unwrap()).await.unwrap();
    let channel = EventChannel::open("memory:").unwrap();
    let handler = CommandHandler::new(store, channel, NonZeroUsize::new(10).unwrap(), AnswerPolicy::Answer);
    let settings = Settings::parse_from(["test", "--fulfilment", url]).fulfilment;
    let reminders = Reminders::new(handler.store().clone(), Duration::from_secs(900));
    let processor = Processor::new(handler.clone(), reminders, settings.open().unwrap(), 8);
    System { folder, handler, processor }
}

impl System {
    async fn command(&self, order: &str, command: Command, key: &str) {
        let stream = OrderId::parse(order).unwrap();
        let request = CommandRequest {
            hash: command_hash("TEST", &stream, key.as_bytes()),
            stream,
            command,
            command_id: CommandId::system(key).unwrap(),
            key: KeyOrigin::Sender,
            if_match: None,
            metadata: Metadata { correlation_id: "the-request".into(), ..Metadata::default() },
            published: Version::NONE,
        };
        self.handler.handle(request).await.unwrap();
    }

    async fn started(&self, order: &str) {
        self.command(order, Command::Create { name: OrderName::parse("a lamp").unwrap() }, "create").await;
        self.command(order, Command::Process, "process").await;
    }

    async fn kinds(&self, order: &str) -> Vec<String> {
        let load = Load::whole(OrderId::parse(order).unwrap());
        let commits = self.handler.store().load(load).await.unwrap().commits;
        let kinds = commits.iter().flat_map(|commit| &commit.events).map(|event| event.kind.to_string());
        kinds.collect()
    }

    async fn process(&self, event: KafkaEvent) -> Result<(), BatchError> {
        self.processor.process(event, Instant::now() + Duration::from_secs(30)).await.map(drop)
    }

    /// Processes a batch that must come again, and returns the number of orders that are not fulfilled.
    async fn not_fulfilled(&self, event: KafkaEvent) -> usize {
        match self.process(event).await {
            Err(BatchError::NotFulfilled { orders, .. }) => orders,
            other => panic!("{other:?}"),
        }
    }

    fn reminders(&self) -> Reminders {
        Reminders::new(self.handler.store().clone(), Duration::from_secs(900))
    }
}

fn record(partition: i32, offset: i64, value: Option<Vec<u8>>) -> KafkaRecord {
    KafkaRecord {
        topic: "orders.events".into(),
        partition,
        offset,
        timestamp: 0,
        timestamp_type: TimestampType::CreateTime,
        key: None,
        value: value.map(Into::into),
        headers: vec![],
        key_schema_metadata: None,
        value_schema_metadata: None,
    }
}

fn started_record(partition: i32, offset: i64, order: &str, version: u64) -> KafkaRecord {
    let (order, version) = (OrderId::parse(order).unwrap(), Version::new(version));
    let value = wire::encode(
        &order,
        version,
        jiff::Timestamp::UNIX_EPOCH,
        &EncodedEvent::encode(&Event::ProcessingStarted),
    );
    record(partition, offset, Some(value))
}

fn batch(records: Vec<KafkaRecord>) -> KafkaEvent {
    let mut by_partition: BTreeMap<String, Vec<KafkaRecord>> = BTreeMap::new();
    for record in records {
        by_partition.entry(format!("orders.events-{}", record.partition)).or_default().push(record);
    }
    KafkaEvent { records: by_partition, ..KafkaEvent::default() }
}

#[tokio::test]
async fn what_succeeds_is_completed_and_what_is_refused_fails_with_the_services_reason() {
    let service = Service::default();
    let system = system(&service.start().await).await;
    system.started("good").await;
    system.started("bad").await;
    service.answer("bad", StatusCode::CONFLICT);
    let event = batch(vec![started_record(0, 0, "good", 2), started_record(0, 1, "bad", 2)]);
    system.process(event).await.unwrap();
    assert_eq!(system.kinds("good").await, ["OrderCreated", "ProcessingStarted", "OrderProcessed"]);
    let load = Load::after(OrderId::parse("bad").unwrap(), Version::new(2));
    let outcome = system.handler.store().load(load).await.unwrap().commits.remove(0);
    let Event::ProcessingFailed { reason } = outcome.events[0].decode().unwrap() else {
        panic!("{outcome:?}")
    };
    assert_eq!(reason.as_str(), "409 Conflict: no stock");
    assert_eq!(outcome.metadata.causation_id.as_deref(), Some("bad@2"));
    assert_eq!(outcome.metadata.correlation_id, "the-request");
}

#[tokio::test]
async fn while_the_service_is_down_the_batch_comes_again_and_what_is_done_is_passed_over() {
    let service = Service::default();
    let system = system(&service.start().await).await;
    for order in ["a", "b", "c", "d"] {
        system.started(order).await;
    }
    let record = |offset, order| started_record(0, offset, order, 2);
    system.process(batch(vec![record(9, "a")])).await.unwrap();
    service.answer("b", StatusCode::SERVICE_UNAVAILABLE);
    service.answer("c", StatusCode::TOO_MANY_REQUESTS);
    let event = batch(vec![record(9, "a"), record(10, "b"), record(11, "c")]);
    assert_eq!(system.not_fulfilled(event.clone()).await, 2);

    // The whole batch comes again. Orders that are done are not called for again, and the keys are the same.
    service.answer("b", StatusCode::OK);
    service.answer("c", StatusCode::CREATED);
    until_processed(&system, event).await;
    system.process(batch(vec![record(12, "d")])).await.unwrap();
    let mut calls = service.calls();
    assert_eq!(calls.iter().filter(|call| *call == "a@2").count(), 1, "{calls:?}");
    calls.dedup();
    assert_eq!(calls, ["a@2", "b@2", "c@2", "d@2"]);
    for order in ["a", "b", "c", "d"] {
        assert_eq!(
            system.kinds(order).await,
            ["OrderCreated", "ProcessingStarted", "OrderProcessed"],
            "{order}"
        );
    }
}

#[tokio::test]
async fn a_wrong_url_or_token_fails_the_service_and_no_order() {
    let service = Service::default();
    let system = system(&service.start().await).await;
    let statuses = [300, 302, 307, 401, 403, 404, 405, 407];
    for (place, status) in statuses.into_iter().enumerate() {
        let order = format!("order-{place}");
        let event = batch(vec![started_record(0, place.try_into().unwrap(), &order, 2)]);
        system.started(&order).await;
        service.answer(&order, StatusCode::from_u16(status).unwrap());
        assert_eq!(system.not_fulfilled(event.clone()).await, 1, "{status}");
        assert_eq!(system.kinds(&order).await, ["OrderCreated", "ProcessingStarted"], "{status}");
        service.answer(&order, StatusCode::OK);
        until_processed(&system, event).await;
    }
}

#[tokio::test]
async fn an_order_with_which_the_service_fails_is_set_aside_while_others_succeed_and_stops_nobody() {
    let service = Service::default();
    let system = system(&service.start().await).await;
    let orders = ["a", "b", "bad", "c"];
    for order in orders {
        system.started(order).await;
    }
    service.answer("bad", StatusCode::SERVICE_UNAVAILABLE);
    // The first call for `bad` fails before another order succeeds, and the last one after that.
    service.allow("bad", 1);
    for order in ["a", "b", "c"] {
        service.allow(order, 0);
    }
    let records = (0..).zip(orders).map(|(offset, order)| started_record(0, offset, order, 2));
    let in_turn = async {
        until(async || service.calls().iter().filter(|call| *call == "bad@2").count() == 2).await;
        for order in ["a", "b", "c"] {
            service.allow(order, 1);
        }
        until(async || system.kinds("c").await.iter().any(|kind| kind == "OrderProcessed")).await;
        service.allow("bad", 100);
    };
    let (processed, ()) = tokio::join!(system.process(batch(records.collect())), in_turn);
    processed.unwrap();
    assert_eq!(service.calls(), ["a@2", "b@2", "bad@2", "bad@2", "bad@2", "bad@2", "bad@2", "c@2"]);
    assert_eq!(system.kinds("bad").await, ["OrderCreated", "ProcessingStarted"]);
    assert_eq!(system.kinds("c").await, ["OrderCreated", "ProcessingStarted", "OrderProcessed"]);

    system.handler.publisher().idle().await;
    let counts = ReminderCounts { waiting: 1, set_aside: 1, overdue: 0 };
    assert_eq!(system.reminders().count().await.unwrap(), counts);
    let listed = system.reminders().list(None, 10).await.unwrap();
    assert_eq!(listed[0].problem.as_deref(), Some("the service answered 503 Service Unavailable"));
    assert!(listed[0].due.duration_since(jiff::Timestamp::now()).as_secs() <= 5, "{listed:?}");

    // Its reminder comes, and the service is well again.
    service.answer("bad", StatusCode::OK);
    let reminder = KafkaRecord {
        headers: vec![(wire::REMINDER.into(), Some("1".into()))],
        ..started_record(0, 4, "bad", 2)
    };
    until_processed(&system, batch(vec![reminder])).await;
    assert_eq!(system.kinds("bad").await, ["OrderCreated", "ProcessingStarted", "OrderProcessed"]);
}

#[tokio::test]
async fn an_order_alone_with_which_the_service_fails_makes_room_for_those_behind_it() {
    let service = Service::default();
    let system = system(&service.start().await).await;
    system.started("bad").await;
    service.answer("bad", StatusCode::INTERNAL_SERVER_ERROR);
    let event = batch(vec![started_record(0, 0, "bad", 2)]);
    assert_eq!(system.not_fulfilled(event.clone()).await, 1);
    assert_eq!(service.calls().len(), 5, "the breaker holds back what follows");
    until_processed(&system, event).await;
    assert_eq!(service.calls().len(), 10);
    assert_eq!(system.kinds("bad").await, ["OrderCreated", "ProcessingStarted"]);
    assert_eq!(system.reminders().count().await.unwrap().set_aside, 1);
}

#[tokio::test]
async fn an_order_that_cant_be_read_is_set_aside_and_stops_nobody() {
    let service = Service::default();
    let system = system(&service.start().await).await;
    for order in ["newer", "good"] {
        system.started(order).await;
    }
    let file = rusqlite::Connection::open(system.folder.path().join("events.db")).unwrap();
    let newer = "UPDATE orders_order_commits SET events = replace(events, 'ProcessingStarted', 'ProcessingBegun') WHERE stream = 'newer'";
    assert!(file.execute(newer, []).unwrap() > 0);
    let event = batch(vec![started_record(0, 0, "newer", 2), started_record(0, 1, "good", 2)]);
    system.process(event).await.unwrap();
    assert_eq!(service.calls(), ["good@2"]);
    let mut listed = system.reminders().list(None, 10).await.unwrap();
    listed.retain(|reminder| reminder.problem.is_some());
    assert_eq!(listed.len(), 1);
    assert_eq!((listed[0].commit.stream.as_str(), listed[0].commit.version), ("newer", Version::new(2)));
    assert!(listed[0].problem.as_deref().unwrap().contains("ProcessingBegun"), "{listed:?}");
}

async fn until(condition: impl AsyncFn() -> bool) {
    let began = Instant::now();
    while !condition().await {
        assert!(began.elapsed() < Duration::from_secs(60), "it does not come true");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Processes the batch until it succeeds, as Lambda does, because the breaker may hold calls back.
async fn until_processed(system: &System, event: KafkaEvent) {
    let began = Instant::now();
    while system.process(event.clone()).await.is_err() {
        assert!(began.elapsed() < Duration::from_secs(60), "it is not processed");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn an_event_whose_outcome_is_recorded_calls_nobody() {
    let service = Service::default();
    let system = system(&service.start().await).await;
    system.started("a").await;
    for _ in 0..3 {
        let event = batch(vec![started_record(0, 0, "a", 2), started_record(0, 1, "a", 2)]);
        system.process(event).await.unwrap();
    }
    assert_eq!(service.calls().len(), 1);
    assert_eq!(system.kinds("a").await.len(), 3);
}

#[tokio::test]
async fn an_outcome_whose_id_was_used_for_something_else_is_final_and_holds_up_nobody() {
    let service = Service::default();
    let system = system(&service.start().await).await;
    system.started("a").await;
    system.started("b").await;
    // No client can use this id; another program could. The order is in processing, so starting it again leaves only a small
    // record.
    system.command("a", Command::Process, "fulfilment:a@2").await;
    let event = batch(vec![started_record(0, 0, "a", 2), started_record(0, 1, "b", 2)]);
    system.process(event).await.unwrap();
    assert_eq!(system.kinds("a").await, ["OrderCreated", "ProcessingStarted"]);
    assert_eq!(system.kinds("b").await, ["OrderCreated", "ProcessingStarted", "OrderProcessed"]);
}

#[tokio::test]
async fn what_no_stream_stands_behind_and_what_is_no_event_is_passed_over() {
    let service = Service::default();
    let system = system(&service.start().await).await;
    let event = batch(vec![
        started_record(0, 0, "nobody", 2),
        record(0, 1, Some(b"\xff\xfe".to_vec())),
        record(0, 2, None),
    ]);
    system.process(event).await.unwrap();
    assert_eq!(service.calls(), [""; 0]);
}

#[tokio::test]
async fn a_service_that_is_not_there_fails_nothing_for_good() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let system = system(&url).await;
    system.started("a").await;
    assert_eq!(system.not_fulfilled(batch(vec![started_record(0, 5, "a", 2)])).await, 1);
    assert_eq!(system.kinds("a").await, ["OrderCreated", "ProcessingStarted"]);
}

#[tokio::test]
async fn nobody_is_called_when_there_is_no_time_left() {
    let service = Service::default();
    let system = system(&service.start().await).await;
    system.started("a").await;
    let event = batch(vec![started_record(0, 5, "a", 2)]);
    let problem = system.processor.process(event, Instant::now()).await.unwrap_err();
    assert!(problem.to_string().contains("there is no time left"), "{problem}");
    assert_eq!(service.calls(), [""; 0]);
}

#[test]
fn a_fulfilment_that_is_none_is_refused_with_what_is_allowed() {
    for url in ["ftp://x", "mock", "http://", "mock:?latency=x", "mock:?failure_rate=2", "mock:?speed=9"] {
        let settings = Settings::parse_from(["test", "--fulfilment", url]).fulfilment;
        let problem = settings.open().err().unwrap_or_else(|| panic!("{url} was taken")).to_string();
        assert!(problem.contains("allowed: http://"), "{url}: {problem}");
    }
}
