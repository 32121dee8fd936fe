//! Reads a property of a resource, and checks its type.

use std::ops::RangeInclusive;

use super::error::TemplateError;
use super::evaluate::Evaluator;
use super::node::Node;
use super::value::{EvalError, UnknownValue, Value};

/// A property's value, which may be absent, and its place for error messages.
#[derive(Clone)]
pub(super) struct Field {
    resource: String,
    property: String,
    value: Value,
}

impl Field {
    /// Evaluates a property.
    pub(super) fn read(
        evaluator: &Evaluator<'_>,
        resource: &str,
        property: &str,
        node: Option<&Node>,
    ) -> Result<Self, TemplateError> {
        let (resource, property) = (resource.to_owned(), property.to_owned());
        match node.map_or(Ok(Value::Absent), |node| evaluator.value(node)) {
            Ok(value) => Ok(Self { resource, property, value }),
            Err(EvalError::Unknown(unknown)) => {
                Ok(Self { resource, property, value: Value::Unknown(unknown) })
            }
            Err(EvalError::Wrong(problem)) => Err(TemplateError::Invalid { resource, property, problem }),
        }
    }

    /// Returns the value under a name of a map.
    pub(super) fn get(&self, name: &str) -> Result<Self, TemplateError> {
        let value = match &self.value {
            Value::Map(map) => map.get(name).cloned().unwrap_or(Value::Absent),
            Value::Absent => Value::Absent,
            Value::Unknown(unknown) => Value::Unknown(unknown.clone()),
            _ => return Err(self.not_allowed(&format!("a map with {name}"))),
        };
        let property = format!("{}.{name}", self.property);
        Ok(Self { resource: self.resource.clone(), property, value })
    }

    /// Returns the elements of a list. There are none if it is absent.
    pub(super) fn elements(&self, allowed: &str) -> Result<Vec<Self>, TemplateError> {
        let list = match self.known()? {
            Value::Absent => return Ok(Vec::new()),
            Value::List(list) => list,
            _ => return Err(self.not_allowed(allowed)),
        };
        let element = |(place, value): (usize, &Value)| Self {
            resource: self.resource.clone(),
            property: format!("{}[{place}]", self.property),
            value: value.clone(),
        };
        Ok(list.iter().enumerate().map(element).collect())
    }

    /// Returns a text, or `None` if it is absent.
    pub(super) fn text(&self, allowed: &str) -> Result<Option<&str>, TemplateError> {
        match self.known()? {
            Value::Absent => Ok(None),
            Value::Text(text) => Ok(Some(text)),
            _ => Err(self.not_allowed(allowed)),
        }
    }

    /// Returns a whole number within bounds, or `None` if it is absent.
    pub(super) fn integer(
        &self,
        range: RangeInclusive<i64>,
        allowed: &str,
    ) -> Result<Option<i64>, TemplateError> {
        let Some(text) = self.text(allowed)? else { return Ok(None) };
        let number = text.trim().parse().ok().filter(|number| range.contains(number));
        number.map(Some).ok_or_else(|| self.not_allowed(allowed))
    }

    /// Returns `true` or `false`, written in any case, or `None` if it is absent.
    pub(super) fn boolean(&self) -> Result<Option<bool>, TemplateError> {
        let allowed = "true or false";
        let Some(text) = self.text(allowed)? else { return Ok(None) };
        match text.to_ascii_lowercase().as_str() {
            "true" => Ok(Some(true)),
            "false" => Ok(Some(false)),
            _ => Err(self.not_allowed(allowed)),
        }
    }

    /// Returns a text that need not be known. If it is not known, returns what the template has in its place.
    pub(super) fn as_written(&self, allowed: &str) -> Result<Option<String>, TemplateError> {
        match &self.value {
            Value::Unknown(unknown) => Ok(Some(unknown.written.clone())),
            _ => Ok(self.text(allowed)?.map(str::to_owned)),
        }
    }

    /// Returns the unknown value: this one, or the first one in its list.
    pub(super) fn unknown(&self) -> Option<&UnknownValue> {
        match &self.value {
            Value::Unknown(unknown) => Some(unknown),
            Value::List(list) => list.iter().find_map(|value| match value {
                Value::Unknown(unknown) => Some(unknown),
                _ => None,
            }),
            _ => None,
        }
    }

    pub(super) fn is_absent(&self) -> bool {
        self.value == Value::Absent
    }

    /// Returns the error for a value that is not allowed.
    pub(super) fn not_allowed(&self, allowed: &str) -> TemplateError {
        let (resource, property, found) = (self.resource.clone(), self.property.clone(), self.value.shown());
        TemplateError::Value { resource, property, found, allowed: allowed.to_owned() }
    }

    /// Returns the error for a value with this problem.
    pub(super) fn invalid(&self, problem: String) -> TemplateError {
        let (resource, property) = (self.resource.clone(), self.property.clone());
        TemplateError::Invalid { resource, property, problem }
    }

    /// Returns the error for a value that must be present and is not.
    pub(super) fn missing(&self, allowed: &str) -> TemplateError {
        let (resource, property) = (self.resource.clone(), self.property.clone());
        TemplateError::Missing { resource, property, allowed: allowed.to_owned() }
    }

    fn known(&self) -> Result<&Value, TemplateError> {
        match &self.value {
            Value::Unknown(unknown) => Err(unresolved(&self.resource, &self.property, unknown.clone())),
            value => Ok(value),
        }
    }
}

/// Returns the error for a value that is needed and not known.
pub(super) fn unresolved(resource: &str, property: &str, unknown: UnknownValue) -> TemplateError {
    TemplateError::Unresolved {
        resource: resource.to_owned(),
        property: property.to_owned(),
        written: unknown.written,
        why: unknown.why,
    }
}

/// Returns the error for a part that could not be evaluated.
pub(super) fn trouble(resource: &str, property: &str, trouble: EvalError) -> TemplateError {
    match trouble {
        EvalError::Unknown(unknown) => unresolved(resource, property, unknown),
        EvalError::Wrong(problem) => {
            TemplateError::Invalid { resource: resource.to_owned(), property: property.to_owned(), problem }
        }
    }
}
