//! A template as it is written: a tree of texts, lists and maps.
//!
//! A scalar is its text, since CloudFormation turns booleans and numbers into texts, and texts into them, as a property wants it.
//! Short tags are in their long form, as `{"Ref": …}` and `{"Fn::Sub": …}`.

use std::collections::BTreeMap;
use std::fmt;

/// Names and what stands under them.
pub(super) type Map = BTreeMap<String, Node>;

/// A part of a template.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    Null,
    Text(String),
    /// The text of a boolean or a number; JSON has it without quotes.
    Bare(String),
    List(Vec<Node>),
    Map(Map),
}

impl Node {
    /// What stands under a name, when this is a map that has it and it is not null.
    pub(super) fn get(&self, name: &str) -> Option<&Node> {
        self.map()?.get(name).filter(|node| !matches!(node, Node::Null))
    }

    /// What stands under names within names.
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

    /// `AWS::NoValue`: it is as if it were not there.
    pub(super) fn is_no_value(&self) -> bool {
        self.get("Ref").and_then(Node::text) == Some("AWS::NoValue")
    }

    /// An intrinsic function and what it is given, when this is one: a map with one name, which is `Ref`, `Condition` or begins
    /// with `Fn::`.
    pub(super) fn intrinsic(&self) -> Option<(&str, &Node)> {
        let map = self.map()?;
        let (name, given) = map.first_key_value().filter(|_| map.len() == 1)?;
        let is_one = name == "Ref" || name == "Condition" || name.starts_with("Fn::");
        is_one.then_some((name, given))
    }
}

/// The longest that a part of a template may be when it is shown in a message, in characters.
const SHOWN: usize = 80;

/// As it would be written in YAML with short tags, cut off when it is long: for messages.
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
    // What is cut off anyhow is not written.
    if text.len() > 4 * SHOWN {
        return;
    }
    match node {
        Node::Null => text.push_str("null"),
        Node::Text(scalar) | Node::Bare(scalar) => text.extend(scalar.chars().take(SHOWN + 1)),
        Node::List(elements) => {
            text.push('[');
            // No more than fit, at a character and a comma each.
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
