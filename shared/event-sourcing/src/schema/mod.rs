//! The contract of events, as JSON Schema (draft 2020-12).
//!
//! - [`of_events`] derives the schemas of today's events from their enum, so that nobody writes them twice.
//! - [`check`] compares them with the schemas that were released. It names each change that stored events or other programs could
//!   not survive, and the remedy.
//! - [`async_api`] describes the topic for programs in any language (AsyncAPI 3.0).
//!
//! The feature `schema` is for tests and for programs that show the contract. A function has no use for it.

mod async_api;
mod check;
mod compare;

use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

pub use async_api::{Topic, async_api};
pub use check::{Breach, check};
pub use schemars::{self, JsonSchema};

use crate::event::{EventType, current_schema};

/// The shape of one version of an event type's data.
#[derive(Clone, Debug, PartialEq)]
pub struct EventSchema {
    /// The type's name.
    pub kind: String,
    /// The schema version, from 1.
    pub version: u32,
    /// The JSON Schema of `data`. Its `examples` are data of this version.
    pub data: Value,
}

impl EventSchema {
    /// Returns the name of the file that keeps it: `Opened.1.json`.
    #[must_use]
    pub fn file_name(&self) -> String {
        format!("{}.{}.json", self.kind, self.version)
    }

    /// Reads a schema that was kept in a file of this name.
    ///
    /// # Errors
    /// When the name is not `TYPE.VERSION.json`.
    pub fn from_file(name: &str, data: Value) -> Result<Self, String> {
        let parts = name.strip_suffix(".json").and_then(|name| name.rsplit_once('.'));
        let parsed = parts.and_then(|(kind, version)| Some((kind.to_owned(), version.parse().ok()?)));
        let (kind, version) = parsed
            .ok_or_else(|| format!("{name:?} is not the name of a schema; allowed: TYPE.VERSION.json"))?;
        Ok(Self { kind, version, data })
    }

    fn examples(&self) -> &[Value] {
        self.data["examples"].as_array().map_or(&[], Vec::as_slice)
    }
}

/// Returns the schemas of today's events, one for each variant of the enum. A sample becomes an example of its type's
/// schema. Each type needs one: [`check`] says which has none.
#[must_use]
pub fn of_events<E: EventType + JsonSchema>(samples: &[E]) -> Vec<EventSchema> {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    let root = settings.into_generator().into_root_schema_for::<E>().to_value();
    let alternatives = match root["oneOf"].as_array() {
        Some(alternatives) => alternatives.clone(),
        // An enum whose variants have neither fields nor documentation is one list of names.
        None => vec![root],
    };
    let mut schemas: Vec<EventSchema> = alternatives.iter().flat_map(variants).collect();
    for schema in &mut schemas {
        schema.version = current_schema::<E>(&schema.kind);
        let encoded = samples.iter().map(crate::EncodedEvent::encode);
        let of_this = encoded.filter(|event| event.kind == schema.kind);
        // What was encoded is JSON.
        let examples: Vec<Value> =
            of_this.filter_map(|event| serde_json::from_str(event.data.get()).ok()).collect();
        schema.data["examples"] = examples.into();
    }
    schemas
}

/// The variants that one alternative of serde's externally tagged form describes: `{"NAME":DATA}`, or names alone.
fn variants(alternative: &Value) -> Vec<EventSchema> {
    let described = |kind: &str, mut data: Value| {
        if let Some(description) = alternative.get("description") {
            data["description"] = description.clone();
        }
        EventSchema { kind: kind.to_owned(), version: 1, data }
    };
    if let Some(fields) = alternative["properties"].as_object() {
        return fields.iter().map(|(kind, data)| described(kind, data.clone())).collect();
    }
    let names =
        alternative["enum"].as_array().map_or(std::slice::from_ref(&alternative["const"]), Vec::as_slice);
    let names = names.iter().filter_map(Value::as_str);
    names.map(|kind| described(kind, json!({"type": "object"}))).collect()
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    use super::*;

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
    enum Documented {
        /// The account was opened.
        Opened { owner: String, limit: Option<i64> },
        /// The account was closed.
        Closed,
    }

    impl EventType for Documented {}

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
    enum Bare {
        Begun,
        Ended,
    }

    impl EventType for Bare {}

    #[test]
    fn each_variant_has_the_schema_of_its_data_with_its_documentation_and_its_samples() {
        let opened = Documented::Opened { owner: "Ada".to_owned(), limit: None };
        let schemas = of_events(&[opened, Documented::Closed]);
        let names: Vec<_> = schemas.iter().map(EventSchema::file_name).collect();
        assert_eq!(names, ["Opened.1.json", "Closed.1.json"]);
        let opened = &schemas[0].data;
        assert_eq!(opened["properties"]["owner"], json!({"type": "string"}));
        assert_eq!(opened["required"], json!(["owner"]));
        assert_eq!(opened["description"], "The account was opened.");
        assert_eq!(opened["examples"], json!([{"owner": "Ada", "limit": null}]));
        assert_eq!(
            schemas[1].data,
            json!({"type": "object", "description": "The account was closed.", "examples": [{}]})
        );
    }

    #[test]
    fn variants_of_an_enum_without_fields_have_a_schema_each() {
        let schemas = of_events::<Bare>(&[Bare::Begun, Bare::Ended]);
        let kinds: Vec<_> = schemas.iter().map(|schema| schema.kind.as_str()).collect();
        assert_eq!(kinds, ["Begun", "Ended"]);
        assert!(schemas.iter().all(|schema| schema.data == json!({"type": "object", "examples": [{}]})));
    }

    #[test]
    fn the_name_of_a_file_says_type_and_version() {
        let read = |name: &str| {
            EventSchema::from_file(name, Value::Null).map(|schema| (schema.kind, schema.version))
        };
        assert_eq!(read("Opened.12.json"), Ok(("Opened".to_owned(), 12)));
        for name in ["Opened.json", "Opened.one.json", "1.json", "Opened.1.yaml"] {
            assert!(read(name).unwrap_err().contains("TYPE.VERSION.json"), "{name}");
        }
    }
}
