//! Parses a template in JSON into its tree. The JSON parser limits the depth.

use std::cell::RefCell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::node::{Map, Node};

/// Parses JSON. If a name stands twice in a map, the last value counts, and a warning says so.
pub(super) fn parse(text: &str, warnings: &mut Vec<String>) -> Result<Node, serde_json::Error> {
    let noted = RefCell::default();
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let node = NodeReader(&noted).deserialize(&mut deserializer)?;
    deserializer.end()?;
    warnings.append(&mut noted.into_inner());
    Ok(node)
}

/// Reads a part, and collects warnings.
#[derive(Clone, Copy)]
struct NodeReader<'a>(&'a RefCell<Vec<String>>);

impl<'de> DeserializeSeed<'de> for NodeReader<'_> {
    type Value = Node;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for NodeReader<'_> {
    type Value = Node;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Bare(value.to_string()))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Bare(value.to_string()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Bare(value.to_string()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Bare(super::scalars::float(value)))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Node, A::Error> {
        let mut list = Vec::new();
        while let Some(element) = elements.next_element_seed(self)? {
            list.push(element);
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
        let mut map = Map::new();
        while let Some(name) = entries.next_key::<String>()? {
            let value = entries.next_value_seed(self)?;
            if map.contains_key(&name) {
                self.0.borrow_mut().push(super::value::duplicate_key(&name));
            }
            map.insert(name, value);
        }
        Ok(Node::Map(map))
    }
}
