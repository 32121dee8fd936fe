//! Checks JSON by a JSON Schema.

use std::error::Error;

use jsonschema::{Draft, Retrieve, Uri, Validator};
use serde_json::Value;

/// A schema.
pub(super) struct JsonSchema(Validator);

impl JsonSchema {
    /// Reads a schema and its references, by the names that the schema uses for them. It fetches nothing from anywhere else.
    pub(super) fn new(text: &str, references: &[(String, String)]) -> Result<Self, String> {
        let parse = |text: &str| {
            serde_json::from_str::<Value>(text).map_err(|error| format!("it is not JSON: {error}"))
        };
        let schema = parse(text)?;
        let references = references.iter().map(|(name, text)| Ok((name.clone(), parse(text)?)));
        let references = References(references.collect::<Result<_, String>>()?);
        let mut options = jsonschema::options().with_retriever(references);
        if schema.get("$schema").is_none() {
            // The serializers use this draft too.
            options = options.with_draft(Draft::Draft7);
        }
        options.build(&schema).map(Self).map_err(|error| error.to_string())
    }

    pub(super) fn check(&self, json: &[u8]) -> Result<(), String> {
        let value: Value =
            serde_json::from_slice(json).map_err(|error| format!("it is not JSON: {error}"))?;
        self.0.validate(&value).map_err(|error| match error.instance_path().to_string() {
            place if place.is_empty() => error.to_string(),
            place => format!("{place}: {error}"),
        })
    }
}

struct References(Vec<(String, Value)>);

impl Retrieve for References {
    fn retrieve(&self, uri: &Uri<String>) -> Result<Value, Box<dyn Error + Send + Sync>> {
        let uri = uri.as_str();
        // The crate jsonschema has appended a relative name to the base of the schema that contains the name.
        let is_it =
            |name: &str| uri == name || uri.strip_suffix(name).is_some_and(|base| base.ends_with('/'));
        let found = self.0.iter().find(|(name, _)| is_it(name)).map(|(_, schema)| schema.clone());
        found.ok_or_else(|| format!("it refers to {uri}, which is not among its references").into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn references(all: &[(&str, &str)]) -> Vec<(String, String)> {
        all.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
    }

    #[test]
    fn json_is_checked_and_what_is_wrong_has_its_place() {
        let schema =
            JsonSchema::new(r#"{"type":"object","properties":{"lines":{"items":{"minimum":1}}}}"#, &[])
                .unwrap();
        assert_eq!(schema.check(br#"{"lines":[1,2]}"#), Ok(()));
        let error = schema.check(br#"{"lines":[1,0]}"#).unwrap_err();
        assert!(error.starts_with("/lines/1: 0 is less than"), "{error}");
        assert!(schema.check(b"7").unwrap_err().contains("is not of type"));
        assert!(schema.check(b"{").unwrap_err().starts_with("it is not JSON"));
    }

    #[test]
    fn references_are_found_by_their_names_and_nowhere_else() {
        let product = ("product.json", r#"{"type":"object","required":["price"]}"#);
        for schema in [
            r#"{"properties":{"product":{"$ref":"product.json"}}}"#,
            r#"{"$id":"https://example.com/order.json","properties":{"product":{"$ref":"product.json"}}}"#,
            r#"{"$schema":"https://json-schema.org/draft/2020-12/schema","properties":{"product":{"$ref":"product.json#"}}}"#,
        ] {
            let schema = JsonSchema::new(schema, &references(&[product])).unwrap();
            assert_eq!(schema.check(br#"{"product":{"price":1}}"#), Ok(()));
            assert!(schema.check(br#"{"product":{}}"#).unwrap_err().contains("price"));
        }
        let error = JsonSchema::new(r#"{"$ref":"http://127.0.0.1:9/product.json"}"#, &references(&[])).err();
        assert!(error.unwrap().contains("product.json"));
    }

    #[test]
    fn without_its_own_a_schema_has_the_draft_of_the_serializers() {
        // In later drafts, `items` can't be a list.
        let schema = JsonSchema::new(r#"{"items":[{"type":"string"}]}"#, &[]).unwrap();
        assert!(schema.check(b"[1]").is_err());
    }

    #[test]
    fn a_schema_that_is_none_says_why() {
        for text in ["{", r#"{"type":"nothing"}"#] {
            assert!(JsonSchema::new(text, &[]).is_err());
        }
    }
}
