//! Batches of events against a real fulfilment service: what is called, what is recorded, what comes again.

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
use command_handler::{AfterCommit, CommandHandler, CommandRequest, KeyOrigin, command_hash};
use domain::{Command, CommandId, Event, OrderId, OrderName, Version, wire};
use event_channel::EventChannel;
use event_source_mapping::event::{BatchItemFailure, KafkaEvent, KafkaRecord, TimestampType};
use event_store::{EventStore, Load, Metadata};
use processor::{FulfilmentSettings, Processor};
use tempfile::TempDir;

/// A service that answers each order as it is told, and notes the keys of its calls.
#[derive(Clone, Default)]
struct Service {
    answers: Arc<Mutex<HashMap<String, StatusCode>>>,
    keys: Arc<Mutex<Vec<String>>>,
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
    let status = service.answers.lock().unwrap().get(order).copied().unwrap_or(StatusCode::OK);
    service.keys.lock().unwrap().push(key);
    (status, r#"{"detail":"no stock"}"#)
}

struct System {
    _folder: TempDir,
    handler: CommandHandler,
    processor: Processor,
}

#[derive(Parser)]
struct Settings {
    #[command(flatten)]
    fulfilment: FulfilmentSettings,
}

async fn system(url: &str) -> System {
    let folder = tempfile::tempdir().unwrap();
    let store =
        EventStore::open(&format!("sqlite:{}", folder.path().join("events.db").display())).await.unwrap();
    let channel = EventChannel::open("memory:").unwrap();
    let handler = CommandHandler::new(store, channel, NonZeroUsize::new(10).unwrap(), AfterCommit::Answer);
    let settings = Settings::parse_from(["test", "--fulfilment", url]).fulfilment;
    let processor = Processor::new(handler.clone(), settings.open().unwrap(), 8);
    System { _folder: folder, handler, processor }
}

impl System {
    async fn command(&self, order: &str, command: Command, key: &str) {
        let stream = OrderId::parse(order).unwrap();
        let request = CommandRequest {
            hash: command_hash("TEST", &stream, key.as_bytes()),
            stream,
            command,
            command_id: CommandId::parse(key).unwrap(),
            key: KeyOrigin::Sender,
            if_match: None,
            metadata: Metadata { correlation_id: "the-request".into(), ..Metadata::default() },
        };
        self.handler.handle(request).await.unwrap();
    }

    async fn started(&self, order: &str) {
        self.command(order, Command::Create { name: OrderName::parse("a lamp").unwrap() }, "create").await;
        self.command(order, Command::Process, "process").await;
    }

    async fn kinds(&self, order: &str) -> Vec<&'static str> {
        let load = Load { stream: OrderId::parse(order).unwrap(), after: Version::NONE, command: None };
        let commits = self.handler.store().load(load).await.unwrap().commits;
        commits.iter().flat_map(|commit| commit.events.iter().map(Event::kind)).collect()
    }

    async fn process(&self, event: KafkaEvent) -> Vec<(String, i64)> {
        let deadline = Instant::now() + Duration::from_secs(30);
        let response = self.processor.process(event, deadline).await.unwrap();
        let failures = response.batch_item_failures.into_iter();
        failures.map(|BatchItemFailure { partition, offset }| (partition, offset)).collect()
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
    }
}

fn started_record(partition: i32, offset: i64, order: &str, version: u64) -> KafkaRecord {
    let (order, version) = (OrderId::parse(order).unwrap(), Version::new(version));
    let value = wire::encode(&order, version, jiff::Timestamp::UNIX_EPOCH, &Event::ProcessingStarted);
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
    let failures =
        system.process(batch(vec![started_record(0, 0, "good", 2), started_record(0, 1, "bad", 2)])).await;
    assert_eq!(failures, []);
    assert_eq!(system.kinds("good").await, ["OrderCreated", "ProcessingStarted", "OrderProcessed"]);
    let load = Load { stream: OrderId::parse("bad").unwrap(), after: Version::new(2), command: None };
    let outcome = system.handler.store().load(load).await.unwrap().commits.remove(0);
    let Event::ProcessingFailed { reason } = &outcome.events[0] else { panic!("{outcome:?}") };
    assert_eq!(reason.as_str(), "409 Conflict: no stock");
    assert_eq!(outcome.metadata.causation_id.as_deref(), Some("bad@2"));
    assert_eq!(outcome.metadata.correlation_id, "the-request");
}

#[tokio::test]
async fn of_each_partition_what_nobody_knows_comes_again_from_its_first_record_on() {
    let service = Service::default();
    let system = system(&service.start().await).await;
    for order in ["a", "b", "c", "d"] {
        system.started(order).await;
    }
    service.answer("b", StatusCode::SERVICE_UNAVAILABLE);
    service.answer("c", StatusCode::TOO_MANY_REQUESTS);
    let event = batch(vec![
        started_record(0, 10, "a", 2),
        started_record(0, 11, "b", 2),
        started_record(0, 12, "c", 2),
        started_record(1, 7, "d", 2),
    ]);
    assert_eq!(system.process(event.clone()).await, [("orders.events-0".to_owned(), 11)]);

    // It comes again, whole; what was done is not called for again, and the keys are the same.
    service.answer("b", StatusCode::OK);
    service.answer("c", StatusCode::CREATED);
    assert_eq!(system.process(event).await, []);
    assert_eq!(service.calls(), ["a@2", "b@2", "b@2", "c@2", "c@2", "d@2"]);
    for order in ["a", "b", "c", "d"] {
        assert_eq!(
            system.kinds(order).await,
            ["OrderCreated", "ProcessingStarted", "OrderProcessed"],
            "{order}"
        );
    }
}

#[tokio::test]
async fn an_event_whose_outcome_is_recorded_calls_nobody() {
    let service = Service::default();
    let system = system(&service.start().await).await;
    system.started("a").await;
    for _ in 0..3 {
        assert_eq!(
            system.process(batch(vec![started_record(0, 0, "a", 2), started_record(0, 1, "a", 2)])).await,
            []
        );
    }
    assert_eq!(service.calls().len(), 1);
    assert_eq!(system.kinds("a").await.len(), 3);
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
    assert_eq!(system.process(event).await, []);
    assert_eq!(service.calls(), [""; 0]);
}

#[tokio::test]
async fn a_service_that_is_not_there_fails_nothing_for_good() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let system = system(&url).await;
    system.started("a").await;
    assert_eq!(
        system.process(batch(vec![started_record(0, 5, "a", 2)])).await,
        [("orders.events-0".to_owned(), 5)]
    );
    assert_eq!(system.kinds("a").await, ["OrderCreated", "ProcessingStarted"]);
}

#[tokio::test]
async fn nobody_is_called_when_there_is_no_time_left() {
    let service = Service::default();
    let system = system(&service.start().await).await;
    system.started("a").await;
    let response =
        system.processor.process(batch(vec![started_record(0, 5, "a", 2)]), Instant::now()).await.unwrap();
    assert_eq!(response.batch_item_failures.len(), 1);
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
