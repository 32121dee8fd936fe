//! Lambda's event filtering, as the AWS pages "Control which events Lambda sends to your function" and "Filtering events from
//! Amazon MSK and self-managed Apache Kafka event sources" have it. For Kafka a pattern is about the record's value alone.
//!
//! | the value is | a pattern of fields, `{"value": {"type": […]}}` | a pattern of text, `{"value": […]}` |
//! |---|---|---|
//! | a JSON object | is matched with it | drops it |
//! | any other text | drops it | is matched with it |
//! | none, or no text | drops it | drops it |
//!
//! One difference: Lambda compares numbers by their text, so that 300 and 300.0 differ. Here 3.0e2 and 300.0 are one number, and
//! 300 is another.

mod parse;
mod rule;
mod shortcut;

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;

use self::rule::{Fields, Node, Rule, Rules};
use self::shortcut::Shortcut;

/// The filter of a mapping: a record is passed to the function if it matches any of the patterns. Without patterns, all records are
/// passed.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(try_from = "CriteriaText")]
pub struct FilterCriteria {
    patterns: Vec<Pattern>,
    shortcut: Shortcut,
}

/// Two filters are equal if their patterns are, whatever the layout of the patterns' text.
impl PartialEq for FilterCriteria {
    fn eq(&self, other: &Self) -> bool {
        self.patterns == other.patterns
    }
}

/// A pattern. All of its clauses must hold.
#[derive(Clone, Debug, PartialEq)]
struct Pattern(Vec<Clause>);

#[derive(Clone, Debug, PartialEq)]
enum Clause {
    /// The value is JSON, and has these fields.
    Fields(Fields),
    /// The value is text, for which one of these holds.
    Text(Rules),
    /// `$or`.
    AnyOf(Vec<Pattern>),
}

/// A text is not a valid pattern.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("filter {number}, at {place}: {problem}")]
pub struct FilterError {
    /// The pattern's number, from 1.
    pub number: usize,
    /// The place in the pattern, such as `value.type`.
    pub place: String,
    /// A description of what is wrong there and what is allowed.
    pub problem: Cow<'static, str>,
}

/// The most patterns that Lambda takes (by default 5; a quota can raise it to this).
pub const MOST_PATTERNS: usize = 10;

impl FilterCriteria {
    /// Reads patterns, each a JSON text such as `{"value": {"type": ["OrderCreated"]}}`.
    ///
    /// # Errors
    /// [`FilterError`] on the first that is not valid, or when there are more than [`MOST_PATTERNS`].
    pub fn parse<P: AsRef<str>>(patterns: impl IntoIterator<Item = P>) -> Result<Self, FilterError> {
        let read = |(place, pattern): (usize, P)| parse::pattern(place + 1, pattern.as_ref());
        let patterns: Vec<Pattern> =
            patterns.into_iter().enumerate().map(read).collect::<Result<_, FilterError>>()?;
        if patterns.len() > MOST_PATTERNS {
            let problem =
                format!("there are {} filters; at most {MOST_PATTERNS} are allowed", patterns.len());
            return Err(FilterError {
                number: patterns.len(),
                place: "Filters".to_owned(),
                problem: problem.into(),
            });
        }
        Ok(Self { shortcut: Shortcut::of(&patterns), patterns })
    }

    /// Makes a filter that passes the records whose value has this text in this field: the pattern `{"value": {field: [text]}}`.
    #[must_use]
    pub fn field_is(field: &str, text: &str) -> Self {
        let rules = Rules(vec![Rule::Equals(Value::from(text))]);
        let fields = Fields { named: vec![(field.to_owned(), Node::Leaf(rules))], any_of: Vec::new() };
        let patterns = vec![Pattern(vec![Clause::Fields(fields)])];
        Self { shortcut: Shortcut::of(&patterns), patterns }
    }

    /// Returns whether every record passes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Returns whether a record with this value is passed to the function.
    #[must_use]
    pub fn matches(&self, value: Option<&[u8]>) -> bool {
        if self.patterns.is_empty() {
            return true;
        }
        if value.is_none_or(|value| self.shortcut.rules_out(value)) {
            return false;
        }
        let Some(content) = value.and_then(Content::of) else { return false };
        self.patterns.iter().any(|pattern| pattern.matches(&content))
    }
}

/// A record's value, parsed once for all patterns.
enum Content<'a> {
    Json(Value),
    Text(&'a str),
}

impl<'a> Content<'a> {
    fn of(value: &'a [u8]) -> Option<Self> {
        match serde_json::from_slice(value) {
            Ok(json @ Value::Object(_)) => Some(Self::Json(json)),
            _ => std::str::from_utf8(value).ok().map(Self::Text),
        }
    }
}

impl Pattern {
    fn matches(&self, content: &Content<'_>) -> bool {
        self.0.iter().all(|clause| match (clause, content) {
            (Clause::Fields(fields), Content::Json(json)) => fields.match_in(Some(json)),
            (Clause::Text(rules), Content::Text(text)) => rules.match_text(text),
            (Clause::AnyOf(patterns), _) => patterns.iter().any(|pattern| pattern.matches(content)),
            _ => false,
        })
    }
}

/// The criteria as a template has them: `{"Filters": [{"Pattern": "…"}]}`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct CriteriaText {
    filters: Vec<FilterText>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct FilterText {
    pattern: String,
}

impl TryFrom<CriteriaText> for FilterCriteria {
    type Error = FilterError;

    fn try_from(written: CriteriaText) -> Result<Self, FilterError> {
        Self::parse(written.filters.into_iter().map(|filter| filter.pattern))
    }
}

#[cfg(test)]
mod tests;
