//! Rules out values before they are parsed. Most records are not for a function that filters. Most patterns ask for a text such as
//! a type's name, and a value without that text need not be parsed.

use memchr::{memchr, memmem};
use serde_json::Value;

use super::rule::{Fields, Node, Rule, Rules};
use super::{Clause, Pattern};

/// Texts of which one must occur in a value for any pattern to match. There are none if the patterns need no certain text.
#[derive(Clone, Debug, Default)]
pub(super) struct Shortcut {
    one_of: Vec<memmem::Finder<'static>>,
}

impl Shortcut {
    pub(super) fn of(patterns: &[Pattern]) -> Self {
        let one_of: Option<Vec<Vec<&str>>> = patterns.iter().map(in_pattern).collect();
        let one_of = one_of.unwrap_or_default().into_iter().flatten();
        Self { one_of: one_of.map(|text| memmem::Finder::new(text).into_owned()).collect() }
    }

    /// Returns whether no pattern can match this value. A value with a backslash may write the text in another way, so it is not
    /// ruled out.
    pub(super) fn rules_out(&self, value: &[u8]) -> bool {
        !self.one_of.is_empty()
            && memchr(b'\\', value).is_none()
            && self.one_of.iter().all(|text| text.find(value).is_none())
    }
}

/// All clauses of a pattern must hold, so the pattern needs each text that one clause needs.
fn in_pattern(Pattern(clauses): &Pattern) -> Option<Vec<&str>> {
    clauses.iter().find_map(|clause| match clause {
        Clause::Fields(fields) => in_fields(fields),
        Clause::Text(_) | Clause::AnyOf(_) => None,
    })
}

fn in_fields(fields: &Fields) -> Option<Vec<&str>> {
    fields.named.iter().find_map(|(_, node)| match node {
        Node::Leaf(rules) => in_rules(rules),
        Node::Fields(fields) => in_fields(fields),
    })
}

/// One of the rules must hold, so each must name its text.
fn in_rules(Rules(rules): &Rules) -> Option<Vec<&str>> {
    rules.iter().map(in_rule).collect()
}

fn in_rule(rule: &Rule) -> Option<&str> {
    match rule {
        Rule::Equals(Value::String(text)) if stands_as_it_is(text) => Some(text),
        _ => None,
    }
}

/// Returns whether JSON can write this text in one way only, if it writes it without a backslash.
fn stands_as_it_is(text: &str) -> bool {
    !text.is_empty() && !text.bytes().any(|byte| byte < 0x20 || byte == b'"' || byte == b'\\')
}

#[cfg(test)]
mod tests {
    use crate::FilterCriteria;

    fn shortcut(pattern: &str, value: &str) -> bool {
        FilterCriteria::parse([pattern]).unwrap().shortcut.rules_out(value.as_bytes())
    }

    const STARTED: &str = r#"{"value":{"type":["Started","Stopped"]}}"#;

    #[test]
    fn a_value_without_any_of_the_texts_is_ruled_out() {
        assert!(shortcut(STARTED, r#"{"type":"Created"}"#));
        assert!(!shortcut(STARTED, r#"{"type":"Stopped"}"#));
        assert!(!shortcut(STARTED, r#"{"type":"Created","note":"Started"}"#), "only a look tells");
    }

    #[test]
    fn a_value_with_escapes_is_looked_at() {
        assert!(!shortcut(STARTED, r#"{"type":"\u0053tarted"}"#));
        let filter = FilterCriteria::parse([STARTED]).unwrap();
        assert!(filter.matches(Some(br#"{"type":"\u0053tarted"}"#)));
    }

    #[test]
    fn a_pattern_that_needs_no_certain_text_rules_nothing_out() {
        for pattern in [
            r#"{"value":{"type":["Started",{"prefix":"S"}]}}"#,
            r#"{"value":{"type":[{"exists":false}]}}"#,
            r#"{"value":{"amount":[1]}}"#,
            r#"{"value":{"type":[""]}}"#,
            r#"{"value":["Started"]}"#,
        ] {
            assert!(!shortcut(pattern, r#"{"type":"Created"}"#), "{pattern}");
        }
        let both = FilterCriteria::parse([STARTED, r#"{"value":{"amount":[1]}}"#]).unwrap();
        assert!(!both.shortcut.rules_out(br#"{"amount":1}"#));
    }

    #[test]
    fn what_one_field_needs_the_pattern_needs() {
        assert!(shortcut(r#"{"value":{"amount":[1],"data":{"kind":["big"]}}}"#, r#"{"amount":1}"#));
    }
}
