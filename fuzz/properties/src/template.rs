//! A template. Lines at its top that begin with `#=` are parameters, as `#=Stage=prod`.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use kafka_trigger::template::{KafkaMapping, Options, StartingPosition, TemplateError, read};
use serde_json::Value;

use crate::values::assert_is_said_shortly;

/// Checks that a mapping has only values that AWS takes, and that every error and warning is short. JSON means the same in every
/// layout.
pub fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let parameters = text.lines().map_while(|line| line.strip_prefix("#=")?.split_once('='));
    let parameters = parameters.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let options = Options { parameters: parameters.collect::<BTreeMap<_, _>>(), ..Options::default() };
    let found = read(text, &options);
    match &found {
        Err(error) => assert_is_said_shortly(&error.to_string()),
        Ok(found) => {
            found.warnings.iter().for_each(|warning| assert_is_said_shortly(warning));
            found.mappings.iter().for_each(assert_is_mapping);
            let disabled = found.disabled.iter().filter_map(|disabled| disabled.mapping.as_ref().ok());
            disabled.for_each(assert_is_mapping);
        }
    }
    assert_layout_means_nothing(text, &options);
}

fn assert_is_mapping(found: &KafkaMapping) {
    let mapping = &found.mapping;
    found.notes.iter().for_each(|note| assert_is_said_shortly(note));
    assert!((1..=10_000).contains(&mapping.batch_size), "{found:?}");
    assert!(mapping.window <= Duration::from_secs(300), "{found:?}");
    assert!(mapping.maximum_retry_attempts.is_none_or(|attempts| attempts <= 10_000), "{found:?}");
    let age = Duration::from_secs(60)..=Duration::from_secs(604_800);
    assert!(mapping.maximum_record_age.is_none_or(|longest| age.contains(&longest)), "{found:?}");
    let timeout = Duration::from_secs(1)..=Duration::from_secs(900);
    assert!(timeout.contains(&found.function.timeout), "{found:?}");
    let is_topic = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    assert!((1..=249).contains(&found.topic.len()) && found.topic.chars().all(is_topic), "{found:?}");
    assert!(!found.logical_id.is_empty() && !found.function.invoke_name().is_empty(), "{found:?}");
    if let Some(group) = &found.consumer_group {
        assert!((1..=200).contains(&group.chars().count()), "{found:?}");
    }
    if let Some(pollers) = found.pollers {
        assert!((1..=200).contains(&pollers.minimum) && (1..=2000).contains(&pollers.maximum), "{found:?}");
        assert!(pollers.minimum <= pollers.maximum, "{found:?}");
    }
    if let StartingPosition::AtTimestamp(milliseconds) = found.starting_position {
        assert!(milliseconds >= 0, "{found:?}");
    }
}

fn assert_layout_means_nothing(text: &str, options: &Options) {
    let Ok(json @ Value::Object(_)) = serde_json::from_str(text) else { return };
    // After parsing, each name is there once and numbers have one form.
    let (close, wide) = (json.to_string(), serde_json::to_string_pretty(&json).expect("JSON is written"));
    assert_eq!(told(read(&close, options)), told(read(&wide, options)));
}

fn told(found: Result<impl Debug, TemplateError>) -> String {
    match found {
        Ok(found) => format!("{found:?}"),
        // The position of the error differs between layouts.
        Err(TemplateError::Syntax { .. }) => "a syntax error".to_owned(),
        Err(error) => error.to_string(),
    }
}
