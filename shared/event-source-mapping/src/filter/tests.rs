//! Tests every operator that AWS lists, where it holds and where it does not.

use super::*;

/// Returns whether the pattern lets the value through.
fn passes(pattern: &str, value: &str) -> bool {
    FilterCriteria::parse([pattern]).unwrap().matches(Some(value.as_bytes()))
}

/// Returns whether the rule for the field `f` lets an object through.
fn rule(rule: &str, value: &str) -> bool {
    passes(&format!(r#"{{"value": {{"f": {rule}}}}}"#), value)
}

fn refused(pattern: &str) -> String {
    FilterCriteria::parse([pattern]).unwrap_err().to_string()
}

#[test]
fn without_a_pattern_everything_passes() {
    let criteria = FilterCriteria::default();
    assert!(criteria.is_empty());
    for value in [None, Some(&b"text"[..]), Some(&[255][..]), Some(b"{}")] {
        assert!(criteria.matches(value));
    }
}

#[test]
fn patterns_are_alternatives() {
    let criteria = FilterCriteria::parse([r#"{"value": {"a": [1]}}"#, r#"{"value": {"b": [2]}}"#]).unwrap();
    assert!(criteria.matches(Some(br#"{"a": 1}"#)));
    assert!(criteria.matches(Some(br#"{"b": 2}"#)));
    assert!(!criteria.matches(Some(br#"{"a": 2, "b": 1}"#)));
}

#[test]
fn the_fields_of_a_pattern_must_all_match() {
    let pattern = r#"{"value": {"a": [1], "b": {"c": ["x"]}}}"#;
    assert!(passes(pattern, r#"{"a": 1, "b": {"c": "x", "d": 0}, "e": null}"#));
    assert!(!passes(pattern, r#"{"a": 1, "b": {"c": "y"}}"#));
    assert!(!passes(pattern, r#"{"a": 1, "b": "x"}"#));
    assert!(!passes(pattern, r#"{"a": 1}"#));
}

#[test]
fn null_empty_and_equals() {
    assert!(rule("[null]", r#"{"f": null}"#));
    assert!(!rule("[null]", "{}"), "what is missing is not null");
    assert!(!rule("[null]", r#"{"f": ""}"#));
    assert!(rule(r#"[""]"#, r#"{"f": ""}"#));
    assert!(!rule(r#"[""]"#, r#"{"f": null}"#));
    assert!(rule(r#"["Alice"]"#, r#"{"f": "Alice"}"#));
    assert!(!rule(r#"["Alice"]"#, r#"{"f": "alice"}"#));
    assert!(rule("[true]", r#"{"f": true}"#));
    assert!(!rule("[1]", r#"{"f": "1"}"#));
    assert!(!rule("[300]", r#"{"f": 300.0}"#), "as Lambda compares numbers");
}

#[test]
fn equals_ignore_case() {
    let pattern = r#"[{"equals-ignore-case": "ÄlicE"}]"#;
    assert!(rule(pattern, r#"{"f": "älice"}"#));
    assert!(!rule(pattern, r#"{"f": "bob"}"#));
    assert!(!rule(pattern, r#"{"f": 1}"#));
}

#[test]
fn prefix_and_suffix() {
    assert!(rule(r#"[{"prefix": "us-"}]"#, r#"{"f": "us-east-1"}"#));
    assert!(!rule(r#"[{"prefix": "us-"}]"#, r#"{"f": "eu-us-"}"#));
    assert!(rule(r#"[{"suffix": ".png"}]"#, r#"{"f": "a.png"}"#));
    assert!(!rule(r#"[{"suffix": ".png"}]"#, r#"{"f": "a.png.txt"}"#));
    assert!(!rule(r#"[{"prefix": ""}]"#, r#"{"f": 1}"#));
}

#[test]
fn anything_but() {
    for pattern in [r#"[{"anything-but": "Raining"}]"#, r#"[{"anything-but": ["Raining", "Snowing"]}]"#] {
        assert!(rule(pattern, r#"{"f": "Sunny"}"#));
        assert!(rule(pattern, r#"{"f": 1}"#));
        assert!(!rule(pattern, r#"{"f": "Raining"}"#));
        assert!(!rule(pattern, "{}"), "there must be something");
    }
    assert!(!rule(r#"[{"anything-but": [1, 2]}]"#, r#"{"f": 2}"#));
    assert!(rule(r#"[{"anything-but": {"prefix": "a"}}]"#, r#"{"f": "ba"}"#));
    assert!(!rule(r#"[{"anything-but": {"prefix": ["a", "b"]}}]"#, r#"{"f": "ba"}"#));
    assert!(!rule(r#"[{"anything-but": {"suffix": "a"}}]"#, r#"{"f": "ba"}"#));
    assert!(!rule(r#"[{"anything-but": {"equals-ignore-case": "BA"}}]"#, r#"{"f": "ba"}"#));
}

#[test]
fn numeric() {
    assert!(rule(r#"[{"numeric": ["=", 100]}]"#, r#"{"f": 100}"#));
    assert!(rule(r#"[{"numeric": ["=", 3e2]}]"#, r#"{"f": 300}"#));
    let range = r#"[{"numeric": [">", 10, "<=", 20.5]}]"#;
    for (number, inside) in [("10", false), ("10.1", true), ("20.5", true), ("21", false), ("-11", false)] {
        assert_eq!(rule(range, &format!(r#"{{"f": {number}}}"#)), inside, "{number}");
    }
    assert!(rule(r#"[{"numeric": [">=", -1, "<", 1]}]"#, r#"{"f": -1}"#));
    assert!(!rule(range, r#"{"f": "15"}"#));
}

#[test]
fn exists_is_about_leaves() {
    assert!(rule(r#"[{"exists": true}]"#, r#"{"f": 0}"#));
    assert!(rule(r#"[{"exists": true}]"#, r#"{"f": null}"#));
    assert!(rule(r#"[{"exists": true}]"#, r#"{"f": [1]}"#));
    assert!(!rule(r#"[{"exists": true}]"#, "{}"));
    assert!(!rule(r#"[{"exists": true}]"#, r#"{"f": {"g": 1}}"#), "an object is no leaf");
    assert!(rule(r#"[{"exists": false}]"#, "{}"));
    assert!(!rule(r#"[{"exists": false}]"#, r#"{"f": 0}"#));
    assert!(passes(r#"{"value": {"f": {"g": [{"exists": false}]}}}"#, "{}"));
}

#[test]
fn a_list_of_rules_are_alternatives() {
    let pattern = r#"["Credit", {"prefix": "De"}, {"exists": false}]"#;
    assert!(rule(pattern, r#"{"f": "Credit"}"#));
    assert!(rule(pattern, r#"{"f": "Debit"}"#));
    assert!(rule(pattern, "{}"));
    assert!(!rule(pattern, r#"{"f": "Cash"}"#));
}

#[test]
fn of_a_list_in_a_value_any_element_may_match() {
    assert!(rule(r#"["b"]"#, r#"{"f": ["a", "b"]}"#));
    assert!(!rule(r#"["c"]"#, r#"{"f": ["a", "b"]}"#));
    let pattern = r#"{"value": {"f": {"a": [1], "b": [2]}}}"#;
    assert!(passes(pattern, r#"{"f": [{"a": 0}, {"a": 1, "b": 2}]}"#));
    assert!(!passes(pattern, r#"{"f": [{"a": 1}, {"b": 2}]}"#), "one element must match as a whole");
}

#[test]
fn or_is_about_several_fields() {
    let pattern = r#"{"value": {"a": [1], "$or": [{"b": [2]}, {"c": {"d": [3]}}]}}"#;
    assert!(passes(pattern, r#"{"a": 1, "b": 2}"#));
    assert!(passes(pattern, r#"{"a": 1, "c": {"d": 3}}"#));
    assert!(!passes(pattern, r#"{"a": 1, "b": 3}"#));
    assert!(!passes(pattern, r#"{"b": 2}"#));
    let top = r#"{"$or": [{"value": {"a": [1]}}, {"value": ["plain"]}]}"#;
    assert!(passes(top, r#"{"a": 1}"#));
    assert!(passes(top, "plain"));
    assert!(!passes(top, "other"));
}

#[test]
fn a_value_that_is_no_json_object_is_dropped_by_a_pattern_of_fields() {
    let pattern = r#"{"value": {"f": [{"exists": false}]}}"#;
    let criteria = FilterCriteria::parse([pattern]).unwrap();
    for value in [None, Some(&b"text"[..]), Some(b""), Some(b"[1]"), Some(b"{\"f\""), Some(&[0xff, 0xfe])] {
        assert!(!criteria.matches(value), "{value:?}");
    }
    assert!(criteria.matches(Some(b"{}")));
}

#[test]
fn a_pattern_of_text_is_for_plain_text() {
    assert!(passes(r#"{"value": ["ready", {"prefix": "go"}]}"#, "ready"));
    assert!(passes(r#"{"value": ["ready", {"prefix": "go"}]}"#, "going"));
    assert!(!passes(r#"{"value": ["ready"]}"#, "not ready"));
    assert!(!passes(r#"{"value": [{"exists": true}]}"#, "{}"), "JSON is dropped");
}

#[test]
fn an_invalid_pattern_is_refused_with_the_place_and_what_is_allowed() {
    for (pattern, said) in [
        ("{", "filter 1, at the top: not JSON"),
        ("[]", "at the top: must be an object"),
        ("{}", "at the top: must be an object with at least one field"),
        (r#"{"key": ["a"]}"#, "at key: a pattern for Kafka is about \"value\" alone"),
        (r#"{"value": "a"}"#, "at value: must be a list of rules, or an object"),
        (r#"{"value": {"a": 1}}"#, "at value.a: must be a list of rules"),
        (r#"{"value": {"a": []}}"#, "at value.a: must be a list with at least one element"),
        (r#"{"value": {"a": {"b": [[1]]}}}"#, "at value.a.b: a rule can't be a list"),
        (
            r#"{"value": {"a": [{"matches": "x"}]}}"#,
            "at value.a.matches: unknown operator; allowed: anything-but,",
        ),
        (r#"{"value": {"a": [{"prefix": "x", "suffix": "y"}]}}"#, "at value.a: a rule has one operator"),
        (r#"{"value": {"a": [{"prefix": 1}]}}"#, "at value.a.prefix: must be a text"),
        (r#"{"value": {"a": [{"exists": "yes"}]}}"#, "at value.a.exists: must be true or false"),
        (r#"{"value": {"a": [{"numeric": [">"]}]}}"#, "at value.a.numeric: must be one or two comparisons"),
        (r#"{"value": {"a": [{"numeric": ["~", 1]}]}}"#, "unknown comparison; allowed: =, <, <=, >, >="),
        (
            r#"{"value": {"a": [{"anything-but": [[1]]}]}}"#,
            "at value.a.anything-but: must be texts or numbers",
        ),
        (r#"{"value": {"a": [{"anything-but": {"numeric": ["=", 1]}}]}}"#, "at value.a.anything-but.numeric"),
        (r#"{"value": {"$or": {"a": [1]}}}"#, "at value.$or: must be a list"),
        (r#"{"value": {"$or": [{"a": 1}]}}"#, "at value.$or.0.a: must be a list of rules"),
    ] {
        let refusal = refused(pattern);
        assert!(refusal.contains(said), "{pattern}: {refusal}");
    }
}

#[test]
fn what_is_said_of_a_pattern_is_never_long() {
    let long = "n".repeat(100_000);
    for pattern in [format!(r#"{{"{long}": []}}"#), format!(r#"{{"value": {{"{long}": 1}}}}"#)] {
        let refusal = refused(&pattern);
        assert!(refusal.len() < 1_500, "{} bytes", refusal.len());
    }
}

#[test]
fn more_than_ten_patterns_are_refused() {
    let patterns = |count| vec![r#"{"value": {"a": [1]}}"#; count];
    assert!(FilterCriteria::parse(patterns(10)).is_ok());
    let refusal = FilterCriteria::parse(patterns(11)).unwrap_err().to_string();
    assert!(refusal.contains("there are 11 filters; at most 10"), "{refusal}");
}

#[test]
fn criteria_are_read_as_a_template_has_them() {
    let criteria: FilterCriteria =
        serde_json::from_str(r#"{"Filters": [{"Pattern": "{\"value\": {\"type\": [\"ItemSold\"]}}"}]}"#)
            .unwrap();
    assert!(criteria.matches(Some(br#"{"type": "ItemSold"}"#)));
    assert!(!criteria.matches(Some(br#"{"type": "ItemReturned"}"#)));
    let error = serde_json::from_str::<FilterCriteria>(r#"{"Filters": [{"Pattern": "{}"}]}"#).unwrap_err();
    assert!(error.to_string().contains("filter 1"), "{error}");
}
