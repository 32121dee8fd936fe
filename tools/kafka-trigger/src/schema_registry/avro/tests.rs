use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};

use super::*;

/// Encodes a number in zigzag.
fn long(number: i64) -> Vec<u8> {
    let mut rest = ((number << 1) ^ (number >> 63)).cast_unsigned();
    let mut bytes = Vec::new();
    while rest >= 0x80 {
        bytes.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    bytes.push(rest as u8);
    bytes
}

fn text(text: &str) -> Vec<u8> {
    [long(text.len() as i64), text.as_bytes().to_vec()].concat()
}

fn decoded(schema: &str, bytes: &[u8]) -> Result<String, String> {
    with_references(schema, &[], bytes)
}

/// Decodes the bytes, and asserts that a check alone gives the same error.
fn with_references(schema: &str, references: &[&str], bytes: &[u8]) -> Result<String, String> {
    let references: Vec<_> =
        references.iter().map(|text| ("a name".to_owned(), (*text).to_owned())).collect();
    let avro = Avro::new(schema, &references)?;
    let json = avro.to_json(bytes, Framing::Confluent).map(|json| String::from_utf8(json).unwrap());
    assert_eq!(avro.check(bytes, Framing::Confluent).err(), json.as_ref().err().cloned());
    if let Ok(json) = &json {
        serde_json::from_str::<Value>(json).unwrap();
    }
    json
}

#[test]
fn every_type_is_as_the_specification_writes_it() {
    for (schema, bytes, json) in [
        (r#""null""#, vec![], "null"),
        ("boolean", vec![1], "true"),
        (r#""int""#, long(-64), "-64"),
        (r#""int""#, vec![0xfe, 0xff, 0xff, 0xff, 0x0f], "2147483647"),
        (r#""long""#, long(i64::MIN), "-9223372036854775808"),
        (r#""float""#, 1.1_f32.to_le_bytes().to_vec(), "1.1"),
        (r#""double""#, (-0.5_f64).to_le_bytes().to_vec(), "-0.5"),
        (r#""double""#, f64::NAN.to_le_bytes().to_vec(), r#""NaN""#),
        (r#""double""#, f64::NEG_INFINITY.to_le_bytes().to_vec(), r#""-Infinity""#),
        (r#""string""#, text("Grüße \"\n"), r#""Grüße \"\n""#),
        (r#"["bytes"]"#, vec![0, 6, 0, 127, 255], "\"\\u0000\u{7f}\u{ff}\""),
        (r#"{"type":"fixed","name":"F","size":2}"#, vec![1, 65], "\"\\u0001A\""),
        (r#"{"type":"enum","name":"E","symbols":["A","B"]}"#, vec![2], r#""B""#),
        (r#"["null","string"]"#, vec![0], "null"),
        (r#"["null","string"]"#, [vec![2], text("a")].concat(), r#""a""#),
        (r#"{"type":"array","items":"long"}"#, vec![4, 6, 54, 0], "[3,27]"),
        // A block with its size, and a second block without.
        (r#"{"type":"array","items":"long"}"#, vec![1, 2, 6, 2, 54, 0], "[3,27]"),
        (
            r#"{"type":"map","values":"int"}"#,
            [vec![4], text("z"), vec![2], text("a"), vec![4, 0]].concat(),
            r#"{"z":1,"a":2}"#,
        ),
        (
            r#"{"type":"record","name":"test","fields":[{"name":"a","type":"long"},{"name":"b","type":"string"}]}"#,
            vec![0x36, 6, 0x66, 0x6f, 0x6f],
            r#"{"a":27,"b":"foo"}"#,
        ),
    ] {
        assert_eq!(decoded(schema, &bytes).as_deref(), Ok(json), "{schema}");
    }
}

#[test]
fn a_logical_type_is_what_it_is_without() {
    for (schema, bytes, json) in [
        (r#"{"type":"long","logicalType":"timestamp-millis"}"#, long(1_700_000_000_000), "1700000000000"),
        (r#"{"type":"int","logicalType":"date"}"#, long(19_000), "19000"),
        (r#"{"type":"string","logicalType":"uuid"}"#, text("a-b"), r#""a-b""#),
        (
            r#"["null",{"type":"bytes","logicalType":"decimal","precision":4,"scale":2}]"#,
            vec![2, 4, 0x30, 0x39],
            r#""09""#,
        ),
    ] {
        assert_eq!(decoded(schema, &bytes).as_deref(), Ok(json), "{schema}");
    }
}

#[test]
fn bytes_alone_are_as_confluents_serializers_write_them() {
    assert_eq!(decoded(r#""bytes""#, b"abc").as_deref(), Ok(r#""abc""#));
    let avro = Avro::new(r#""bytes""#, &[]).unwrap();
    assert_eq!(avro.to_json(&[6, 97, 98, 99], Framing::Glue).unwrap(), b"\"abc\"");
}

#[test]
fn names_are_resolved_by_their_namespaces() {
    let schema = r#"{"type":"record","name":"Order","namespace":"shop","fields":[
        {"name":"state","type":{"type":"enum","name":"State","symbols":["OPEN"]}},
        {"name":"next","type":["null","Order"]},
        {"name":"last","type":"shop.State"},
        {"name":"other","type":{"type":"record","name":"other.Thing","fields":[
            {"name":"state","type":["null",{"type":"fixed","name":"State","size":1}]},
            {"name":"again","type":"State"}]}}]}"#;
    let thing = vec![0, 65];
    let inner = [vec![0, 0, 0], thing.clone()].concat();
    let bytes = [vec![0, 2], inner, vec![0], thing].concat();
    let thing = r#"{"state":null,"again":"A"}"#;
    let inner = format!(r#"{{"state":"OPEN","next":null,"last":"OPEN","other":{thing}}}"#);
    let json = format!(r#"{{"state":"OPEN","next":{inner},"last":"OPEN","other":{thing}}}"#);
    assert_eq!(decoded(schema, &bytes), Ok(json));
}

#[test]
fn references_are_found_in_any_order_and_within_others() {
    let customer =
        r#"{"type":"record","name":"Customer","namespace":"shop","fields":[{"name":"id","type":"Id"}]}"#;
    let id = r#"{"type":"record","name":"Id","namespace":"shop","fields":[
        {"name":"n","type":{"type":"fixed","name":"Code","size":1}}]}"#;
    let order = r#"{"type":"record","name":"Order","namespace":"shop","fields":[
        {"name":"code","type":"Code"},{"name":"customer","type":"shop.Customer"}]}"#;
    let json = r#"{"code":"x","customer":{"id":{"n":"y"}}}"#;
    for references in [[customer, id], [id, customer]] {
        assert_eq!(with_references(order, &references, b"xy").as_deref(), Ok(json));
    }
    // A topic with several types.
    let union = r#"["shop.Id","shop.Customer"]"#;
    assert_eq!(with_references(union, &[customer, id], &[2, 65]).as_deref(), Ok(r#"{"id":{"n":"A"}}"#));
}

#[test]
fn schemas_that_can_not_be_used_say_why() {
    for (schema, said) in [
        ("{", "it is not JSON"),
        (r#"{"type":"record","name":"A","fields":[{"name":"b","type":"B"}]}"#, "the type B is not defined"),
        (r#"{"type":"record","name":"A"}"#, "the record A has no fields"),
        (r#"{"type":"enum","name":"A"}"#, "an enum has no symbols"),
        (r#"{"type":"fixed","name":"A"}"#, "a fixed type has no size"),
        (r#"{"type":"fixed","size":1}"#, "a type has no name"),
        ("7", "7 is not a type"),
        (r#"{"type":7}"#, "7 is not a type"),
    ] {
        let error = Avro::new(schema, &[]).err().unwrap();
        assert!(error.contains(said), "{error}");
    }
}

#[test]
fn data_that_is_not_of_the_schema_says_where() {
    let record = r#"{"type":"record","name":"A","fields":[{"name":"b","type":{"type":"record","name":"B","fields":[
        {"name":"c","type":"string"}]}}]}"#;
    for (schema, bytes, said) in [
        (record, vec![6, 97], "b: c: it ends too early"),
        (record, vec![2, 255], "b: c: a text is not UTF-8"),
        (record, vec![1], "b: c: -1 is not a length"),
        (r#""boolean""#, vec![], "it ends too early"),
        (r#""boolean""#, vec![7], "7 is not a boolean"),
        (r#""int""#, long(1 << 40), "1099511627776 is not an int"),
        (r#""long""#, vec![255; 11], "more than 10 bytes"),
        (r#"["null"]"#, vec![2], "1 is none of the 1 types of the union"),
        (r#"{"type":"enum","name":"E","symbols":["A"]}"#, vec![1], "-1 is none of the 1 symbols of the enum"),
        (r#"{"type":"array","items":"null"}"#, long(i64::MAX), "it has too many values"),
        (
            r#"{"type":"record","name":"A","fields":[{"name":"a","type":["null","A"]}]}"#,
            vec![2; 1000],
            "it is nested too deep",
        ),
    ] {
        let error = decoded(schema, &bytes).unwrap_err();
        assert!(error.contains(said), "{error}");
    }
}

/// Schemas of every kind. Named types are defined where they are used.
fn any_schema() -> impl Strategy<Value = Value> {
    let primitive: &[&str] = &["null", "boolean", "int", "long", "float", "double", "string"];
    let leaf = prop_oneof![
        proptest::sample::select(primitive).prop_map(Value::from),
        Just(json!({"type": "bytes", "logicalType": "decimal"})),
        (0..4_u32).prop_map(|size| json!({"type": "fixed", "name": "F", "size": size})),
        (1..4_usize).prop_map(|count| {
            let symbols = &["A", "B", "C"][..count];
            json!({"type": "enum", "name": "E", "symbols": symbols})
        }),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let fields = proptest::collection::vec(inner.clone(), 0..4).prop_map(|types| {
            let fields = types.into_iter().enumerate();
            let field = |(place, kind): (usize, Value)| json!({"name": format!("f{place}"), "type": kind});
            json!({"type": "record", "name": "R", "fields": fields.map(field).collect::<Vec<_>>()})
        });
        prop_oneof![
            inner.clone().prop_map(|items| json!({"type": "array", "items": items})),
            inner.clone().prop_map(|values| json!({"type": "map", "values": values})),
            proptest::collection::vec(inner, 1..3).prop_map(Value::from),
            fields,
        ]
    })
}

/// Appends a random datum of a schema to `bytes`, as the specification encodes it. Returns the JSON of that datum.
fn any_datum(schema: &Value, random: &mut StdRng, bytes: &mut Vec<u8>) -> Value {
    let kind = schema["type"].as_str().or(schema.as_str()).unwrap_or("union");
    match kind {
        "null" => Value::Null,
        "boolean" => {
            let value: bool = random.random();
            bytes.push(value.into());
            value.into()
        }
        "int" | "long" => {
            let value: i64 = if kind == "int" { random.random::<i32>().into() } else { random.random() };
            bytes.extend(long(value));
            value.into()
        }
        "float" => {
            let value: f32 = random.random();
            bytes.extend(value.to_le_bytes());
            serde_json::from_str(&serde_json::to_string(&value).unwrap()).unwrap()
        }
        "double" => {
            let value: f64 = random.random();
            bytes.extend(value.to_le_bytes());
            value.into()
        }
        "string" => {
            let value: String = (0..random.random_range(0..5)).map(|_| random.random::<char>()).collect();
            bytes.extend(text(&value));
            value.into()
        }
        "bytes" | "fixed" => {
            let size = schema["size"].as_u64().unwrap_or_else(|| random.random_range(0..5));
            let value: Vec<u8> = (0..size).map(|_| random.random()).collect();
            if kind == "bytes" {
                bytes.extend(long(size as i64));
            }
            bytes.extend(&value);
            value.into_iter().map(char::from).collect::<String>().into()
        }
        "enum" => {
            let symbols = schema["symbols"].as_array().unwrap();
            let place = random.random_range(0..symbols.len());
            bytes.extend(long(place as i64));
            symbols[place].clone()
        }
        "record" => {
            let fields = schema["fields"].as_array().unwrap().iter();
            let field = |field: &Value| {
                (field["name"].as_str().unwrap().to_owned(), any_datum(&field["type"], random, bytes))
            };
            Value::Object(fields.map(field).collect())
        }
        "union" => {
            let branches = schema.as_array().unwrap();
            let place = random.random_range(0..branches.len());
            bytes.extend(long(place as i64));
            any_datum(&branches[place], random, bytes)
        }
        _ => any_blocks(schema, kind, random, bytes),
    }
}

/// Appends an array or a map, in blocks with and without their sizes.
fn any_blocks(schema: &Value, kind: &str, random: &mut StdRng, bytes: &mut Vec<u8>) -> Value {
    let (mut list, mut map) = (Vec::new(), serde_json::Map::new());
    for _ in 0..random.random_range(0..3) {
        let (count, mut block) = (random.random_range(1..3), Vec::new());
        for _ in 0..count {
            if kind == "array" {
                list.push(any_datum(&schema["items"], random, &mut block));
            } else {
                let key = format!("k{}", map.len());
                block.extend(text(&key));
                map.insert(key, any_datum(&schema["values"], random, &mut block));
            }
        }
        if random.random() {
            bytes.extend([long(-count), long(block.len() as i64)].concat());
        } else {
            bytes.extend(long(count));
        }
        bytes.extend(block);
    }
    bytes.push(0);
    if kind == "array" { list.into() } else { map.into() }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn any_datum_of_any_schema_is_the_json_that_it_should_be(schema in any_schema(), seed in any::<u64>()) {
        let mut bytes = Vec::new();
        let expected = any_datum(&schema, &mut StdRng::seed_from_u64(seed), &mut bytes);
        let avro = Avro::new(&schema.to_string(), &[]).unwrap();
        let json = avro.to_json(&bytes, Framing::Glue).unwrap();
        prop_assert_eq!(serde_json::from_slice::<Value>(&json).unwrap(), expected);
        // Without its last byte it is not a datum.
        if let Some(shorter) = bytes.len().checked_sub(1) {
            prop_assert!(avro.check(&bytes[..shorter], Framing::Glue).is_err());
        }
    }

    #[test]
    fn any_bytes_are_json_or_refused(
        schema in any_schema(),
        bytes in proptest::collection::vec(any::<u8>(), 0..40),
    ) {
        let avro = Avro::new(&schema.to_string(), &[]).unwrap();
        match avro.to_json(&bytes, Framing::Glue) {
            Ok(json) => {
                prop_assert!(serde_json::from_slice::<Value>(&json).is_ok());
                prop_assert_eq!(avro.check(&bytes, Framing::Glue), Ok(()));
            }
            Err(problem) => prop_assert_eq!(avro.check(&bytes, Framing::Glue), Err(problem)),
        }
    }
}
