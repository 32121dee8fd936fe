//! `Parameters`: their values, from the caller or else their defaults, checked against what the template allows.

use std::collections::BTreeMap;

use regex_lite::Regex;

use super::error::TemplateError;
use super::node::Node;
use super::value::{Value, names};

/// The longest value that CloudFormation takes, in bytes.
const LONGEST: usize = 4096;

/// A parameter's value.
#[derive(Clone, Debug)]
pub(super) enum Parameter {
    Known(Value),
    /// It has no default, and none was given.
    Missing,
    /// It is the name of an SSM parameter, whose value is not known here.
    InSsm,
}

/// The parameters of a template, by name.
pub(super) type Parameters = BTreeMap<String, Parameter>;

/// Reads them all. What can't be checked is named in `warnings`.
pub(super) fn read(
    template: &Node,
    given: &BTreeMap<String, String>,
    warnings: &mut Vec<String>,
) -> Result<Parameters, TemplateError> {
    let Some(parameters) = template.get("Parameters") else { return Ok(Parameters::new()) };
    let Some(parameters) = parameters.map() else {
        return Err(TemplateError::Structure { problem: "Parameters must be a map".to_owned() });
    };
    parameters
        .iter()
        .map(|(name, declaration)| {
            let declared = Declared { declaration };
            let parameter = declared.value(given.get(name).map(String::as_str), name, warnings);
            let wrong = |problem| TemplateError::Parameter { name: name.clone(), problem };
            Ok((name.clone(), parameter.map_err(wrong)?))
        })
        .collect()
}

struct Declared<'a> {
    declaration: &'a Node,
}

impl Declared<'_> {
    fn value(
        &self,
        given: Option<&str>,
        name: &str,
        warnings: &mut Vec<String>,
    ) -> Result<Parameter, String> {
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
        for value in &values {
            self.check(value, element.unwrap_or(kind), name, warnings)?;
        }
        let is_list = kind == "CommaDelimitedList" || element.is_some();
        let mut values = values.into_iter().map(|value| Value::Text(value.to_owned()));
        Ok(Parameter::Known(match is_list {
            true => Value::List(values.collect()),
            false => values.next().unwrap_or(Value::Absent),
        }))
    }

    fn check(&self, value: &str, kind: &str, name: &str, warnings: &mut Vec<String>) -> Result<(), String> {
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
        let Some(pattern) = self.text("AllowedPattern") else { return Ok(()) };
        match Regex::new(&format!("^(?:{pattern})$")) {
            Ok(pattern) if pattern.is_match(value) => Ok(()),
            Ok(_) => Err(self.explain(&format!("{shown} does not match the AllowedPattern {pattern}"))),
            Err(_) => {
                warnings.push(format!(
                    "parameter {name}: its AllowedPattern is of a kind that is not checked here"
                ));
                Ok(())
            }
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

    /// A problem, with what the template itself says about it.
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
