//! Input: patterns, one a line; after an empty line, the value that they are matched against.

use event_source_mapping::FilterCriteria;
use serde_json::{Value, json};

use crate::naive_filter;
use crate::values::assert_is_said_shortly;

/// Checks that valid patterns decide as a plain reading of them does, also when a template has them. Invalid patterns are refused
/// with a short message. A record without a value passes only when there is no pattern.
pub fn check(bytes: &[u8]) {
    let (patterns, value) = split(bytes);
    let Ok(patterns) = std::str::from_utf8(patterns) else { return };
    let patterns: Vec<&str> = patterns.lines().collect();
    let in_template =
        json!({"Filters": patterns.iter().map(|text| json!({"Pattern": text})).collect::<Vec<_>>()});
    let in_template = serde_json::from_value::<FilterCriteria>(in_template);
    match FilterCriteria::parse(&patterns) {
        Err(error) => {
            assert!((1..=patterns.len()).contains(&error.number), "{error}");
            assert_is_said_shortly(&error.to_string());
            assert!(in_template.is_err(), "a template takes what is refused: {error}");
        }
        Ok(criteria) => {
            let in_template = in_template.expect("a template takes what is taken");
            let plain: Vec<Value> =
                patterns.iter().map(|text| serde_json::from_str(text).expect("a pattern is JSON")).collect();
            let passes = naive_filter::passes(&plain, value);
            assert_eq!(criteria.matches(Some(value)), passes);
            assert_eq!(in_template.matches(Some(value)), passes);
            assert_eq!(criteria.matches(None), patterns.is_empty());
            assert_eq!(criteria.is_empty(), patterns.is_empty());
        }
    }
}

fn split(bytes: &[u8]) -> (&[u8], &[u8]) {
    let at = bytes.windows(2).position(|pair| pair == b"\n\n");
    at.map_or((bytes, &[][..]), |at| (&bytes[..at], &bytes[at + 2..]))
}
