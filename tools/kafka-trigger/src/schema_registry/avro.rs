//! Decodes Avro's binary encoding to JSON, as the "Apache Avro Specification" 1.12 defines both, with one exception. A value of a
//! union has no type name around it, because filters and functions expect a nullable field to be plain. A logical type is
//! ignored: its value is that of the underlying type. Bytes are a text with the characters 0 to 255.
//!
//! The crate `apache-avro` is not used, for three reasons. It reads a truncated text or boolean as null, but a check must refuse
//! it. It loses the order of maps. It does not give access to a decimal's bytes.

use std::collections::HashMap;

use serde_json::Value;

use super::wire::Framing;
use event_source_mapping::PAYLOAD_LIMIT;

/// The deepest nesting of types. A recursive type has no limit of its own.
const DEEPEST: usize = 128;
/// The most values within a value. Elements without content, such as null, need no bytes, so that a few bytes may claim any
/// number of them. In JSON each value has at least one byte, so that an invocation never takes more.
const MOST_VALUES: usize = PAYLOAD_LIMIT;

/// A schema.
pub(super) struct Avro {
    /// The types. They refer to each other by index.
    types: Vec<AvroType>,
    root: usize,
}

#[derive(Clone, Debug, PartialEq)]
enum AvroType {
    Primitive(Primitive),
    /// The symbols, as JSON strings.
    Enum(Vec<String>),
    Array(usize),
    Map(usize),
    Union(Vec<usize>),
    /// The fields: names as JSON strings, and types.
    Record(Vec<(String, usize)>),
}

/// A type with no other type in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Primitive {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    String,
    Fixed(usize),
}

impl Avro {
    /// Reads a schema and its references, which may be in any order.
    pub(super) fn new(text: &str, references: &[(String, String)]) -> Result<Self, String> {
        let schema = parse(text)?;
        let pending = references.iter().map(|(_, text)| parse(text)).collect::<Result<_, _>>()?;
        let mut reader = SchemaReader { types: Vec::new(), names: HashMap::new(), pending };
        let root = reader.read(&schema, "")?;
        Ok(Self { types: reader.types, root })
    }

    /// Returns the datum as JSON, with fields in the order of the schema.
    pub(super) fn to_json(&self, bytes: &[u8], framing: Framing) -> Result<Vec<u8>, String> {
        let mut json = Vec::with_capacity(bytes.len() * 2);
        self.decode(bytes, framing, Some(&mut json))?;
        Ok(json)
    }

    /// Checks that the bytes are a datum of this schema.
    pub(super) fn check(&self, bytes: &[u8], framing: Framing) -> Result<(), String> {
        self.decode(bytes, framing, None)
    }

    fn decode(&self, bytes: &[u8], framing: Framing, json: Option<&mut Vec<u8>>) -> Result<(), String> {
        let mut datum = Datum { types: &self.types, bytes, json, values_left: MOST_VALUES };
        if self.types[self.root] == AvroType::Primitive(Primitive::Bytes) && framing == Framing::Confluent {
            // Confluent's serializers write a value of type bytes without its length.
            datum.latin1(bytes);
            return Ok(());
        }
        // Bytes behind the datum are ignored, as in Avro's own readers.
        datum.value(self.root, DEEPEST)
    }
}

fn parse(text: &str) -> Result<Value, String> {
    // A primitive type may be written without quotes.
    serde_json::from_str(text).or_else(|error| {
        let is_name = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._".contains(&byte));
        if is_name && !text.is_empty() {
            Ok(Value::String(text.to_owned()))
        } else {
            Err(format!("it is not JSON: {error}"))
        }
    })
}

/// Reads schemas from JSON. The registry has checked them already. This reader ignores parts that do not matter for decoding.
struct SchemaReader {
    types: Vec<AvroType>,
    names: HashMap<String, usize>,
    /// The references that no type has needed so far.
    pending: Vec<Value>,
}

impl SchemaReader {
    fn read(&mut self, schema: &Value, namespace: &str) -> Result<usize, String> {
        match schema {
            Value::String(name) => self.named(name, namespace),
            Value::Array(branches) => {
                let branches = branches.iter().map(|branch| self.read(branch, namespace));
                let branches = branches.collect::<Result<_, _>>()?;
                Ok(self.put(AvroType::Union(branches)))
            }
            Value::Object(_) => self.complex(schema, namespace),
            other => Err(format!("{other} is not a type")),
        }
    }

    fn put(&mut self, kind: AvroType) -> usize {
        self.types.push(kind);
        self.types.len() - 1
    }

    fn named(&mut self, name: &str, namespace: &str) -> Result<usize, String> {
        if let Some(primitive) = primitive(name) {
            return Ok(self.put(AvroType::Primitive(primitive)));
        }
        let full = full_name(name, namespace);
        while !self.names.contains_key(&full) {
            let is_it = |reference: &Value| own_name(reference, "").as_ref() == Some(&full);
            let place = self.pending.iter().position(is_it);
            if self.pending.is_empty() {
                return Err(format!("the type {full} is not defined"));
            }
            // If no reference has this name, any of them may define the type within itself.
            let reference = self.pending.remove(place.unwrap_or(0));
            self.read(&reference, "")?;
        }
        Ok(self.names[&full])
    }

    fn complex(&mut self, schema: &Value, namespace: &str) -> Result<usize, String> {
        let kind = match &schema["type"] {
            Value::String(kind) => kind.as_str(),
            // `{"type": {…}}` and `{"type": […]}` mean the same as the inner type.
            inner @ (Value::Object(_) | Value::Array(_)) => return self.read(inner, namespace),
            other => return Err(format!("{other} is not a type")),
        };
        match kind {
            "array" => {
                let items = self.read(&schema["items"], namespace)?;
                Ok(self.put(AvroType::Array(items)))
            }
            "map" => {
                let values = self.read(&schema["values"], namespace)?;
                Ok(self.put(AvroType::Map(values)))
            }
            "fixed" => {
                let size = schema["size"].as_u64().and_then(|size| usize::try_from(size).ok());
                let size = size.ok_or("a fixed type has no size")?;
                let place = self.put(AvroType::Primitive(Primitive::Fixed(size)));
                self.define(schema, namespace, place)?;
                Ok(place)
            }
            "enum" => {
                let symbols = schema["symbols"].as_array().ok_or("an enum has no symbols")?;
                let place = self.put(AvroType::Enum(symbols.iter().map(Value::to_string).collect()));
                self.define(schema, namespace, place)?;
                Ok(place)
            }
            "record" | "error" => self.record(schema, namespace),
            name => self.named(name, namespace),
        }
    }

    fn record(&mut self, schema: &Value, namespace: &str) -> Result<usize, String> {
        // The index comes first, because a record may contain itself.
        let place = self.put(AvroType::Record(Vec::new()));
        let full = self.define(schema, namespace, place)?;
        let within = full.rsplit_once('.').map_or("", |(namespace, _)| namespace);
        let mut fields = Vec::new();
        for field in schema["fields"].as_array().ok_or_else(|| format!("the record {full} has no fields"))? {
            let name = field["name"].as_str().ok_or_else(|| format!("a field of {full} has no name"))?;
            fields.push((Value::from(name).to_string(), self.read(&field["type"], within)?));
        }
        self.types[place] = AvroType::Record(fields);
        Ok(place)
    }

    fn define(&mut self, schema: &Value, namespace: &str, place: usize) -> Result<String, String> {
        let full = own_name(schema, namespace).ok_or_else(|| "a type has no name".to_owned())?;
        self.names.insert(full.clone(), place);
        Ok(full)
    }
}

fn primitive(name: &str) -> Option<Primitive> {
    Some(match name {
        "null" => Primitive::Null,
        "boolean" => Primitive::Boolean,
        "int" => Primitive::Int,
        "long" => Primitive::Long,
        "float" => Primitive::Float,
        "double" => Primitive::Double,
        "bytes" => Primitive::Bytes,
        "string" => Primitive::String,
        _ => return None,
    })
}

/// Returns the full name of a type from its definition.
fn own_name(schema: &Value, enclosing: &str) -> Option<String> {
    let namespace = schema["namespace"].as_str().unwrap_or(enclosing);
    Some(full_name(schema["name"].as_str()?, namespace))
}

fn full_name(name: &str, namespace: &str) -> String {
    if name.contains('.') || namespace.is_empty() {
        name.trim_start_matches('.').to_owned()
    } else {
        format!("{namespace}.{name}")
    }
}

/// A datum, while it is read.
struct Datum<'a> {
    types: &'a [AvroType],
    /// The bytes that are not read yet.
    bytes: &'a [u8],
    /// The JSON so far. `None` means that the datum is only checked.
    json: Option<&'a mut Vec<u8>>,
    values_left: usize,
}

impl<'a> Datum<'a> {
    fn value(&mut self, place: usize, depth_left: usize) -> Result<(), String> {
        let types = self.types;
        let depth_left = depth_left.checked_sub(1).ok_or("it is nested too deep")?;
        self.values_left = self.values_left.checked_sub(1).ok_or("it has too many values")?;
        match &types[place] {
            AvroType::Union(branches) => {
                let branch = *self.index(branches, "types of the union")?;
                self.value(branch, depth_left)
            }
            AvroType::Array(items) => {
                self.write(b"[");
                self.blocks(|datum| datum.value(*items, depth_left))?;
                self.write(b"]");
                Ok(())
            }
            AvroType::Map(values) => {
                self.write(b"{");
                self.blocks(|datum| {
                    datum.text()?;
                    datum.write(b":");
                    datum.value(*values, depth_left)
                })?;
                self.write(b"}");
                Ok(())
            }
            AvroType::Record(fields) => self.record(fields, depth_left),
            AvroType::Enum(symbols) => {
                let symbol = self.index(symbols, "symbols of the enum")?;
                self.write(symbol.as_bytes());
                Ok(())
            }
            AvroType::Primitive(kind) => self.primitive(*kind),
        }
    }

    fn primitive(&mut self, kind: Primitive) -> Result<(), String> {
        match kind {
            Primitive::Null => self.write(b"null"),
            Primitive::Boolean => match self.take(1)? {
                [0] => self.write(b"false"),
                [1] => self.write(b"true"),
                other => return Err(format!("{} is not a boolean", other[0])),
            },
            Primitive::Int => {
                let number = self.long()?;
                let number = i32::try_from(number).map_err(|_| format!("{number} is not an int"))?;
                self.write(number.to_string().as_bytes());
            }
            Primitive::Long => {
                let number = self.long()?;
                self.write(number.to_string().as_bytes());
            }
            Primitive::Float => {
                let number = f32::from_le_bytes(self.array()?);
                self.number(number.into(), &number)?;
            }
            Primitive::Double => {
                let number = f64::from_le_bytes(self.array()?);
                self.number(number, &number)?;
            }
            Primitive::Bytes => {
                let bytes = self.with_length()?;
                self.latin1(bytes);
            }
            Primitive::Fixed(size) => {
                let bytes = self.take(size)?;
                self.latin1(bytes);
            }
            Primitive::String => self.text()?,
        }
        Ok(())
    }

    fn record(&mut self, fields: &[(String, usize)], depth_left: usize) -> Result<(), String> {
        self.write(b"{");
        for (place, (name, kind)) in fields.iter().enumerate() {
            if place > 0 {
                self.write(b",");
            }
            self.write(name.as_bytes());
            self.write(b":");
            self.value(*kind, depth_left).map_err(|problem| at_field(name, &problem))?;
        }
        self.write(b"}");
        Ok(())
    }

    /// Reads the blocks of an array or a map. Behind a negative count comes the block's size in bytes, which is not needed here.
    fn blocks(&mut self, mut element: impl FnMut(&mut Self) -> Result<(), String>) -> Result<(), String> {
        let mut is_first = true;
        loop {
            let count = match self.long()? {
                0 => return Ok(()),
                count if count < 0 => {
                    self.long()?;
                    count.unsigned_abs()
                }
                count => count.unsigned_abs(),
            };
            for _ in 0..count {
                if !is_first {
                    self.write(b",");
                }
                is_first = false;
                element(self)?;
            }
        }
    }

    fn index<'t, T>(&mut self, all: &'t [T], what: &str) -> Result<&'t T, String> {
        let index = self.long()?;
        let found = usize::try_from(index).ok().and_then(|index| all.get(index));
        found.ok_or_else(|| format!("{index} is none of the {} {what}", all.len()))
    }

    fn text(&mut self) -> Result<(), String> {
        let text = std::str::from_utf8(self.with_length()?).map_err(|_| "a text is not UTF-8")?;
        self.quoted(text);
        Ok(())
    }

    fn latin1(&mut self, bytes: &[u8]) {
        if self.json.is_some() {
            let text: String = bytes.iter().map(|byte| char::from(*byte)).collect();
            self.quoted(&text);
        }
    }

    fn quoted(&mut self, text: &str) {
        if let Some(json) = &mut self.json {
            // Writing a text into memory never fails.
            let _ = serde_json::to_writer(&mut **json, text);
        }
    }

    /// Writes a number. JSON has no infinities and no NaN, so these are texts, as in Avro's own encoder.
    fn number(&mut self, number: f64, as_written: &impl serde::Serialize) -> Result<(), String> {
        let Some(json) = &mut self.json else { return Ok(()) };
        if number.is_finite() {
            return serde_json::to_writer(&mut **json, as_written).map_err(|error| error.to_string());
        }
        let name = match number {
            number if number.is_nan() => "\"NaN\"",
            number if number > 0.0 => "\"Infinity\"",
            _ => "\"-Infinity\"",
        };
        json.extend_from_slice(name.as_bytes());
        Ok(())
    }

    fn write(&mut self, text: &[u8]) {
        if let Some(json) = &mut self.json {
            json.extend_from_slice(text);
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    /// Reads a number in zigzag encoding: 7 bits a byte, the lowest first.
    fn long(&mut self) -> Result<i64, String> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok((number >> 1).cast_signed() ^ -((number & 1).cast_signed()));
            }
        }
        Err("a number has more than 10 bytes".to_owned())
    }

    fn with_length(&mut self) -> Result<&'a [u8], String> {
        let length = self.long()?;
        let length = usize::try_from(length).map_err(|_| format!("{length} is not a length"))?;
        self.take(length)
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self.bytes.split_at_checked(count).ok_or("it ends too early")?;
        self.bytes = rest;
        Ok(taken)
    }
}

/// Adds the field's name to a problem. The name is in quotes already, and the problem may begin with a path.
fn at_field(name: &str, problem: &str) -> String {
    format!("{}: {problem}", name.trim_matches('"'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::rngs::StdRng;
    use rand::{Rng as _, SeedableRng as _};
    use serde_json::json;

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
            (
                r#"{"type":"record","name":"A","fields":[{"name":"b","type":"B"}]}"#,
                "the type B is not defined",
            ),
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
            (
                r#"{"type":"enum","name":"E","symbols":["A"]}"#,
                vec![1],
                "-1 is none of the 1 symbols of the enum",
            ),
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
                let field =
                    |(place, kind): (usize, Value)| json!({"name": format!("f{place}"), "type": kind});
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
}
