//! Records whose keys and values have schemas in a real registry. `TEST_REGISTRY` is the URL of the registry's Confluent API.
//! `deploy/examples/check` does the same with serializers and consumers of other makers.

use std::io::{Write as _, stderr};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Once};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use event_channel::{Delivery, EventChannel, Record};
use reqwest::Client;
use serde_json::{Value, json};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::broker::{Topic, with_topic};
use crate::function::Note;
use crate::support::{Place, Trigger, brokers, until};

const ORDER: &str = r#"{"type":"record","name":"Order","namespace":"shop","fields":[
    {"name":"id","type":"long"},{"name":"note","type":["null","string"]},{"name":"kind","type":"string"}]}"#;
const IGNORED: &str = "SchemaRegistryURI: 'https://registry.example.com', ";
const VALUE: &str = "SchemaValidationConfigs: [{Attribute: VALUE}]";
/// An address at which nothing listens.
const NOWHERE: &str = "http://127.0.0.1:9";

/// A registry that exists, and the subjects of one test.
struct Registry {
    url: String,
    client: Client,
    subject: String,
}

/// Runs a test if both servers exist. Otherwise a line says once that the tests are not run.
async fn with_registry<T: Future<Output = ()>>(test: impl FnOnce(Place, Registry) -> T) {
    static SAID: Once = Once::new();
    let Some(url) = std::env::var("TEST_REGISTRY").ok().filter(|url| !url.is_empty()) else {
        let said = "NOT RUN: the tests on a real schema registry; set TEST_REGISTRY=http://host:port/apis/ccompat/v7\n";
        SAID.call_once(|| stderr().write_all(said.as_bytes()).unwrap());
        return;
    };
    with_topic(|topic: Topic| async move {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder().no_proxy().build().unwrap();
        let registry = Registry { url, client, subject: topic.name().to_owned() };
        test(Place::new(topic, 1).await, registry).await;
    })
    .await;
}

impl Registry {
    /// Registers a schema, and returns its id.
    async fn register(&self, subject: &str, schema: Value) -> u32 {
        let url = format!("{}/subjects/{}-{subject}/versions", self.url, self.subject);
        let answer = self.client.post(url).body(schema.to_string());
        let answer = answer.header("Content-Type", "application/json").send().await.unwrap();
        let answer: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
        answer["id"].as_u64().unwrap_or_else(|| panic!("{answer}")) as u32
    }

    /// A reference by which another schema names this one.
    fn reference(&self, name: &str, subject: &str) -> Value {
        json!({"name": name, "subject": format!("{}-{subject}", self.subject), "version": 1})
    }

    fn flags(&self) -> [&str; 2] {
        ["--registry", &self.url]
    }
}

/// Writes a payload as a serializer of a Confluent registry does.
fn framed(id: u32, payload: &[u8]) -> Vec<u8> {
    [&[0][..], &id.to_be_bytes(), payload].concat()
}

/// Encodes an order in Avro. Its texts must be short and its numbers small.
fn order(id: u8, note: Option<&str>, kind: &str) -> Vec<u8> {
    let text = |text: &str| [&[text.len() as u8 * 2][..], text.as_bytes()].concat();
    let note = note.map_or(vec![0], |note| [vec![2], text(note)].concat());
    [vec![id * 2], note, text(kind)].concat()
}

fn record(key: Option<Vec<u8>>, value: Option<Vec<u8>>) -> Record {
    Record { key: key.map(Into::into), value: value.map(Into::into), headers: Vec::new() }
}

async fn publish(place: &Place, values: Vec<Vec<u8>>) {
    let records = values.into_iter().map(|value| record(Some(b"k".to_vec()), Some(value))).collect();
    place.channel().publish(records).await.unwrap();
}

fn noted(note: &Note) -> Value {
    serde_json::from_str(&note.value).unwrap()
}

/// Returns the records that the function got, once there are so many.
async fn given(place: &Place, records: usize) -> Vec<Value> {
    place.until(|notes| notes.len() >= records).await.iter().map(noted).collect()
}

#[tokio::test]
async fn avro_becomes_json_and_filters_see_it() {
    with_registry(|place, registry| async move {
        let id = registry.register("value", json!({"schema": ORDER})).await;
        let values = [order(1, None, "big"), order(2, Some("x"), "small"), order(3, Some("ü"), "big")];
        publish(&place, values.iter().map(|value| framed(id, value)).collect()).await;
        let config = format!("{IGNORED}EventRecordFormat: JSON, {VALUE}");
        let filter = "FilterCriteria: {Filters: [{Pattern: '{\"value\":{\"kind\":[\"big\"]}}'}]}";
        let trigger = place.start_with_schemas(&config, filter, &registry.flags(), &[]);
        let schema = format!("AVRO {id}");
        let expected = [r#"{"id":1,"note":null,"kind":"big"}"#, r#"{"id":3,"note":"ü","kind":"big"}"#]
            .map(|value| json!({"key": ["k", null], "value": [value, schema]}));
        assert_eq!(given(&place, 2).await, expected);
        trigger.stop().await;
    })
    .await;
}

#[tokio::test]
async fn as_source_the_function_gets_avro_without_its_header_and_filters_see_json_all_the_same() {
    with_registry(|place, registry| async move {
        let id = registry.register("value", json!({"schema": ORDER})).await;
        let values = [order(1, None, "small"), order(2, None, "big")];
        publish(&place, values.iter().map(|value| framed(id, value)).collect()).await;
        let config = format!("{IGNORED}EventRecordFormat: SOURCE, {VALUE}");
        let filter =
            "FilterCriteria: {Filters: [{Pattern: '{\"value\":{\"id\":[{\"numeric\":[\">\",1]}]}}'}]}";
        let trigger = place.start_with_schemas(&config, filter, &registry.flags(), &[]);
        let expected =
            json!({"key": ["k", null], "value": [STANDARD.encode(&values[1]), format!("AVRO {id}")]});
        assert_eq!(given(&place, 1).await, [expected]);
        trigger.stop().await;
    })
    .await;
}

#[tokio::test]
async fn protobuf_is_compiled_with_all_that_it_imports() {
    with_registry(|place, registry| async move {
        let money = r#"syntax = "proto3"; package shop; message Money { int64 units = 1; }"#;
        registry.register("money", json!({"schemaType": "PROTOBUF", "schema": money})).await;
        let line = r#"syntax = "proto3"; package shop; import "money.proto"; message Line { Money price = 1; }"#;
        let references = [registry.reference("money.proto", "money")];
        registry
            .register("line", json!({"schemaType": "PROTOBUF", "schema": line, "references": references}))
            .await;
        let order = r#"syntax = "proto3"; package shop; import "line.proto"; import "google/protobuf/timestamp.proto";
            message Cancelled { string order_id = 1; }
            message Order { repeated Line lines = 1; google.protobuf.Timestamp at = 2; message Part { bool spare = 1; } }"#;
        let references = [registry.reference("line.proto", "line")];
        let schema = json!({"schemaType": "PROTOBUF", "schema": order, "references": references});
        let id = registry.register("value", schema).await;
        // In this order: the first type of the file, Order, Order.Part.
        let cancelled = [0, 10, 1, b'a'];
        let ordered = [2, 2, 10, 4, 10, 2, 8, 7, 18, 2, 8, 60];
        let part = [4, 2, 0, 8, 1];
        publish(&place, vec![framed(id, &cancelled), framed(id, &ordered), framed(id, &part)]).await;
        let config = format!("{IGNORED}EventRecordFormat: JSON, {VALUE}");
        let trigger = place.start_with_schemas(&config, "", &registry.flags(), &[]);
        let expected = [
            r#"{"orderId":"a"}"#,
            r#"{"lines":[{"price":{"units":"7"}}],"at":"1970-01-01T00:01:00Z"}"#,
            r#"{"spare":true}"#,
        ];
        let values: Vec<Value> = given(&place, 3).await.iter().map(|given| given["value"].clone()).collect();
        assert_eq!(values, expected.map(|value| json!([value, format!("PROTOBUF {id}")])));
        trigger.stop().await;
    })
    .await;
}

#[tokio::test]
async fn avros_references_are_followed_however_far() {
    with_registry(|place, registry| async move {
        let id_type = r#"{"type":"record","name":"Id","namespace":"shop","fields":[{"name":"n","type":"int"}]}"#;
        registry.register("id", json!({"schema": id_type})).await;
        let customer = r#"{"type":"record","name":"Customer","namespace":"shop","fields":[{"name":"id","type":"shop.Id"}]}"#;
        let references = [registry.reference("shop.Id", "id")];
        registry.register("customer", json!({"schema": customer, "references": references})).await;
        let order = r#"{"type":"record","name":"Order","namespace":"shop","fields":[{"name":"by","type":"shop.Customer"}]}"#;
        let references = [registry.reference("shop.Customer", "customer")];
        let id = registry.register("value", json!({"schema": order, "references": references})).await;
        publish(&place, vec![framed(id, &[14])]).await;
        let config = format!("{IGNORED}EventRecordFormat: JSON, {VALUE}");
        let trigger = place.start_with_schemas(&config, "", &registry.flags(), &[]);
        let given = given(&place, 1).await;
        assert_eq!(given[0]["value"], json!([r#"{"by":{"id":{"n":7}}}"#, format!("AVRO {id}")]));
        trigger.stop().await;
    })
    .await;
}

#[tokio::test]
async fn keys_are_decoded_where_they_are_to_be_and_what_is_not_there_has_no_schema() {
    with_registry(|place, registry| async move {
        let key = registry.register("key", json!({"schema": r#"{"type":"string"}"#})).await;
        let schema = r#"{"type":"object","properties":{"id":{"type":"integer"}}}"#;
        let id = registry.register("value", json!({"schemaType": "JSON", "schema": schema})).await;
        let value = framed(id, br#"{"id": 1}"#);
        let records = vec![
            record(Some(framed(key, b"\x06abc")), Some(value.clone())),
            record(None, Some(value)),
            record(Some(framed(key, b"\x06abc")), None),
        ];
        place.channel().publish(records).await.unwrap();
        let config = format!(
            "{IGNORED}EventRecordFormat: JSON, SchemaValidationConfigs: [{{Attribute: KEY}}, {{Attribute: VALUE}}]"
        );
        let trigger = place.start_with_schemas(&config, "", &registry.flags(), &[]);
        let (key, value) = (json!([r#""abc""#, format!("AVRO {key}")]), json!([r#"{"id": 1}"#, format!("JSON {id}")]));
        let nothing = json!([null, null]);
        let expected = [
            json!({"key": key, "value": value}),
            json!({"key": nothing, "value": value}),
            json!({"key": key, "value": nothing}),
        ];
        assert_eq!(given(&place, 3).await, expected);
        trigger.stop().await;
    })
    .await;
}

/// Returns all records in a topic, once there are so many.
async fn all_of(topic: &EventChannel, name: &str, records: usize) -> Vec<Delivery> {
    let mut consumer = topic.subscribe(&format!("{name}.check"), |_| true).unwrap();
    let mut found = Vec::new();
    while found.len() < records {
        found.extend(until(async || Some(consumer.poll(10).await.unwrap().deliveries)).await);
    }
    found
}

/// Waits for the line about a record that was discarded without an invocation.
async fn until_given_up(trigger: &Trigger, reason: &str, error: &str) {
    let is_it = |line: &Value| {
        line["reason"] == reason && line["error"].as_str().is_some_and(|said| said.starts_with(error))
    };
    let line = trigger.until_line(is_it).await;
    assert_eq!((&line["records"], &line["attempts"]), (&1.into(), &0.into()));
}

#[tokio::test]
async fn what_is_not_of_its_schema_is_given_up_and_what_stands_behind_it_goes_on() {
    with_registry(|place, registry| async move {
        let dead = format!("{}.dead", place.topic.name());
        let letters = EventChannel::open(format!("kafka://{}/{dead}?partitions=1", brokers())).unwrap();
        // The topic only has to exist.
        letters.publish(vec![]).await.unwrap();
        let schema = r#"{"type":"object","properties":{"id":{"type":"integer"}}}"#;
        let id = registry.register("value", json!({"schemaType": "JSON", "schema": schema})).await;
        let unknown = u32::MAX >> 1;
        let poison = framed(id, br#"{"id":"s"}"#);
        publish(
            &place,
            vec![
                framed(id, br#"{"id":0}"#),
                poison.clone(),
                framed(unknown, b"{}"),
                b"{\"id\":3}".to_vec(),
                framed(id, br#"{"id":4}"#),
            ],
        )
        .await;
        let config = format!("{IGNORED}EventRecordFormat: JSON, {VALUE}");
        let destination = format!("DestinationConfig: {{OnFailure: {{Destination: 'kafka://{dead}'}}}}");
        let trigger = place.start_with_schemas(&config, &destination, &registry.flags(), &[]);
        let notes = place.until(|notes| notes.len() >= 2).await;
        assert_eq!(notes.iter().map(|note| note.offset).collect::<Vec<_>>(), [0, 4]);

        let found = all_of(&letters, &dead, 3).await;
        let documents: Vec<Value> = found
            .iter()
            .map(|letter| serde_json::from_slice(letter.record.value.as_ref().unwrap()).unwrap())
            .collect();
        let condition =
            |document: &Value| document["requestContext"]["condition"].as_str().unwrap().to_owned();
        let conditions: Vec<String> = documents.iter().map(condition).collect();
        assert_eq!(conditions, ["DESERIALIZATION_ERROR", "SCHEMA_NOT_FOUND", "DESERIALIZATION_ERROR"]);
        // The record is as it is in Kafka, so that it can be sent again.
        let records = documents[0]["payload"]["records"].as_object().unwrap().values().next().unwrap();
        assert_eq!(records[0]["value"], STANDARD.encode(&poison));
        assert_eq!(found[0].record.key.as_deref(), Some(b"k".as_slice()));
        let begins = "the value can't be decoded: it begins with 7b 22 69 64 22; a serializer of";
        let by_schema = format!("the value can't be decoded: by schema {id}: /id: \"s\" is not of type");
        until_given_up(&trigger, "deserialization_error", &by_schema).await;
        let missing = format!("the value: the registry has no schema {unknown}: ");
        until_given_up(&trigger, "schema_not_found", &missing).await;
        until_given_up(&trigger, "deserialization_error", begins).await;
        trigger.stop().await;
        // The offsets of the discarded records were committed.
        publish(&place, vec![framed(id, br#"{"id":5}"#)]).await;
        let trigger = place.start_with_schemas(&config, &destination, &registry.flags(), &[]);
        let notes = place.until(|notes| notes.len() >= 3).await;
        assert_eq!((notes.len(), notes[2].offset), (3, 5));
        trigger.stop().await;
        place.topic.admin().delete_topics(&[&dead], &rdkafka::admin::AdminOptions::new()).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn without_a_destination_what_can_not_be_decoded_is_dropped_and_said() {
    with_registry(|place, registry| async move {
        let id = registry.register("value", json!({"schema": ORDER})).await;
        publish(&place, vec![framed(id, &[2]), framed(id, &order(1, None, "a"))]).await;
        let config = format!("{IGNORED}EventRecordFormat: SOURCE, {VALUE}");
        let trigger = place.start_with_schemas(&config, "", &registry.flags(), &[]);
        let notes = place.until(|notes| notes.len() == 1).await;
        assert_eq!(notes[0].offset, 1);
        let line = trigger.until_line(|line| line["result"] == "given_up").await;
        assert_eq!((&line["destination"], &line["reason"]), (&Value::Null, &"deserialization_error".into()));
        assert_eq!(
            line["error"],
            format!("the value can't be decoded: by schema {id}: note: it ends too early")
        );
        trigger.stop().await;
    })
    .await;
}

/// A connection to a registry that a test can cut. Then new connections are closed at once, and counted.
struct Way {
    address: SocketAddr,
    is_open: watch::Sender<bool>,
    refused: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl Way {
    async fn cut_off(registry: &Registry) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (is_open, mut opened) = watch::channel(false);
        let refused = Arc::new(AtomicUsize::new(0));
        let host = registry.url.trim_start_matches("http://").split('/').next().unwrap().to_owned();
        let count = Arc::clone(&refused);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let near = tokio::select! {
                    accepted = listener.accept() => accepted.unwrap().0,
                    changed = opened.changed() => {
                        changed.unwrap();
                        connections = JoinSet::new();
                        continue;
                    }
                };
                if !*opened.borrow() {
                    count.fetch_add(1, Ordering::Relaxed);
                    continue;
                }
                let host = host.clone();
                connections.spawn(async move {
                    let (mut near, mut far) = (near, TcpStream::connect(host).await.unwrap());
                    let _ = copy_bidirectional(&mut near, &mut far).await;
                });
            }
        });
        Self { address, is_open, refused, _tasks: tasks }
    }

    fn refused(&self) -> usize {
        self.refused.load(Ordering::Relaxed)
    }
}

#[tokio::test]
async fn records_wait_for_a_registry_that_does_not_answer_and_what_it_said_once_is_kept() {
    with_registry(|place, registry| async move {
        let id = registry.register("value", json!({"schema": ORDER})).await;
        let way = Way::cut_off(&registry).await;
        let shown = format!("kafka-trigger: the schema registry http://…@{}/…", way.address);
        let url = format!("http://ann:s3cret@{}/apis/ccompat/v7", way.address);
        publish(&place, vec![framed(id, &order(1, None, "a")), framed(id, &order(2, None, "a"))]).await;
        let config = format!("{IGNORED}EventRecordFormat: JSON, {VALUE}");
        let trigger = place.start_with_schemas(&config, "", &["--registry", &url], &[]);
        until(async || (way.refused() >= 4).then_some(())).await;
        assert!(place.function.notes().is_empty());
        way.is_open.send(true).unwrap();
        assert_eq!(given(&place, 2).await.len(), 2);
        until(async || trigger.errors().contains(&format!("{shown} is available now")).then_some(())).await;
        assert_eq!(trigger.errors().matches(&format!("{shown} is not available: ")).count(), 1);
        way.is_open.send(false).unwrap();
        publish(&place, vec![framed(id, &order(3, None, "a"))]).await;
        assert_eq!(given(&place, 3).await[2]["value"][0], r#"{"id":3,"note":null,"kind":"a"}"#);
        assert!(!trigger.errors().contains("s3cret"), "{}", trigger.errors());
        trigger.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_registry_out_of_reach_is_said_within_a_second_and_keeps_nobody_from_ending() {
    with_registry(|place, _registry| async move {
        publish(&place, vec![framed(1, &[0])]).await;
        let config = format!("{IGNORED}EventRecordFormat: JSON, {VALUE}");
        // The listener's backlog accepts connections, but no answer ever comes.
        let deaf = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let hangs = format!("http://{}", deaf.local_addr().unwrap());
        for (url, problem) in [(NOWHERE, "Connection refused"), (&*hangs, "no answer yet")] {
            let trigger = place.start_with_schemas(&config, "", &["--registry", url], &[]);
            let line = format!("the schema registry {url} is not available: {problem}");
            until(async || trigger.errors().contains(&line).then_some(())).await;
            let began = Instant::now();
            trigger.stop().await;
            assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        }
    })
    .await;
}

#[tokio::test]
async fn a_url_that_is_no_registrys_is_said_and_gives_nothing_up() {
    with_registry(|place, registry| async move {
        let id = registry.register("value", json!({"schema": ORDER})).await;
        publish(&place, vec![framed(id, &order(1, None, "a"))]).await;
        let config = format!("{IGNORED}EventRecordFormat: JSON, {VALUE}");
        let url = registry.url.replace("/apis/ccompat/v7", "/apis/nothing");
        let trigger = place.start_with_schemas(&config, "", &["--registry", &url], &[]);
        let hint = "404 Not Found";
        until(async || trigger.errors().contains(hint).then_some(())).await;
        assert!(
            trigger.errors().contains("the URL must be that under which /schemas/ids/ is"),
            "{}",
            trigger.errors()
        );
        assert!(trigger.lines().is_empty() && place.function.notes().is_empty());
        trigger.stop().await;
    })
    .await;
}
