//! The value of a template's part, with its intrinsic functions evaluated.

use std::collections::BTreeMap;

use event_source_mapping::message::cut;

/// An evaluated part. A list or a map may contain unknown values. They are an error only where they are needed.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    /// `AWS::NoValue`, or null.
    Absent,
    Text(String),
    List(Vec<Value>),
    Map(BTreeMap<String, Value>),
    Unknown(UnknownValue),
}

/// A value that only a deployment knows, or that the caller did not give.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct UnknownValue {
    /// The text in the template, such as `!Ref Cluster`.
    pub(super) written: String,
    /// The reason why it has no value, and the way to give it one: the second half of a sentence.
    pub(super) why: String,
}

/// The reason why a part has no value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum EvalError {
    /// The value can't be known here.
    Unknown(UnknownValue),
    /// The part has the wrong form.
    Wrong(String),
}

impl Value {
    /// Describes the value in a message.
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

/// Cuts off a long text, for messages.
pub(super) fn shorten(text: &str) -> String {
    cut(text, 80)
}

/// Returns the warning about a name that stands twice in one map. The last one counts, as in other readers of templates.
pub(super) fn duplicate_key(name: &str) -> String {
    format!("{} stands twice in one map; the last one counts", shorten(name))
}

/// Lists names in a message: `a, b, c`. A long list is cut off.
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
