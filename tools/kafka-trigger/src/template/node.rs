//! A template as it is written: a tree of texts, lists and maps.
//!
//! A scalar is its text, because CloudFormation turns booleans and numbers into texts, and texts into them, as a property needs
//! it. Short tags are in their long form, such as `{"Ref": …}` and `{"Fn::Sub": …}`.

use std::collections::BTreeMap;
use std::fmt;

/// The entries of a map: names, and the parts under them.
pub(super) type Map = BTreeMap<String, Node>;

/// A part of a template.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    Null,
    Text(String),
    /// The text of a boolean or a number. JSON writes it without quotes.
    Bare(String),
    List(Vec<Node>),
    Map(Map),
}

impl Node {
    /// Returns the part under a name, if this is a map that has the name, and the part is not null.
    pub(super) fn get(&self, name: &str) -> Option<&Node> {
        self.map()?.get(name).filter(|node| !matches!(node, Node::Null))
    }

    /// Returns the part under a path of names.
    pub(super) fn at(&self, path: &[&str]) -> Option<&Node> {
        path.iter().try_fold(self, |node, name| node.get(name))
    }

    pub(super) fn text(&self) -> Option<&str> {
        if let Node::Text(text) | Node::Bare(text) = self { Some(text) } else { None }
    }

    pub(super) fn list(&self) -> Option<&[Node]> {
        if let Node::List(list) = self { Some(list) } else { None }
    }

    pub(super) fn map(&self) -> Option<&Map> {
        if let Node::Map(map) = self { Some(map) } else { None }
    }

    /// Is this `AWS::NoValue`? Such a part counts as absent.
    pub(super) fn is_no_value(&self) -> bool {
        self.get("Ref").and_then(Node::text) == Some("AWS::NoValue")
    }

    /// Returns the name and the argument of an intrinsic function, if this is one. It is a map with a single name, which is `Ref`
    /// or `Condition`, or begins with `Fn::`.
    pub(super) fn intrinsic(&self) -> Option<(&str, &Node)> {
        let map = self.map()?;
        let (name, given) = map.first_key_value().filter(|_| map.len() == 1)?;
        let is_one = name == "Ref" || name == "Condition" || name.starts_with("Fn::");
        is_one.then_some((name, given))
    }
}

/// The longest text of a part in a message, in characters.
const SHOWN: usize = 80;

/// Writes the part in YAML with short tags, for messages. A long text is cut off.
impl fmt::Display for Node {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        write_flow(self, &mut text);
        match text.char_indices().nth(SHOWN) {
            None => formatter.write_str(&text),
            Some((end, _)) => write!(formatter, "{}…", &text[..end]),
        }
    }
}

fn write_flow(node: &Node, text: &mut String) {
    // The rest would be cut off, so it is not written.
    if text.len() > 4 * SHOWN {
        return;
    }
    match node {
        Node::Null => text.push_str("null"),
        Node::Text(scalar) | Node::Bare(scalar) => text.extend(scalar.chars().take(SHOWN + 1)),
        Node::List(elements) => {
            text.push('[');
            // No more elements than fit, with one character and a comma each.
            for (place, element) in elements.iter().take(SHOWN).enumerate() {
                text.push_str(if place == 0 { "" } else { ", " });
                write_flow(element, text);
            }
            text.push(']');
        }
        Node::Map(map) => match (node.intrinsic(), map) {
            (Some(("Fn::GetAtt", Node::List(parts))), _) => {
                let parts: Vec<String> = parts.iter().take(SHOWN).map(ToString::to_string).collect();
                text.push_str("!GetAtt ");
                text.push_str(&parts.join("."));
            }
            (Some((name, given)), _) => {
                text.push('!');
                text.push_str(name.trim_start_matches("Fn::"));
                text.push(' ');
                write_flow(given, text);
            }
            (None, map) => write_map(map, text),
        },
    }
}

fn write_map(map: &Map, text: &mut String) {
    text.push('{');
    for (place, (name, value)) in map.iter().take(SHOWN).enumerate() {
        text.push_str(if place == 0 { "" } else { ", " });
        text.extend(name.chars().take(SHOWN));
        text.push_str(": ");
        write_flow(value, text);
    }
    text.push('}');
}
