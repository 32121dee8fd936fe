//! Reads a schema from JSON into types that refer to each other by index.

use std::collections::HashMap;

use serde_json::Value;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum AvroType {
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
pub(super) enum Primitive {
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

/// Reads a schema and its references, which may be in any order. Returns the types and the index of the schema's own.
pub(super) fn read(text: &str, references: &[(String, String)]) -> Result<(Vec<AvroType>, usize), String> {
    let schema = parse(text)?;
    let pending = references.iter().map(|(_, text)| parse(text)).collect::<Result<_, _>>()?;
    let mut reader = SchemaReader { types: Vec::new(), names: HashMap::new(), pending };
    let root = reader.read(&schema, "")?;
    Ok((reader.types, root))
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
