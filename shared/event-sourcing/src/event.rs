//! The stored form of an event: a type name, a schema version and data. So a program can still read an event that was written
//! years ago.
//!
//! An application's events are a plain enum. The name of a variant is the type's name, and its fields are the data. To change the
//! data of a type, take three steps. Change the variant. Add an [`Upcaster`] from the previous schema version to
//! [`EventType::UPCASTERS`]. Keep the old data as a test. Upcasters are pure, and run one step at a time when an event is read.
//! Stored events are never rewritten.

use std::collections::BTreeMap;
use std::fmt::{self, Debug, Display};

use serde::de::value::{EnumAccessDeserializer, StrDeserializer};
use serde::de::{DeserializeOwned, DeserializeSeed, EnumAccess, IgnoredAny, VariantAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, value::RawValue};
use smol_str::SmolStr;
use thiserror::Error;

use crate::excerpt::shortened;

/// The events of an aggregate: an enum that derives [`Serialize`] and [`Deserialize`], without attributes that change its
/// representation.
pub trait EventType:
    Clone + Debug + PartialEq + Serialize + DeserializeOwned + Send + Sync + 'static
{
    /// The steps from earlier schema versions to the current ones, for all types.
    const UPCASTERS: &'static [Upcaster] = &[];
}

/// One step from the data of a schema version to that of the next.
#[derive(Clone, Copy, Debug)]
pub struct Upcaster {
    /// The type's name.
    pub kind: &'static str,
    /// The schema version that the step reads. The step yields the next version.
    pub from: u32,
    /// The step itself. Pure.
    pub step: fn(Value) -> Result<Value, String>,
}

/// An event as stores and records hold it: `{"type","schema","data"}` as JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EncodedEvent {
    /// The type's name, such as `OrderCreated`.
    #[serde(rename = "type")]
    pub kind: SmolStr,
    /// The version of the shape of `data`, from 1.
    pub schema: u32,
    /// The event's own data: JSON, mostly an object.
    pub data: Box<RawValue>,
}

impl PartialEq for EncodedEvent {
    fn eq(&self, other: &Self) -> bool {
        (&self.kind, self.schema, self.data.get()) == (&other.kind, other.schema, other.data.get())
    }
}

impl Eq for EncodedEvent {}

impl EncodedEvent {
    /// Encodes an event in the current schema.
    ///
    /// # Panics
    /// When `E` does not serialize as a plain enum does. The fault is then in the type, and not in the event.
    #[must_use]
    #[allow(clippy::expect_used)] // See "Panics": the first test of any event meets it.
    pub fn encode<E: EventType>(event: &E) -> Self {
        let text = serde_json::to_string(event).expect("an enum of events serializes");
        // The text is {"NAME":DATA}, or "NAME" for a variant without fields.
        let tagged = text.strip_prefix("{\"").and_then(|text| text.strip_suffix('}'));
        let (kind, data) = match tagged.and_then(|text| text.split_once("\":")) {
            Some((kind, data)) => (kind, data),
            None => (text.trim_matches('"'), "{}"),
        };
        let data = RawValue::from_string(data.to_owned()).expect("an event is an enum without serde's tags");
        Self { kind: kind.into(), schema: current_schema::<E>(kind), data }
    }

    /// Decodes the event. Its schema may be the current one or any earlier one.
    ///
    /// # Errors
    /// [`UnknownEvent`] when the type, the schema or the data is not known.
    pub fn decode<E: EventType>(&self) -> Result<E, UnknownEvent> {
        decode(&self.kind, self.schema, &self.data)
    }
}

/// The reason for which stored data is not an event that this program knows.
#[derive(Debug, Error)]
pub enum UnknownEvent {
    /// The type's name is not known: a newer program or another program wrote the event.
    #[error("unknown event type {0:?}")]
    Type(String),
    /// The schema version is newer than this program's, or it is 0.
    #[error("unknown schema {schema} of event type {kind}")]
    Schema {
        /// The type's name.
        kind: String,
        /// The unknown version.
        schema: u32,
    },
    /// Type and schema are known, but the data does not have the schema's shape.
    #[error("the data of {kind} schema {schema} can't be read: {problem}")]
    Data {
        /// The type's name.
        kind: String,
        /// The schema version.
        schema: u32,
        /// The fault in the data.
        problem: String,
    },
}

/// Reads an event. Its schema may be the current one or any earlier one.
///
/// # Errors
/// [`UnknownEvent`] when the type, the schema or the data is not known.
pub fn decode<E: EventType>(kind: &str, schema: u32, data: &RawValue) -> Result<E, UnknownEvent> {
    let newest = current_schema::<E>(kind);
    if schema == newest {
        return parse(kind, schema, data);
    }
    if schema == 0 || schema > newest {
        // If the type is unknown too, the error names the type.
        return Err(match parse::<E>(kind, schema, RawValue::NULL) {
            Err(unknown @ UnknownEvent::Type(_)) => unknown,
            _ => UnknownEvent::Schema { kind: kind.to_owned(), schema },
        });
    }
    let data = upcast(E::UPCASTERS, newest, kind, schema, data)?;
    parse(kind, newest, &data)
}

/// Returns the current schema version of this type: 1, and one more for each upcaster.
pub(crate) fn current_schema<E: EventType>(kind: &str) -> u32 {
    E::UPCASTERS.iter().fold(1, |schema, upcaster| schema + u32::from(upcaster.kind == kind))
}

fn upcast(
    upcasters: &[Upcaster],
    newest: u32,
    kind: &str,
    schema: u32,
    data: &RawValue,
) -> Result<Box<RawValue>, UnknownEvent> {
    let mut value: Value =
        serde_json::from_str(data.get()).map_err(|error| unreadable(kind, schema, &error))?;
    for from in schema..newest {
        let is_next = |upcaster: &&Upcaster| upcaster.kind == kind && upcaster.from == from;
        let Some(upcaster) = upcasters.iter().find(is_next) else {
            return Err(UnknownEvent::Schema { kind: kind.to_owned(), schema: from });
        };
        value = (upcaster.step)(value).map_err(|problem| unreadable(kind, from, &problem))?;
    }
    serde_json::value::to_raw_value(&value).map_err(|error| unreadable(kind, newest, &error))
}

fn unreadable(kind: &str, schema: u32, problem: &impl Display) -> UnknownEvent {
    UnknownEvent::Data { kind: kind.to_owned(), schema, problem: shortened(&problem.to_string()) }
}

fn parse<E: EventType>(kind: &str, schema: u32, data: &RawValue) -> Result<E, UnknownEvent> {
    E::deserialize(EnumAccessDeserializer::new(TaggedEvent { kind, data })).map_err(|refusal| match refusal {
        Refusal::Type => UnknownEvent::Type(shortened(kind)),
        Refusal::Data(problem) => unreadable(kind, schema, &problem),
    })
}

/// A variant by its name and its data, for serde's derived code.
struct TaggedEvent<'a> {
    kind: &'a str,
    data: &'a RawValue,
}

struct Data<'a>(&'a RawValue);

/// The error of serde's derived code.
#[derive(Debug)]
enum Refusal {
    Type,
    Data(String),
}

impl Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Type => f.write_str("unknown event type"),
            Self::Data(problem) => f.write_str(problem),
        }
    }
}

impl std::error::Error for Refusal {}

impl serde::de::Error for Refusal {
    fn custom<T: Display>(problem: T) -> Self {
        Self::Data(problem.to_string())
    }
}

impl<'a> EnumAccess<'a> for TaggedEvent<'a> {
    type Error = Refusal;
    type Variant = Data<'a>;

    fn variant_seed<V: DeserializeSeed<'a>>(self, seed: V) -> Result<(V::Value, Data<'a>), Refusal> {
        let variant = seed.deserialize(StrDeserializer::<Refusal>::new(self.kind));
        Ok((variant.map_err(|_| Refusal::Type)?, Data(self.data)))
    }
}

impl<'a> Data<'a> {
    fn json(self) -> serde_json::Deserializer<serde_json::de::StrRead<'a>> {
        serde_json::Deserializer::from_str(self.0.get())
    }
}

impl<'a> VariantAccess<'a> for Data<'a> {
    type Error = Refusal;

    fn unit_variant(self) -> Result<(), Refusal> {
        // A newer program may have added fields to this variant.
        BTreeMap::<String, IgnoredAny>::deserialize(&mut self.json()).map(drop).map_err(refusal)
    }

    fn newtype_variant_seed<T: DeserializeSeed<'a>>(self, seed: T) -> Result<T::Value, Refusal> {
        seed.deserialize(&mut self.json()).map_err(refusal)
    }

    fn tuple_variant<V: Visitor<'a>>(self, fields: usize, visitor: V) -> Result<V::Value, Refusal> {
        self.json().deserialize_tuple(fields, visitor).map_err(refusal)
    }

    fn struct_variant<V: Visitor<'a>>(
        self,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refusal> {
        self.json().deserialize_map(visitor).map_err(refusal)
    }
}

fn refusal(error: serde_json::Error) -> Refusal {
    Refusal::Data(error.to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The field `title` became `label`, and then `name`.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    enum Renamed {
        Created { name: String },
        Closed,
        Counted(u32),
        Moved(u32, u32),
    }

    impl EventType for Renamed {
        const UPCASTERS: &'static [Upcaster] = &[
            Upcaster { kind: "Created", from: 1, step: |data| Ok(json!({"label": data["title"]})) },
            Upcaster {
                kind: "Created",
                from: 2,
                step: |data| match &data["label"] {
                    Value::String(label) => Ok(json!({ "name": label })),
                    other => Err(format!("label is {other}")),
                },
            },
            // The step from schema 1 is missing.
            Upcaster { kind: "Moved", from: 2, step: Ok },
        ];
    }

    fn read(kind: &str, schema: u32, data: &Value) -> Result<Renamed, UnknownEvent> {
        decode(kind, schema, &serde_json::value::to_raw_value(data).unwrap())
    }

    #[test]
    fn a_variants_name_is_the_type_and_its_fields_are_the_data() {
        let of = |event| serde_json::to_string(&EncodedEvent::encode(&event)).unwrap();
        let created = Renamed::Created { name: "a \"lamp\": {}".to_owned() };
        assert_eq!(of(created), r#"{"type":"Created","schema":3,"data":{"name":"a \"lamp\": {}"}}"#);
        assert_eq!(of(Renamed::Closed), r#"{"type":"Closed","schema":1,"data":{}}"#);
        assert_eq!(of(Renamed::Counted(3)), r#"{"type":"Counted","schema":1,"data":3}"#);
        assert_eq!(of(Renamed::Moved(3, 4)), r#"{"type":"Moved","schema":2,"data":[3,4]}"#);
    }

    #[test]
    fn what_is_encoded_is_decoded_whatever_the_variants_form() {
        let created = Renamed::Created { name: "}\":{\"".to_owned() };
        for event in [created, Renamed::Closed, Renamed::Counted(7), Renamed::Moved(1, 2)] {
            assert_eq!(EncodedEvent::encode(&event).decode::<Renamed>().unwrap(), event);
        }
    }

    #[test]
    fn an_event_of_every_former_schema_is_read_as_todays() {
        let today = Renamed::Created { name: "a lamp".to_owned() };
        assert_eq!(read("Created", 1, &json!({"title": "a lamp"})).unwrap(), today);
        assert_eq!(read("Created", 2, &json!({"label": "a lamp"})).unwrap(), today);
        assert_eq!(read("Created", 3, &json!({"name": "a lamp"})).unwrap(), today);
    }

    #[test]
    fn a_step_that_refuses_its_data_names_the_schema_it_read() {
        let error = read("Created", 2, &json!({"label": 7})).unwrap_err();
        assert_eq!(error.to_string(), "the data of Created schema 2 can't be read: label is 7");
    }

    #[test]
    fn a_missing_step_is_an_unknown_schema_and_not_a_guess() {
        let error = read("Moved", 1, &json!([1, 2])).unwrap_err();
        assert!(matches!(error, UnknownEvent::Schema { schema: 1, .. }), "{error}");
    }

    #[test]
    fn a_schema_from_the_future_and_schema_0_are_unknown() {
        for schema in [0, 4] {
            assert!(matches!(read("Created", schema, &json!({})), Err(UnknownEvent::Schema { .. })));
        }
    }

    #[test]
    fn a_type_that_is_not_known_is_told_whatever_its_schema_and_data() {
        for (schema, data) in [(1, json!({})), (0, json!(null)), (9, json!([]))] {
            let error = read("Painted", schema, &data).unwrap_err();
            assert_eq!(error.to_string(), "unknown event type \"Painted\"");
        }
    }

    #[test]
    fn data_of_another_form_is_refused() {
        for (kind, schema, data) in [
            ("Created", 3, json!(["a lamp"])),
            ("Created", 3, json!({})),
            ("Created", 3, json!(null)),
            ("Closed", 1, json!([])),
            ("Closed", 1, json!("Closed")),
            ("Counted", 1, json!({})),
            ("Moved", 2, json!([1])),
        ] {
            let error = read(kind, schema, &data).unwrap_err();
            assert!(matches!(error, UnknownEvent::Data { .. }), "{kind} {data}: {error}");
        }
    }
}
