//! Reads `Parameters`. Their values come from the caller, or else from their defaults, and are checked by the template's rules. A
//! wrong parameter is an error only for the parts that refer to it.

use std::collections::BTreeMap;

use regex_lite::Regex;

use super::Options;
use super::error::TemplateError;
use super::node::Node;
use super::value::{Value, names};

/// The longest value that CloudFormation takes, in bytes.
const LONGEST: usize = 4096;

/// A parameter's value.
#[derive(Clone, Debug)]
pub(super) enum Parameter {
    Known {
        value: Value,
        /// A note about a check that was not possible.
        note: Option<String>,
    },
    /// It has no default, and the caller gave no value.
    Missing,
    /// It is the name of an SSM parameter, whose value is not known here.
    InSsm,
    /// Its value, or its declaration, is not allowed. The text says why.
    Wrong(String),
}

/// The parameters of a template, by name.
pub(super) type Parameters = BTreeMap<String, Parameter>;

/// Reads all parameters.
pub(super) fn read(template: &Node, options: &Options) -> Result<Parameters, TemplateError> {
    let Some(parameters) = template.get("Parameters") else { return Ok(Parameters::new()) };
    let Some(parameters) = parameters.map() else {
        return Err(TemplateError::Structure { problem: "Parameters must be a map".to_owned() });
    };
    let read = |(name, declaration): (&String, &Node)| {
        let declared = ParameterDeclaration { declaration };
        let given = options.parameters.get(name).or(options.defaults.get(name));
        let parameter = declared.value(given.map(String::as_str), name);
        let wrong = |problem| Parameter::Wrong(format!("parameter {name}: {problem}"));
        (name.clone(), parameter.unwrap_or_else(wrong))
    };
    Ok(parameters.iter().map(read).collect())
}

struct ParameterDeclaration<'a> {
    declaration: &'a Node,
}

impl ParameterDeclaration<'_> {
    fn value(&self, given: Option<&str>, name: &str) -> Result<Parameter, String> {
        let kind =
            self.text("Type").ok_or("it has no Type; it must be String, Number, CommaDelimitedList…")?;
        let in_ssm = kind.strip_prefix("AWS::SSM::Parameter::Value<").and_then(|kind| kind.strip_suffix('>'));
        if given.is_none() && in_ssm.is_some() {
            return Ok(Parameter::InSsm);
        }
        let Some(value) = given.or(self.text("Default")) else { return Ok(Parameter::Missing) };
        if value.len() > LONGEST {
            return Err(format!("its value has {} bytes; at most {LONGEST} are allowed", value.len()));
        }
        let kind = in_ssm.unwrap_or(kind);
        let element = kind.strip_prefix("List<").and_then(|kind| kind.strip_suffix('>'));
        let values = match (kind, element) {
            ("CommaDelimitedList", _) | (_, Some(_)) if value.is_empty() => Vec::new(),
            ("CommaDelimitedList", _) | (_, Some(_)) => value.split(',').map(str::trim).collect(),
            ("String" | "Number", None) => vec![value],
            (aws, None) if aws.starts_with("AWS::") => vec![value],
            _ => {
                return Err(format!(
                    "its Type is {kind}; it must be String, Number, CommaDelimitedList, List<…>, or an AWS:: type"
                ));
            }
        };
        let mut note = None;
        for value in &values {
            note = note.or(self.check(value, element.unwrap_or(kind), name)?);
        }
        let is_list = kind == "CommaDelimitedList" || element.is_some();
        let mut values = values.into_iter().map(|value| Value::Text(value.to_owned()));
        let value = match is_list {
            true => Value::List(values.collect()),
            false => values.next().unwrap_or(Value::Absent),
        };
        Ok(Parameter::Known { value, note })
    }

    /// Checks a value. Returns a note about a check that was not possible.
    fn check(&self, value: &str, kind: &str, name: &str) -> Result<Option<String>, String> {
        let hidden = self.text("NoEcho").is_some_and(|flag| flag.eq_ignore_ascii_case("true"));
        let shown = if hidden { "its value" } else { value };
        if kind == "Number" {
            self.check_number(value, shown)?;
        } else {
            self.check_length(value, shown)?;
        }
        if let Some(allowed) = self.declaration.get("AllowedValues").and_then(Node::list) {
            let allowed = || allowed.iter().filter_map(Node::text);
            if !allowed().any(|text| text == value) {
                return Err(self.explain(&format!("{shown} is not one of: {}", names(allowed()))));
            }
        }
        let Some(pattern) = self.text("AllowedPattern") else { return Ok(None) };
        match Regex::new(&format!("^(?:{pattern})$")) {
            Ok(pattern) if pattern.is_match(value) => Ok(None),
            Ok(_) => Err(self.explain(&format!("{shown} does not match the AllowedPattern {pattern}"))),
            Err(_) => Ok(Some(format!(
                "parameter {name}: its AllowedPattern uses syntax that is not supported here, so its value was not checked"
            ))),
        }
    }

    fn check_number(&self, value: &str, shown: &str) -> Result<(), String> {
        let number = |text: &str| text.trim().parse::<f64>().ok().filter(|number| number.is_finite());
        let Some(value) = number(value) else { return Err(format!("{shown} is not a number")) };
        let limit = |name| self.text(name).and_then(number);
        if let Some(least) = limit("MinValue").filter(|least| value < *least) {
            return Err(self.explain(&format!("{shown} is less than its MinValue {least}")));
        }
        if let Some(most) = limit("MaxValue").filter(|most| value > *most) {
            return Err(self.explain(&format!("{shown} is more than its MaxValue {most}")));
        }
        Ok(())
    }

    fn check_length(&self, value: &str, shown: &str) -> Result<(), String> {
        let length = value.chars().count();
        let limit = |name| self.text(name).and_then(|text| text.trim().parse::<usize>().ok());
        if let Some(least) = limit("MinLength").filter(|least| length < *least) {
            return Err(self.explain(&format!("{shown} is shorter than its MinLength {least}")));
        }
        if let Some(most) = limit("MaxLength").filter(|most| length > *most) {
            return Err(self.explain(&format!("{shown} is longer than its MaxLength {most}")));
        }
        Ok(())
    }

    /// Returns a problem, with the template's own explanation of it.
    fn explain(&self, problem: &str) -> String {
        match self.text("ConstraintDescription") {
            Some(explanation) => format!("{problem} ({explanation})"),
            None => problem.to_owned(),
        }
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.declaration.get(name)?.text()
    }
}
