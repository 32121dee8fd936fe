//! What a part of a template is once its intrinsic functions are evaluated.

use std::collections::BTreeMap;

use event_source_mapping::message::cut;

/// An evaluated part. Within lists and maps what can't be known stays as such, so that it matters only where it is needed.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    /// `AWS::NoValue`, or null.
    Absent,
    Text(String),
    List(Vec<Value>),
    Map(BTreeMap<String, Value>),
    Unknown(Unknown),
}

/// Something whose value only a deployment knows, or that was not given.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Unknown {
    /// What stood there, as `!Ref Cluster`.
    pub(super) written: String,
    /// Why it has no value, and how to give it one: the second half of a sentence.
    pub(super) why: String,
}

/// Why something has no value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Trouble {
    /// It can't be known here.
    Unknown(Unknown),
    /// It is not written as it must be.
    Wrong(String),
}

impl Value {
    /// In a message.
    pub(super) fn shown(&self) -> String {
        match self {
            Value::Absent => "not there".to_owned(),
            Value::Text(text) if text.is_empty() => "empty".to_owned(),
            Value::Text(text) => shorten(text),
            Value::List(list) => format!("a list of {}", list.len()),
            Value::Map(_) => "a map".to_owned(),
            Value::Unknown(unknown) => unknown.written.clone(),
        }
    }
}

/// A text, cut off when it is long, for messages.
pub(super) fn shorten(text: &str) -> String {
    cut(text, 80)
}

/// Names in a message: `a, b, c`, cut off when there are many.
pub(super) fn names<'a>(names: impl Iterator<Item = &'a str>) -> String {
    const SHOWN: usize = 20;
    let mut names: Vec<&str> = names.take(SHOWN + 1).collect();
    if names.len() > SHOWN {
        names.pop();
        names.push("…");
    }
    if names.is_empty() { "(none)".to_owned() } else { shorten_each(&names).join(", ") }
}

fn shorten_each(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| shorten(name)).collect()
}
