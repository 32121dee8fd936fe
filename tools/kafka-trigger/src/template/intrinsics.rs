//! Evaluates intrinsic functions, as the pages of the CloudFormation "Intrinsic function reference" describe them.

use serde_json::Value as Json;

use super::evaluate::{EvalResult, Evaluator, NODE, as_text, unknown, wrong};
use super::node::Node;
use super::substitute::{self, Piece};
use super::value::{EvalError, Value, names};

impl Evaluator<'_> {
    /// Returns the value of an intrinsic function.
    pub(super) fn call(&self, name: &str, given: &Node, whole: &Node) -> EvalResult {
        match name {
            "Ref" => match given.text() {
                Some(name) => self.reference(name, whole),
                None => wrong(format!("{whole}: Ref must be given a name")),
            },
            "Fn::GetAtt" => self.attribute(given, whole),
            "Fn::Sub" => self.substitute(given, whole),
            "Fn::If" => {
                let [condition, yes, no] = self.arguments(given, whole, "a condition and two values")?;
                let Some(name) = condition.text() else {
                    return wrong(format!("{whole}: Fn::If must be given the name of a condition"));
                };
                self.value(if self.condition(name)? { yes } else { no })
            }
            "Fn::FindInMap" => self.find_in_map(given, whole),
            "Fn::Join" => {
                let [between, list] = self.arguments(given, whole, "a delimiter and a list")?;
                let between = self.text(between)?;
                let texts = self.list(list)?.into_iter().map(|value| as_text(value, whole));
                self.text_of(self.joined(&texts.collect::<EvalResult<Vec<_>>>()?, &between)?)
            }
            "Fn::Select" => self.select(given, whole),
            "Fn::Split" => {
                let [at, text] = self.arguments(given, whole, "a delimiter and a text")?;
                let (at, text) = (self.text(at)?, self.text(text)?);
                if at.is_empty() {
                    return wrong(format!("{whole}: the delimiter must not be empty"));
                }
                self.spend(NODE * text.matches(&at).count())?;
                Ok(Value::List(text.split(&at).map(|part| Value::Text(part.to_owned())).collect()))
            }
            "Fn::Length" => {
                let list = self.list(given)?;
                // An element that is not known counts too.
                Ok(Value::Text(list.len().to_string()))
            }
            "Fn::ToJsonString" => {
                let json = self.json(given)?;
                self.text_of(json.to_string())
            }
            "Fn::ImportValue" => {
                let name = self.text(given)?;
                let key = format!("ImportValue.{name}");
                let why =
                    format!("which another stack exports; give it a value with --parameter {key}=VALUE");
                self.given_text(&key).unwrap_or_else(|| unknown(whole, why))
            }
            _ => {
                unknown(whole, "a function that is not followed here; write the value itself, or a parameter")
            }
        }
    }

    fn substitute(&self, given: &Node, whole: &Node) -> EvalResult {
        let (text, variables) = match given {
            Node::List(_) => {
                let [text, variables] = self.arguments(given, whole, "a text and a map of variables")?;
                (text, variables.map())
            }
            text => (text, None),
        };
        let Some(text) = text.text() else { return wrong(format!("{whole}: Fn::Sub must be given a text")) };
        let mut whole_text = String::new();
        for piece in substitute::pieces(text).map_err(EvalError::Wrong)? {
            let Piece::Variable(name) = piece else {
                if let Piece::Text(text) = piece {
                    whole_text.push_str(text);
                }
                continue;
            };
            let value = match (variables.and_then(|variables| variables.get(name)), name.split_once('.')) {
                (Some(variable), _) => self.value(variable)?,
                (None, Some((resource, attribute))) if self.resource_reference(name).is_none() => {
                    self.attribute_of(resource, attribute, format_args!("${{{name}}} in {whole}"))?
                }
                _ => self.reference(name, format_args!("${{{name}}} in {whole}"))?,
            };
            match value {
                Value::Text(text) => whole_text.push_str(&text),
                other => {
                    return wrong(format!("${{{name}}} in {whole} must be a text, and is {}", other.shown()));
                }
            }
        }
        self.text_of(whole_text)
    }

    /// Returns a part as JSON. The value of an intrinsic function is a text, or is made of texts.
    fn json(&self, node: &Node) -> EvalResult<Json> {
        self.spend(NODE)?;
        self.deeper(|| match node {
            Node::Null => Ok(Json::Null),
            Node::Bare(text) => Ok(serde_json::from_str(text).unwrap_or_else(|_| Json::String(text.clone()))),
            Node::List(list) => {
                let present = list.iter().filter(|node| !node.is_no_value());
                present.map(|node| self.json(node)).collect::<EvalResult<_>>().map(Json::Array)
            }
            Node::Map(map) if node.intrinsic().is_none() => {
                let present = map.iter().filter(|(_, node)| !node.is_no_value());
                let entries = present.map(|(name, node)| Ok((name.clone(), self.json(node)?)));
                entries.collect::<EvalResult<_>>().map(Json::Object)
            }
            other => json_of(self.value(other)?),
        })
    }

    fn find_in_map(&self, given: &Node, whole: &Node) -> EvalResult {
        let (keys, default) = match given.list() {
            Some([keys @ .., default]) if keys.len() == 3 => (keys, default.get("DefaultValue")),
            Some(keys) if keys.len() == 3 => (keys, None),
            _ => return wrong(format!("{whole}: Fn::FindInMap must be given a map and two keys")),
        };
        let keys = keys.iter().map(|key| self.text(key)).collect::<EvalResult<Vec<_>>>()?;
        let mut found = self.template.get("Mappings");
        for key in &keys {
            let within = found;
            found = within.and_then(|within| within.get(key));
            match (found, default) {
                (None, Some(default)) => return self.value(default),
                (None, None) => {
                    let there = within.and_then(Node::map).map(|map| names(map.keys().map(String::as_str)));
                    let there = there.unwrap_or_else(|| "(none)".to_owned());
                    return wrong(format!("{whole}: Mappings have no {key} there, but: {there}"));
                }
                _ => {}
            }
        }
        found.map_or(Ok(Value::Absent), |found| self.value(found))
    }

    fn select(&self, given: &Node, whole: &Node) -> EvalResult {
        let [index, list] = self.arguments(given, whole, "an index and a list")?;
        let index = self.text(index)?;
        let list = self.list(list)?;
        let count = list.len();
        let place = index.trim().parse::<usize>().ok();
        match place.and_then(|place| list.into_iter().nth(place)) {
            Some(Value::Unknown(unknown)) => Err(EvalError::Unknown(unknown)),
            Some(value) => Ok(value),
            None => {
                wrong(format!("{whole}: the index is {index}, and the list has {count} elements, from 0"))
            }
        }
    }

    pub(super) fn arguments<'n, const N: usize>(
        &self,
        given: &'n Node,
        whole: &Node,
        allowed: &str,
    ) -> EvalResult<&'n [Node; N]> {
        let arguments = given.list().and_then(|list| list.try_into().ok());
        arguments.ok_or_else(|| EvalError::Wrong(format!("{whole} must be given {allowed}")))
    }

    fn joined(&self, texts: &[String], between: &str) -> EvalResult<String> {
        let length = texts.iter().map(String::len).sum::<usize>() + between.len() * texts.len();
        self.spend(length)?;
        Ok(texts.join(between))
    }
}

fn json_of(value: Value) -> EvalResult<Json> {
    Ok(match value {
        Value::Absent => Json::Null,
        Value::Text(text) => Json::String(text),
        Value::List(list) => Json::Array(list.into_iter().map(json_of).collect::<EvalResult<_>>()?),
        Value::Map(map) => {
            let entries = map.into_iter().map(|(name, value)| Ok((name, json_of(value)?)));
            Json::Object(entries.collect::<EvalResult<_>>()?)
        }
        Value::Unknown(unknown) => return Err(EvalError::Unknown(unknown)),
    })
}
