//! The rules of a pattern for fields, and their check against a value.

use serde_json::{Map, Number, Value};

/// Fields that must all match, and alternatives of which one must.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Fields {
    pub(super) named: Vec<(String, Node)>,
    /// `$or`.
    pub(super) any_of: Vec<Fields>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    Leaf(Rules),
    Fields(Fields),
}

/// Rules of which one must hold.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Rules(pub(super) Vec<Rule>);

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Rule {
    /// null, a boolean, a number or a text (also the empty one).
    Equals(Value),
    EqualsIgnoreCase(String),
    Prefix(String),
    Suffix(String),
    /// None of these holds. They are never `exists` or `anything-but` themselves.
    AnythingBut(Vec<Rule>),
    /// All of these hold.
    Numeric(Vec<(Comparison, f64)>),
    Exists(bool),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Fields {
    /// Returns whether a value's fields match. In a list, one element must match as a whole. A value that is not there, or not an
    /// object, has no fields. It matches only when nothing but `{"exists": false}` is asked for.
    pub(super) fn match_in(&self, value: Option<&Value>) -> bool {
        match value {
            Some(Value::Array(elements)) => elements.iter().any(|element| self.match_in(Some(element))),
            Some(Value::Object(fields)) => self.match_fields(Some(fields)),
            _ => self.match_fields(None),
        }
    }

    fn match_fields(&self, fields: Option<&Map<String, Value>>) -> bool {
        let named = self.named.iter().all(|(name, node)| {
            let value = fields.and_then(|fields| fields.get(name));
            match node {
                Node::Leaf(rules) => rules.match_leaf(value),
                Node::Fields(inner) => inner.match_in(value),
            }
        });
        named && (self.any_of.is_empty() || self.any_of.iter().any(|either| either.match_fields(fields)))
    }
}

impl Rules {
    pub(super) fn match_text(&self, text: &str) -> bool {
        let text = Value::String(text.to_owned());
        self.match_leaf(Some(&text))
    }

    fn match_leaf(&self, value: Option<&Value>) -> bool {
        let leaf = value.filter(|value| is_leaf(value));
        self.0.iter().any(|rule| match (rule, leaf) {
            (Rule::Exists(wanted), leaf) => *wanted == leaf.is_some(),
            (_, None) => false,
            (rule, Some(Value::Array(elements))) => elements.iter().any(|element| rule.holds(element)),
            (rule, Some(value)) => rule.holds(value),
        })
    }
}

/// Returns whether a value is a leaf. An object is no leaf, and a list is one if it has any.
fn is_leaf(value: &Value) -> bool {
    match value {
        Value::Object(_) => false,
        Value::Array(elements) => elements.iter().any(is_leaf),
        _ => true,
    }
}

impl Rule {
    fn holds(&self, value: &Value) -> bool {
        match self {
            Self::Equals(wanted) => wanted == value,
            Self::EqualsIgnoreCase(wanted) => {
                value.as_str().is_some_and(|text| text.to_lowercase() == wanted.to_lowercase())
            }
            Self::Prefix(prefix) => value.as_str().is_some_and(|text| text.starts_with(prefix)),
            Self::Suffix(suffix) => value.as_str().is_some_and(|text| text.ends_with(suffix)),
            Self::AnythingBut(rules) => is_leaf(value) && !rules.iter().any(|rule| rule.holds(value)),
            Self::Numeric(bounds) => value.as_number().and_then(Number::as_f64).is_some_and(|number| {
                bounds.iter().all(|(comparison, bound)| comparison.holds(number, *bound))
            }),
            Self::Exists(wanted) => *wanted == is_leaf(value),
        }
    }
}

impl Comparison {
    fn holds(self, number: f64, bound: f64) -> bool {
        match self {
            // Both were read from a decimal text, so the same text gives the same number.
            Self::Equal => number == bound,
            Self::Less => number < bound,
            Self::LessOrEqual => number <= bound,
            Self::Greater => number > bound,
            Self::GreaterOrEqual => number >= bound,
        }
    }
}
