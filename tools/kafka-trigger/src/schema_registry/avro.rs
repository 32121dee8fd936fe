//! Decodes Avro's binary encoding to JSON, as the "Apache Avro Specification" 1.12 defines both, with one exception. A value of a
//! union has no type name around it, because filters and functions expect a nullable field to be plain. A logical type is
//! ignored: its value is that of the underlying type. Bytes are a text with the characters 0 to 255.
//!
//! The crate `apache-avro` is not used, for three reasons. It reads a truncated text or boolean as null, but a check must refuse
//! it. It loses the order of maps. It does not give access to a decimal's bytes.

mod datum;
mod schema;
#[cfg(test)]
mod tests;

use self::datum::Datum;
use self::schema::{AvroType, Primitive};
use super::wire::Framing;

/// A schema.
pub(super) struct Avro {
    /// The types. They refer to each other by index.
    types: Vec<AvroType>,
    root: usize,
}

impl Avro {
    /// Reads a schema and its references, which may be in any order.
    pub(super) fn new(text: &str, references: &[(String, String)]) -> Result<Self, String> {
        let (types, root) = schema::read(text, references)?;
        Ok(Self { types, root })
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
        let mut datum = Datum::new(&self.types, bytes, json);
        if self.types[self.root] == AvroType::Primitive(Primitive::Bytes) && framing == Framing::Confluent {
            // Confluent's serializers write a value of type bytes without its length.
            datum.latin1(bytes);
            return Ok(());
        }
        datum.read(self.root)
    }
}
