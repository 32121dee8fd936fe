//! A second, naive implementation of filters: it reads the pattern's JSON again for each value. The patterns must be valid.

use serde_json::{Map, Value};

/// Returns whether any of the patterns lets the value through. Without a pattern, everything passes.
pub(crate) fn passes(patterns: &[Value], value: &[u8]) -> bool {
    let json = serde_json::from_slice(value).ok().filter(Value::is_object);
    let text = std::str::from_utf8(value).ok().filter(|_| json.is_none());
    patterns.is_empty() || patterns.iter().any(|pattern| whole(pattern, json.as_ref(), text))
}

fn whole(pattern: &Value, json: Option<&Value>, text: Option<&str>) -> bool {
    object(pattern).iter().all(|(name, wanted)| match (name.as_str(), wanted) {
        ("$or", either) => list(either).iter().any(|pattern| whole(pattern, json, text)),
        (_, Value::Array(rules)) => text.is_some_and(|text| leaf(rules, Some(&text.into()))),
        (_, wanted) => json.is_some_and(|json| fields(object(wanted), Some(json))),
    })
}

fn fields(wanted: &Map<String, Value>, found: Option<&Value>) -> bool {
    if let Some(Value::Array(elements)) = found {
        return elements.iter().any(|element| fields(wanted, Some(element)));
    }
    wanted.iter().all(|(name, wanted)| match wanted {
        // All alternatives are matched against this same object, so lists are not searched again.
        either if name == "$or" => list(either).iter().any(|wanted| fields(object(wanted), found)),
        Value::Array(rules) => leaf(rules, found.and_then(|found| found.get(name))),
        inner => fields(object(inner), found.and_then(|found| found.get(name))),
    })
}

fn leaf(rules: &[Value], found: Option<&Value>) -> bool {
    let found = found.filter(|found| is_leaf(found));
    rules.iter().any(|rule| match (rule.get("exists"), found) {
        (Some(exists), _) => *exists == Value::Bool(found.is_some()),
        (None, None) => false,
        (None, Some(Value::Array(elements))) => elements.iter().any(|element| holds(rule, element)),
        (None, Some(found)) => holds(rule, found),
    })
}

fn is_leaf(value: &Value) -> bool {
    match value {
        Value::Object(_) => false,
        Value::Array(elements) => elements.iter().any(is_leaf),
        _ => true,
    }
}

fn holds(rule: &Value, found: &Value) -> bool {
    let Value::Object(operator) = rule else { return rule == found };
    let (operator, operand) = operator.iter().next().expect("a rule has one operator");
    let text = |holds: fn(&str, &str) -> bool| {
        found.as_str().is_some_and(|text| holds(text, operand.as_str().expect("a text")))
    };
    match operator.as_str() {
        "prefix" => text(|text, prefix| text.starts_with(prefix)),
        "suffix" => text(|text, suffix| text.ends_with(suffix)),
        "equals-ignore-case" => text(|text, other| text.to_lowercase() == other.to_lowercase()),
        "numeric" => found.as_f64().is_some_and(|number| {
            list(operand)
                .chunks(2)
                .all(|pair| compares(number, &pair[0], pair[1].as_f64().expect("a number")))
        }),
        "anything-but" => is_leaf(found) && !excepted(operand, found),
        other => panic!("{other} is no operator"),
    }
}

/// Returns whether `anything-but` excludes the value: by a literal, by a list of literals, or by an operator with one text or
/// several.
fn excepted(operand: &Value, found: &Value) -> bool {
    match operand {
        Value::Array(literals) => literals.contains(found),
        Value::Object(operator) => operator.iter().all(|(operator, texts)| {
            let some = texts.as_array().map_or(std::slice::from_ref(texts), Vec::as_slice);
            some.iter()
                .any(|text| holds(&Value::Object(Map::from_iter([(operator.clone(), text.clone())])), found))
        }),
        literal => literal == found,
    }
}

fn compares(number: f64, comparison: &Value, bound: f64) -> bool {
    match comparison.as_str() {
        Some("=") => number == bound,
        Some("<") => number < bound,
        Some("<=") => number <= bound,
        Some(">") => number > bound,
        _ => number >= bound,
    }
}

fn object(value: &Value) -> &Map<String, Value> {
    value.as_object().expect("an object")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("a list")
}
