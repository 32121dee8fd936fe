//! The contract of the orders' events: `docs/schemas/` keeps each schema as it was released, and `docs/asyncapi.json` describes the topic.
//! After a change that the check allows, `UPDATE_CONTRACTS=1 cargo test -p domain --test contracts` writes both anew.

// Helpers of tests may fail loudly too; clippy's own exception covers only functions marked as tests.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::path::{Path, PathBuf};

use domain::{APPLICATION, Event, Order, OrderName, Reason, wire};
use event_sourcing::schema::{self, EventSchema, Topic};
use event_sourcing::{EncodedEvent, StreamId, Version};
use jsonschema::Validator;
use proptest::prelude::*;
use serde_json::Value;

const UPDATE: &str = "UPDATE_CONTRACTS=1 cargo test -p domain --test contracts";

/// One of each type. They are the examples in the schemas, by which later programs are tested.
fn samples() -> [Event; 5] {
    let reason = |text| Reason::parse(text).unwrap();
    [
        Event::OrderCreated { name: OrderName::parse("a lamp").unwrap() },
        Event::ProcessingStarted,
        Event::OrderProcessed,
        Event::ProcessingFailed { reason: reason("out of stock") },
        Event::OrderCancelled { reason: reason("not wanted any more") },
    ]
}

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs")
}

/// The schemas in `docs/schemas/`, by type and version.
fn released() -> Vec<EventSchema> {
    let files = fs::read_dir(docs().join("schemas")).unwrap().map(Result::unwrap);
    let mut schemas: Vec<EventSchema> = files
        .map(|file| {
            let text = fs::read_to_string(file.path()).unwrap();
            let data = serde_json::from_str(&text).unwrap();
            EventSchema::from_file(&file.file_name().into_string().unwrap(), data).unwrap()
        })
        .collect();
    schemas.sort_by(|a, b| (&a.kind, a.version).cmp(&(&b.kind, b.version)));
    schemas
}

fn is_update() -> bool {
    std::env::var_os("UPDATE_CONTRACTS").is_some()
}

fn write(path: &Path, value: &Value) {
    fs::write(path, format!("{value:#}\n")).unwrap();
}

/// Both files in one test, because the second follows from the first.
#[test]
fn released_events_can_still_be_read_and_the_documents_are_fresh() {
    let changed = schema::check(&released(), &samples()).unwrap_or_else(|breaches| {
        let lines: Vec<String> = breaches.iter().map(|breach| format!("- {breach}")).collect();
        panic!("stored events or other programs could not survive this change:\n{}", lines.join("\n"));
    });
    for schema in &changed {
        assert!(is_update(), "docs/schemas/{} is not kept yet; {UPDATE} writes it", schema.file_name());
        write(&docs().join("schemas").join(schema.file_name()), &schema.data);
    }
    let topic = Topic {
        title: "Orders",
        version: env!("CARGO_PKG_VERSION"),
        address: &format!("{APPLICATION}.events"),
    };
    let described = schema::async_api::<Order>(topic, &released());
    let file = docs().join("asyncapi.json");
    if is_update() {
        return write(&file, &described);
    }
    let written: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    assert!(written == described, "docs/asyncapi.json is stale; {UPDATE} writes it anew");
}

/// The validators of what the description says about a message: its value, and its headers.
fn validators(kind: &str, schema: u32) -> (Validator, Validator) {
    let described: Value =
        serde_json::from_str(&fs::read_to_string(docs().join("asyncapi.json")).unwrap()).unwrap();
    let message = &described["components"]["messages"][format!("{kind}.{schema}")];
    let validator = |part: &str| jsonschema::draft202012::new(&message[part]).unwrap();
    (validator("payload"), validator("headers"))
}

#[test]
fn what_is_published_is_what_the_description_says() {
    let stream = StreamId::parse("someid").unwrap();
    let time = "2026-01-01T12:00:00.5Z".parse().unwrap();
    for event in samples() {
        let encoded = EncodedEvent::encode(&event);
        let value: Value =
            serde_json::from_slice(&wire::encode(&stream, Version::new(7), time, &encoded)).unwrap();
        let headers = wire::headers("/orders", &stream, Version::new(7), time, &encoded, Some("00-ab-cd-01"));
        let headers: Value = headers
            .into_iter()
            .map(|(name, value)| (name.to_owned(), Value::from(value.into_owned())))
            .collect();
        let (values, all_headers) = validators(&encoded.kind, encoded.schema);
        assert!(values.is_valid(&value), "{value}: {:?}", values.iter_errors(&value).collect::<Vec<_>>());
        assert!(
            all_headers.is_valid(&headers),
            "{headers}: {:?}",
            all_headers.iter_errors(&headers).collect::<Vec<_>>()
        );
    }
}

#[test]
fn another_type_another_schema_and_a_missing_field_are_not_what_the_description_says() {
    let (values, _) = validators("OrderCreated", 1);
    let right = r#"{"type":"OrderCreated","schema":1,"stream":"a","version":1,"time":"2026-01-01T12:00:00Z","data":{"name":"a lamp"}}"#;
    let is_valid = |text: &str| values.is_valid(&serde_json::from_str(text).unwrap());
    assert!(is_valid(right));
    for (part, other) in [
        ("OrderCreated", "OrderMade"),
        (r#""schema":1"#, r#""schema":2"#),
        (r#""stream":"a""#, r#""stream":"..""#),
        (r#""version":1"#, r#""version":0"#),
        (r#"{"name":"a lamp"}"#, "{}"),
        ("a lamp", "a\\u0007lamp"),
    ] {
        assert!(!is_valid(&right.replace(part, other)), "{other}");
    }
}

/// A text from characters at the limits of the rules.
fn near_the_limits() -> impl Strategy<Value = String> {
    let character = prop_oneof![
        4 => proptest::char::range('!', '~'),
        1 => prop_oneof![Just('\u{1f}'), Just(' '), Just('\u{7f}'), Just('\u{9f}'), Just('\u{a0}'), Just('\n'), Just('\u{1F600}')],
        3 => prop_oneof![Just('.'), Just('~'), Just('_'), Just('a')],
    ];
    let length = prop_oneof![0..4_usize, 126..130_usize, 254..258_usize];
    length
        .prop_flat_map(move |length| proptest::collection::vec(character.clone(), length))
        .prop_map(String::from_iter)
}

/// Returns whether the schema of a value in the description takes the text.
fn takes(schema: &Value, text: &str) -> bool {
    jsonschema::draft202012::new(schema).unwrap().is_valid(&text.into())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_patterns_of_values_take_just_what_is_parsed(text in near_the_limits()) {
        let mut generator = schema::schemars::SchemaGenerator::default();
        let name = generator.subschema_for::<OrderName>().to_value();
        let reason = generator.subschema_for::<Reason>().to_value();
        let stream = generator.subschema_for::<StreamId>().to_value();
        prop_assert_eq!(takes(&name, &text), OrderName::parse(&text).is_ok());
        prop_assert_eq!(takes(&reason, &text), Reason::parse(&text).is_ok());
        prop_assert_eq!(takes(&stream, &text), StreamId::parse(&text).is_ok());
    }
}
