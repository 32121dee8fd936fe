//! Decodes Protobuf's binary encoding to JSON, as the page "ProtoJSON Format" describes it. Names are in lower camel case.
//! Numbers of 64 bits are texts. A field that has its default is left out.

use std::collections::HashMap;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prost_reflect::prost::Message as _;
use prost_reflect::prost_types::FileDescriptorProto;
use prost_reflect::{DynamicMessage, FileDescriptor, MessageDescriptor};
use protox::Compiler;
use protox::file::{ChainFileResolver, File, FileResolver, GoogleFileResolver};
use serde::Serialize as _;

use super::wire::Framing;

/// The name of the schema's own file. No import has this name.
const MAIN: &str = "the schema.proto";

/// Files that Confluent's serializers treat as known, like Google's own.
const KNOWN: &[(&str, &str)] = &[
    (
        "confluent/meta.proto",
        r#"syntax = "proto3";
        package confluent;
        import "google/protobuf/descriptor.proto";
        message Meta {
          string doc = 1;
          map<string, string> params = 2;
          repeated string tags = 3;
        }
        extend google.protobuf.FileOptions { Meta file_meta = 1088; }
        extend google.protobuf.MessageOptions { Meta message_meta = 1088; }
        extend google.protobuf.FieldOptions { Meta field_meta = 1088; }
        extend google.protobuf.EnumOptions { Meta enum_meta = 1088; }
        extend google.protobuf.EnumValueOptions { Meta enum_value_meta = 1088; }"#,
    ),
    (
        "confluent/type/decimal.proto",
        r#"syntax = "proto3";
        package confluent.type;
        message Decimal {
          bytes value = 1;
          uint32 precision = 2;
          int32 scale = 3;
        }"#,
    ),
];

/// A schema: a file that declares types of messages.
pub(super) struct Protobuf {
    file: FileDescriptor,
    /// All types of the file, at any depth, sorted by their full names. Glue's index counts in this order.
    sorted: Vec<MessageDescriptor>,
}

/// A decoded message.
#[derive(Debug)]
pub(super) struct Message(DynamicMessage);

impl Protobuf {
    /// Compiles a schema and the files that it imports, by the names in the imports. A file is either its text, or its descriptor
    /// in base64: clients without the text register the descriptor.
    pub(super) fn new(text: String, references: Vec<(String, String)>) -> Result<Self, String> {
        let known = KNOWN.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
        let mut files: HashMap<String, String> = known.chain(references).collect();
        files.insert(MAIN.to_owned(), text);
        let mut resolver = ChainFileResolver::new();
        resolver.add(ProtoFiles(files));
        resolver.add(GoogleFileResolver::new());
        let mut compiler = Compiler::with_file_resolver(resolver);
        compiler.open_file(MAIN).map_err(|error| one_line(&error))?;
        let pool = compiler.descriptor_pool();
        let file = pool.get_file_by_name(MAIN).ok_or("it has no file")?;
        let mut sorted = Vec::new();
        file.messages().for_each(|message| all_within(message, &mut sorted));
        sorted.sort_by(|one, other| one.full_name().cmp(other.full_name()));
        Ok(Self { file, sorted })
    }

    /// Decodes a payload: the index of the type, and then the message.
    pub(super) fn message(&self, payload: &[u8], framing: Framing) -> Result<Message, String> {
        let mut rest = payload;
        let descriptor = match framing {
            Framing::Confluent => self.by_path(&mut rest)?,
            Framing::Glue => {
                let index = varint(&mut rest)?;
                let found = usize::try_from(index).ok().and_then(|index| self.sorted.get(index));
                found.cloned().ok_or_else(|| no_such(index, self.sorted.len()))?
            }
        };
        let name = descriptor.full_name().to_owned();
        DynamicMessage::decode(descriptor, rest).map(Message).map_err(|error| format!("{name}: {error}"))
    }

    /// Reads the index and returns its type. The index is a path: from a type of the file to a type within it, and so on. A
    /// single zero means the first type of the file.
    fn by_path(&self, rest: &mut &[u8]) -> Result<MessageDescriptor, String> {
        let count = zigzag(rest)?;
        let mut types: Vec<MessageDescriptor> = self.file.messages().collect();
        if count == 0 {
            return types.into_iter().next().ok_or_else(|| no_such(0, 0));
        }
        let mut found = None;
        for _ in 0..count {
            let index = zigzag(rest)?;
            let place = usize::try_from(index).ok().filter(|place| *place < types.len());
            let descriptor = types.swap_remove(place.ok_or_else(|| no_such(index, types.len()))?);
            types = descriptor.child_messages().filter(|child| !child.is_map_entry()).collect();
            found = Some(descriptor);
        }
        found.ok_or_else(|| format!("the index of its type has {count} steps"))
    }
}

impl Message {
    pub(super) fn to_json(&self) -> Result<Vec<u8>, String> {
        let mut json = serde_json::Serializer::new(Vec::new());
        self.0.serialize(&mut json).map_err(|error| format!("it can't be written as JSON: {error}"))?;
        Ok(json.into_inner())
    }
}

fn all_within(message: MessageDescriptor, all: &mut Vec<MessageDescriptor>) {
    message.child_messages().for_each(|child| all_within(child, all));
    all.push(message);
}

fn no_such(index: impl std::fmt::Display, types: usize) -> String {
    format!("the index of its type has a {index}, and the schema {types} types there")
}

/// Reads a number: 7 bits a byte, the lowest first.
fn varint(rest: &mut &[u8]) -> Result<u64, String> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, behind) = rest.split_first().ok_or("it ends within the index of its type")?;
        *rest = behind;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err("the index of its type has a number of more than 10 bytes".to_owned())
}

fn zigzag(rest: &mut &[u8]) -> Result<i64, String> {
    let number = varint(rest)?;
    Ok((number >> 1).cast_signed() ^ -((number & 1).cast_signed()))
}

struct ProtoFiles(HashMap<String, String>);

impl FileResolver for ProtoFiles {
    fn resolve_path(&self, path: &Path) -> Option<String> {
        path.to_str().filter(|name| self.0.contains_key(*name)).map(str::to_owned)
    }

    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        let Some(text) = self.0.get(name) else { return Err(protox::Error::file_not_found(name)) };
        let bytes = STANDARD.decode(text.trim()).ok();
        let descriptor = bytes.and_then(|bytes| FileDescriptorProto::decode(bytes.as_slice()).ok());
        let Some(mut descriptor) = descriptor else { return File::from_source(name, text) };
        descriptor.name = Some(name.to_owned());
        Ok(File::from_file_descriptor_proto(descriptor))
    }
}

fn one_line(error: &protox::Error) -> String {
    error.to_string().split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::*;

    const SCHEMA: &str = r#"
        syntax = "proto3";
        package shop;
        import "money.proto";
        import "google/protobuf/timestamp.proto";
        import "confluent/meta.proto";
        message Order {
          string order_id = 1;
          int64 amount = 2 [(confluent.field_meta).doc = "in cents"];
          repeated Line lines = 3;
          oneof paid { Money cash = 4; string card = 5; }
          google.protobuf.Timestamp at = 6;
          map<string, int32> counts = 7;
          State state = 8;
          bytes seal = 9;
          message Line { string name = 1; message Part { bool spare = 1; } repeated Part parts = 2; }
        }
        message Cancelled { string order_id = 1; }
        enum State { NEW = 0; DONE = 1; }
    "#;
    const MONEY: &str =
        r#"syntax = "proto2"; package shop; message Money { required int32 units = 1 [default = 7]; }"#;

    fn schema() -> Protobuf {
        Protobuf::new(SCHEMA.to_owned(), vec![("money.proto".to_owned(), MONEY.to_owned())]).unwrap()
    }

    fn json(framing: Framing, payload: &[u8]) -> Result<String, String> {
        schema().message(payload, framing)?.to_json().map(|json| String::from_utf8(json).unwrap())
    }

    /// Encodes a field with a length.
    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        [&[number << 3 | 2, bytes.len() as u8], bytes].concat()
    }

    #[test]
    fn a_message_is_as_protojson_has_it() {
        let line = [field(1, b"a"), field(2, &[8, 1])].concat();
        let message = [
            vec![0],
            field(1, b"o-1"),
            vec![16, 0x80, 0x01],
            field(3, &line),
            field(4, &[8, 5]),
            field(6, &[8, 1]),
            field(7, &[field(1, b"k"), vec![16, 3]].concat()),
            vec![64, 1],
            field(9, &[255]),
            // The schema does not have this field.
            field(15, b"?"),
        ]
        .concat();
        let expected = r#"{"orderId":"o-1","amount":"128","lines":[{"name":"a","parts":[{"spare":true}]}],"cash":{"units":5},"at":"1970-01-01T00:00:01Z","counts":{"k":3},"state":"DONE","seal":"/w=="}"#;
        assert_eq!(json(Framing::Confluent, &message).as_deref(), Ok(expected));
    }

    #[test]
    fn confluents_index_is_a_path_of_types() {
        for (index, rest, expected) in [
            (vec![0], vec![], "{}"),
            (vec![2, 0], field(1, b"a"), r#"{"orderId":"a"}"#),
            (vec![2, 2], field(1, b"a"), r#"{"orderId":"a"}"#),
            // Order, Line, Part: the entries of a map do not count as types.
            (vec![4, 0, 0], field(1, b"a"), r#"{"name":"a"}"#),
            (vec![6, 0, 0, 0], vec![8, 1], r#"{"spare":true}"#),
        ] {
            let payload = [index, rest].concat();
            assert_eq!(json(Framing::Confluent, &payload).as_deref(), Ok(expected), "{payload:?}");
        }
    }

    #[test]
    fn glues_index_counts_all_types_by_their_names() {
        // Glue counts Cancelled, Order, Order.CountsEntry, Order.Line, Order.Line.Part.
        for (index, rest, expected) in [
            (0, field(1, b"a"), r#"{"orderId":"a"}"#),
            (3, field(1, b"a"), r#"{"name":"a"}"#),
            (4, vec![8, 1], r#"{"spare":true}"#),
        ] {
            let payload = [vec![index], rest].concat();
            assert_eq!(json(Framing::Glue, &payload).as_deref(), Ok(expected), "{payload:?}");
        }
    }

    #[test]
    fn what_is_not_of_the_schema_is_said() {
        for (framing, payload, said) in [
            (Framing::Confluent, vec![], "it ends within the index"),
            (Framing::Confluent, vec![2, 4], "has a 2, and the schema 2 types there"),
            (Framing::Confluent, vec![1], "has -1 steps"),
            (Framing::Confluent, vec![0x80; 11], "more than 10 bytes"),
            (Framing::Glue, vec![9], "has a 9, and the schema 5 types there"),
            (Framing::Confluent, vec![0, 10, 9, 65], "shop.Order: "),
        ] {
            let error = json(framing, &payload).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
    }

    #[test]
    fn a_schema_may_be_its_descriptor_in_base64() {
        let compiled = schema();
        let descriptor = compiled.file.file_descriptor_proto();
        let encoded = STANDARD.encode(
            FileDescriptorProto {
                name: Some("order.proto".to_owned()),
                // The field's option is an extension. Only decoding from bytes keeps an extension.
                dependency: descriptor.dependency.clone(),
                ..descriptor.clone()
            }
            .encode_to_vec(),
        );
        let again = Protobuf::new(encoded, vec![("money.proto".to_owned(), MONEY.to_owned())]).unwrap();
        let message = again.message(&[2, 2, 10, 1, 97], Framing::Confluent).unwrap();
        assert_eq!(message.to_json().unwrap(), br#"{"orderId":"a"}"#);
    }

    #[test]
    fn a_schema_that_can_not_be_compiled_says_why() {
        let error = |text: &str| Protobuf::new(text.to_owned(), Vec::new()).err().unwrap();
        assert!(error(SCHEMA).contains("money.proto"), "{}", error(SCHEMA));
        let said = error("syntax = \"proto3\"; message A { Missing b = 1; }");
        assert!(said.contains("Missing"), "{said}");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

        #[test]
        fn any_bytes_are_json_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            for framing in [Framing::Confluent, Framing::Glue] {
                if let Ok(message) = COMPILED.message(&bytes, framing) {
                    let json = message.to_json().unwrap();
                    prop_assert!(serde_json::from_slice::<serde_json::Value>(&json).is_ok());
                }
            }
        }
    }

    static COMPILED: LazyLock<Protobuf> = LazyLock::new(schema);
}
