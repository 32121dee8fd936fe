//! The comparison of two schemas of the same version. Data travels both ways: today's program reads old data, and an older program
//! reads today's. So the shapes have to be equal, but for one thing: a field that need not be there may be new. An older program ignores
//! it, and today's program does without it.

use serde_json::{Map, Value};

/// Keywords that describe and do not constrain (JSON Schema draft 2020-12, "A Vocabulary for Basic Meta-Data Annotations").
const ANNOTATIONS: [&str; 8] =
    ["$comment", "$schema", "default", "deprecated", "description", "examples", "format", "title"];

/// Returns the differences that a reader could not survive: where, and what.
pub(super) fn differences(released: &Value, today: &Value) -> Vec<String> {
    let mut found = Vec::new();
    compare("data", released, today, &mut found);
    found
}

fn compare(at: &str, released: &Value, today: &Value, found: &mut Vec<String>) {
    let (Value::Object(old), Value::Object(new)) = (released, today) else {
        if released != today {
            found.push(format!("{at} was {released} and is {today}"));
        }
        return;
    };
    compare_properties(at, old, new, found);
    let constrains =
        |key: &&String| !ANNOTATIONS.contains(&key.as_str()) && *key != "properties" && *key != "required";
    let keys = old.keys().chain(new.keys().filter(|key| !old.contains_key(*key)));
    for key in keys.filter(constrains) {
        match (old.get(key), new.get(key)) {
            (Some(old), Some(new)) if key == "items" => compare(&format!("{at}[]"), old, new, found),
            (Some(old), Some(new)) if old == new => {}
            (old, new) => {
                let of = |value: Option<&Value>| value.map_or("nothing".to_owned(), Value::to_string);
                found.push(format!("{key} of {at} was {} and is {}", of(old), of(new)));
            }
        }
    }
}

fn compare_properties(at: &str, old: &Map<String, Value>, new: &Map<String, Value>, found: &mut Vec<String>) {
    let none = Map::new();
    let [before, after] =
        [old, new].map(|schema| schema.get("properties").and_then(Value::as_object).unwrap_or(&none));
    let is_required = |schema: &Map<String, Value>, name: &str| {
        schema.get("required").and_then(Value::as_array).is_some_and(|names| names.iter().any(|n| n == name))
    };
    for (name, field) in before {
        let Some(today) = after.get(name) else {
            found.push(format!("{at}.{name} is gone"));
            continue;
        };
        compare(&format!("{at}.{name}"), field, today, found);
        match (is_required(old, name), is_required(new, name)) {
            (false, true) => found.push(format!("{at}.{name} was optional and is required")),
            (true, false) => found.push(format!("{at}.{name} was required and is optional")),
            _ => {}
        }
    }
    let added = after.keys().filter(|name| !before.contains_key(*name) && is_required(new, name));
    found.extend(added.map(|name| format!("{at}.{name} is new and required")));
}
