//! Reads patterns from their JSON. An error says the place and what is allowed there.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::rule::{Comparison, Fields, Node, Rule, Rules};
use super::{Clause, FilterError, Pattern};
use crate::message::message;

const ALTERNATIVES: &str = "$or";

pub(super) fn pattern(number: usize, text: &str) -> Result<Pattern, FilterError> {
    let read = match serde_json::from_str(text) {
        Ok(json) => top(&PatternPlace::default(), &json),
        Err(error) => PatternPlace::default().refuse(format!("not JSON: {error}")),
    };
    read.map_err(|PatternProblem { place, problem }| FilterError {
        number,
        place: message(&place),
        problem: message(&problem).into(),
    })
}

struct PatternProblem {
    place: String,
    problem: Cow<'static, str>,
}

/// A place in a pattern, for errors.
#[derive(Clone, Default)]
struct PatternPlace(String);

impl PatternPlace {
    fn at(&self, name: &str) -> Self {
        if self.0.is_empty() { Self(name.to_owned()) } else { Self(format!("{}.{name}", self.0)) }
    }

    fn refuse<T>(&self, problem: impl Into<Cow<'static, str>>) -> Result<T, PatternProblem> {
        let place = if self.0.is_empty() { "the top" } else { &self.0 };
        Err(PatternProblem { place: place.to_owned(), problem: problem.into() })
    }

    fn object<'a>(&self, json: &'a Value) -> Result<&'a Map<String, Value>, PatternProblem> {
        match json {
            Value::Object(fields) if !fields.is_empty() => Ok(fields),
            _ => self.refuse("must be an object with at least one field"),
        }
    }

    fn text(&self, json: &Value) -> Result<String, PatternProblem> {
        match json {
            Value::String(text) => Ok(text.clone()),
            _ => self.refuse("must be a text"),
        }
    }

    fn list<'a>(&self, json: &'a Value) -> Result<&'a [Value], PatternProblem> {
        match json {
            Value::Array(elements) if !elements.is_empty() => Ok(elements),
            _ => self.refuse("must be a list with at least one element"),
        }
    }
}

fn top(place: &PatternPlace, json: &Value) -> Result<Pattern, PatternProblem> {
    let clauses = place.object(json)?.iter().map(|(name, json)| {
        let place = place.at(name);
        match (name.as_str(), json) {
            ("value", Value::Array(_)) => rules(&place, json).map(Clause::Text),
            ("value", Value::Object(_)) => fields(&place, json).map(Clause::Fields),
            ("value", _) => place.refuse("must be a list of rules, or an object of fields"),
            (ALTERNATIVES, _) => alternatives(&place, json, top).map(Clause::AnyOf),
            _ => place.refuse("a pattern for Kafka is about \"value\" alone"),
        }
    });
    clauses.collect::<Result<_, _>>().map(Pattern)
}

fn fields(place: &PatternPlace, json: &Value) -> Result<Fields, PatternProblem> {
    let mut fields = Fields::default();
    for (name, json) in place.object(json)? {
        let place = place.at(name);
        match json {
            _ if name == ALTERNATIVES => fields.any_of = alternatives(&place, json, self::fields)?,
            Value::Array(_) => fields.named.push((name.clone(), Node::Leaf(rules(&place, json)?))),
            Value::Object(_) => fields.named.push((name.clone(), Node::Fields(self::fields(&place, json)?))),
            _ => return place.refuse("must be a list of rules, or an object of fields"),
        }
    }
    Ok(fields)
}

fn alternatives<T>(
    place: &PatternPlace,
    json: &Value,
    read: impl Fn(&PatternPlace, &Value) -> Result<T, PatternProblem>,
) -> Result<Vec<T>, PatternProblem> {
    let elements = place.list(json)?.iter().enumerate();
    elements.map(|(number, json)| read(&place.at(&number.to_string()), json)).collect()
}

fn rules(place: &PatternPlace, json: &Value) -> Result<Rules, PatternProblem> {
    place.list(json)?.iter().map(|json| rule(place, json)).collect::<Result<_, _>>().map(Rules)
}

fn rule(place: &PatternPlace, json: &Value) -> Result<Rule, PatternProblem> {
    let operator = match json {
        Value::Array(_) => return place.refuse("a rule can't be a list"),
        Value::Object(operator) => operator,
        literal => return Ok(Rule::Equals(literal.clone())),
    };
    let mut operators = operator.iter();
    let (Some((name, operand)), None) = (operators.next(), operators.next()) else {
        return place.refuse("a rule has one operator");
    };
    let place = place.at(name);
    match (name.as_str(), operand) {
        ("equals-ignore-case", _) => place.text(operand).map(Rule::EqualsIgnoreCase),
        ("prefix", _) => place.text(operand).map(Rule::Prefix),
        ("suffix", _) => place.text(operand).map(Rule::Suffix),
        ("anything-but", _) => anything_but(&place, operand).map(Rule::AnythingBut),
        ("numeric", _) => numeric(&place, operand).map(Rule::Numeric),
        ("exists", Value::Bool(wanted)) => Ok(Rule::Exists(*wanted)),
        ("exists", _) => place.refuse("must be true or false"),
        _ => place.refuse(format!("unknown operator; allowed: {OPERATORS}")),
    }
}

const OPERATORS: &str = "anything-but, equals-ignore-case, exists, numeric, prefix, suffix";

/// A literal, a list of literals, or one operator on texts with a text or a list of texts.
fn anything_but(place: &PatternPlace, json: &Value) -> Result<Vec<Rule>, PatternProblem> {
    let literal = |json: &Value| match json {
        Value::Array(_) | Value::Object(_) => place.refuse("must be texts or numbers"),
        literal => Ok(Rule::Equals(literal.clone())),
    };
    match json {
        Value::Array(_) => place.list(json)?.iter().map(literal).collect(),
        Value::Object(operator) => {
            let mut operators = operator.iter();
            match (operators.next(), operators.next()) {
                (Some((name, operand)), None) => except(&place.at(name), name, operand),
                _ => place.refuse("one operator is allowed"),
            }
        }
        _ => literal(json).map(|rule| vec![rule]),
    }
}

fn except(place: &PatternPlace, name: &str, operand: &Value) -> Result<Vec<Rule>, PatternProblem> {
    let rule = match name {
        "prefix" => Rule::Prefix,
        "suffix" => Rule::Suffix,
        "equals-ignore-case" => Rule::EqualsIgnoreCase,
        _ => return place.refuse("unknown operator; allowed: equals-ignore-case, prefix, suffix"),
    };
    match operand {
        Value::Array(_) => place.list(operand)?.iter().map(|text| place.text(text).map(rule)).collect(),
        _ => Ok(vec![rule(place.text(operand)?)]),
    }
}

fn numeric(place: &PatternPlace, json: &Value) -> Result<Vec<(Comparison, f64)>, PatternProblem> {
    const EXPECTED: &str = "must be one or two comparisons and numbers, as in [\">\", 0, \"<=\", 5]";
    let pairs = place.list(json)?;
    if !matches!(pairs.len(), 2 | 4) {
        return place.refuse(EXPECTED);
    }
    let bound = |pair: &[Value]| {
        let comparison = match pair[0].as_str() {
            Some("=") => Comparison::Equal,
            Some("<") => Comparison::Less,
            Some("<=") => Comparison::LessOrEqual,
            Some(">") => Comparison::Greater,
            Some(">=") => Comparison::GreaterOrEqual,
            _ => return place.refuse("unknown comparison; allowed: =, <, <=, >, >="),
        };
        match pair[1].as_f64() {
            Some(number) => Ok((comparison, number)),
            None => place.refuse(EXPECTED),
        }
    };
    pairs.chunks_exact(2).map(bound).collect()
}
