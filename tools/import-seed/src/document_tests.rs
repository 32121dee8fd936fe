//! Tests the translation of a document into a command.

use std::collections::HashSet;

use domain::{Command, CommandId, OrderName};
use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Bson, Document, RawDocumentBuf, doc};
use proptest::prelude::*;

use crate::document::{Refusal, SeedCommand, translate};

const HEX: &str = "5f0c0a1b2c3d4e5f60718293";

fn document(name: impl Into<Bson>, data: impl Into<Bson>) -> Document {
    let (name, data) = (name.into(), data.into());
    doc! { "_id": ObjectId::parse_str(HEX).unwrap(), "name": name, "data": data }
}

fn translated(document: &Document) -> Result<SeedCommand, Refusal> {
    translate(&RawDocumentBuf::try_from(document).unwrap())
}

#[track_caller]
fn taken(name: &str, data: &str) -> (String, Command) {
    let taken = translated(&document(name, data)).unwrap();
    assert_eq!((taken.id.as_str(), taken.command_id.as_str()), (HEX, &*format!("system import-seed:{HEX}")));
    (taken.order.to_string(), taken.command)
}

#[track_caller]
fn refused(document: &Document) -> String {
    translated(document).unwrap_err().reason
}

fn create(name: &str) -> Command {
    Command::Create { name: OrderName::parse(name).unwrap() }
}

#[test]
fn an_order_is_created_under_its_id_and_name() {
    for data in [
        r#"{"id":"someid","name":"some name","status":"new"}"#,
        r#"{"id":"someid","name":"some name","status":""}"#,
        r#"{"id":"someid","name":"some name","status":null}"#,
        r#" {"name":"some name","id":"someid","more":1} "#,
    ] {
        assert_eq!(taken("create_order", data), ("someid".to_owned(), create("some name")), "{data}");
    }
}

#[test]
fn an_order_is_processed_by_its_json_or_its_id() {
    for data in [r#"{"id":"123","name":"some name","status":"new"}"#, r#"{"id":"123"}"#, r#""123""#, "123"] {
        assert_eq!(taken("process_order", data), ("123".to_owned(), Command::Process), "{data}");
    }
    assert_eq!(taken("process_order", "some-id").0, "some-id");
}

#[test]
fn what_can_not_be_taken_is_refused_with_what_is_allowed() {
    let order = r#"{"id":"a","name":"b"}"#;
    let long = "x".repeat(300);
    for (name, data, reason) in [
        (
            "create_order",
            "{",
            "data is not JSON: EOF while parsing an object at line 1 column 1; allowed: an order",
        ),
        ("create_order", "[]", "data is an array as JSON; allowed: an order, {\"id\", \"name\", \"status\"}"),
        ("create_order", "\"a\"", "data is a text as JSON"),
        ("create_order", r#"{"name":"b"}"#, "id is missing; allowed: a text"),
        ("create_order", r#"{"id":1,"name":"b"}"#, "id is a number; allowed: a text"),
        ("create_order", r#"{"id":"","name":"b"}"#, "id is empty; allowed: 1 to 128"),
        ("create_order", r#"{"id":"a/b","name":"b"}"#, "id has the character '/'; allowed: 1 to 128"),
        ("create_order", r#"{"id":"a"}"#, "name is missing"),
        (
            "create_order",
            r#"{"id":"a","name":"b\n"}"#,
            "name has the control character '\\n'; allowed: 1 to 255",
        ),
        ("create_order", r#"{"id":"a","name":"b","status":"gone"}"#, "status is \"gone\"; allowed: \"new\""),
        ("create_order", r#"{"id":"a","name":"b","status":7}"#, "status is a number; allowed: \"new\""),
        ("process_order", "{\"id\":", "data is not JSON"),
        ("process_order", "", "data is not JSON"),
        ("process_order", "[1]", "data is an array as JSON; allowed: an order"),
        ("process_order", "{}", "id is missing"),
        ("process_order", "\"a b\"", "id has the character ' '"),
        ("cancel_order", order, "name is \"cancel_order\"; allowed: create_order, process_order"),
        (&long, order, "xxx\"…; allowed"),
    ] {
        let said = refused(&document(name, data));
        assert!(said.contains(reason), "{name} {data}: {said}");
    }
}

#[test]
fn values_of_other_types_are_refused_by_their_type() {
    for (document, reason) in [
        (document(7, "{}"), "name is a number; allowed: create_order, process_order"),
        (document("create_order", doc! { "id": "a" }), "data is a document; allowed: a text that holds JSON"),
        (document("create_order", vec![1_i32]), "data is an array; allowed"),
        (document("process_order", Bson::Null), "data is null; allowed"),
        (doc! { "_id": 1, "data": "{}" }, "name is missing; allowed: create_order, process_order"),
        (doc! { "_id": 1, "name": "create_order" }, "data is missing; allowed: a text that holds JSON"),
        (doc! { "_id": {}, "name": "create_order" }, "_id is a document; allowed: an ObjectId"),
        (doc! { "name": "create_order" }, "_id is missing; allowed: an ObjectId"),
    ] {
        let said = refused(&document);
        assert!(said.contains(reason), "{document}: {said}");
    }
}

#[test]
fn every_id_has_a_command_id_of_its_own_which_stays_the_same() {
    let long = "long ".repeat(100);
    let ids = [Bson::from("1"), 1.into(), 2_i64.into(), "ä\n".into(), HEX.into(), long.into()];
    let of = |id: &Bson| translated(&doc! { "_id": id, "name": "process_order", "data": "a" }).unwrap();
    let first: HashSet<CommandId> = ids.iter().map(|id| of(id).command_id).collect();
    assert_eq!(first.len(), ids.len());
    assert_eq!(ids.iter().map(|id| of(id).command_id).collect::<HashSet<_>>(), first);
    assert!(!first.contains(&translated(&document("process_order", "a")).unwrap().command_id));
    // MongoDB takes these two ids for the same.
    assert_eq!(of(&1.into()).command_id, of(&1_i64.into()).command_id);
}

#[test]
fn commands_that_ask_something_else_have_other_hashes() {
    let hash = |name: &str, data: &str| translated(&document(name, data)).unwrap().hash.0;
    let hashes: HashSet<_> = [
        hash("create_order", r#"{"id":"a","name":"b"}"#),
        hash("create_order", r#"{"id":"a","name":"c"}"#),
        hash("create_order", r#"{"id":"b","name":"b"}"#),
        hash("process_order", "a"),
        hash("process_order", "b"),
    ]
    .into();
    assert_eq!(hashes.len(), 5);
    assert_eq!(hash("process_order", r#"{"id":"a"}"#), hash("process_order", "a"));
}

/// Checks that a refusal fits in a line, however long and strange its document is.
#[track_caller]
fn check(answer: Result<SeedCommand, Refusal>) {
    if let Err(Refusal { id, reason }) = answer {
        assert!(!id.is_empty() && !reason.is_empty());
        assert!(reason.len() < 1_000 && !reason.contains(char::is_control), "{reason}");
    }
}

fn any_value() -> impl Strategy<Value = Bson> {
    let leaf = prop_oneof![
        any::<String>().prop_map(Bson::from),
        "(create|process)_order".prop_map(Bson::from),
        r#"\{"id":"[a-z/]{0,3}"(,"name":".{0,9}")?(,"status":.{0,9})?\}?"#.prop_map(Bson::from),
        any::<i32>().prop_map(Bson::from),
        any::<i64>().prop_map(Bson::from),
        any::<f64>().prop_map(Bson::from),
        any::<bool>().prop_map(Bson::from),
        any::<[u8; 12]>().prop_map(|bytes| ObjectId::from_bytes(bytes).into()),
        prop_oneof![Just(Bson::Null), Just(Bson::Undefined), Just(Bson::MinKey), Just(Bson::MaxKey)],
    ];
    leaf.prop_recursive(3, 8, 4, |inner| {
        let fields = prop::collection::vec(("[a-z]{1,4}", inner.clone()), 0..4);
        prop_oneof![
            prop::collection::vec(inner, 0..4).prop_map(Bson::Array),
            fields.prop_map(|fields| Bson::Document(fields.into_iter().collect())),
        ]
    })
}

fn any_document() -> impl Strategy<Value = Document> {
    let name = prop_oneof![4 => "_id|name|data".boxed(), 1 => "[a-z]{0,5}".boxed()];
    prop::collection::vec((name, any_value()), 0..6).prop_map(|fields| fields.into_iter().collect())
}

proptest! {
    #[test]
    fn any_document_gets_an_answer(document in any_document()) {
        check(translated(&document));
    }

    #[test]
    fn any_data_gets_an_answer(name in "(create|process)_order", data in any::<String>()) {
        check(translated(&document(name, data)));
    }

    #[test]
    fn a_damaged_document_gets_an_answer(
        document in any_document(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut bytes = RawDocumentBuf::try_from(&document).unwrap().into_bytes();
        for (place, byte) in damage {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        if let Ok(document) = RawDocumentBuf::from_bytes(bytes) {
            check(translate(&document));
        }
    }
}
