//! Resolves `Ref`, `Fn::GetAtt`, `${…}` and dynamic references. If only a deployment knows a value, the caller's value can
//! replace it.

use super::evaluate::{EvalResult, Evaluator, NODE, unknown, wrong};
use super::functions;
use super::node::Node;
use super::parameters::Parameter;
use super::value::{Value, names};

impl Evaluator<'_> {
    /// Returns the value of `Ref`, and of `${Name}` in `Fn::Sub`.
    pub(super) fn reference(&self, name: &str, written: impl ToString) -> EvalResult {
        match name {
            "AWS::NoValue" => return Ok(Value::Absent),
            "AWS::NotificationARNs" => return Ok(Value::List(Vec::new())),
            _ => {}
        }
        if let Some(parameter) = self.parameters.get(name) {
            return match parameter {
                Parameter::Known { value, note } => {
                    note.iter().for_each(|note| self.note(note.clone()));
                    match value {
                        Value::Text(text) => self.text_of(text.clone()),
                        value => self.list_of(value),
                    }
                }
                Parameter::Wrong(problem) => wrong(problem),
                Parameter::Missing => unknown(written, self.missing(name)),
                Parameter::InSsm => {
                    let why = "a parameter that is looked up in SSM; give it a value with";
                    unknown(written, format!("{why} --parameter {name}=VALUE"))
                }
            };
        }
        if let Some(given) = self.given_text(name) {
            return given;
        }
        if let Some(text) = self.pseudo_parameter(name).or_else(|| self.resource_reference(name)) {
            return self.text_of(text);
        }
        self.of_a_resource(name, name, written)
    }

    /// Returns the value of `Fn::GetAtt`. Its argument is a list of two, or a text with a full stop between them.
    pub(super) fn attribute(&self, given: &Node, whole: &Node) -> EvalResult {
        let (resource, attribute) = match given {
            Node::Text(text) | Node::Bare(text) => match text.split_once('.') {
                Some((resource, attribute)) => (resource.to_owned(), attribute.to_owned()),
                None => {
                    return wrong(format!("{whole}: Fn::GetAtt must be given a resource and an attribute"));
                }
            },
            _ => {
                let [resource, attribute] = self.arguments(given, whole, "a resource and an attribute")?;
                (self.text(resource)?, self.text(attribute)?)
            }
        };
        self.attribute_of(&resource, &attribute, whole)
    }

    pub(super) fn attribute_of(&self, resource: &str, attribute: &str, written: impl ToString) -> EvalResult {
        let key = format!("{resource}.{attribute}");
        if let Some(given) = self.given_text(&key) {
            return given;
        }
        match self.resource_attribute(resource, attribute) {
            Some(text) => self.text_of(text),
            None => self.of_a_resource(resource, &key, written),
        }
    }

    fn of_a_resource(&self, resource: &str, key: &str, written: impl ToString) -> EvalResult {
        let Some(found) = self.template.at(&["Resources", resource]) else {
            return unknown(written, "and the template has no such parameter or resource");
        };
        if let (Some(condition), Ok(false)) = (found.get("Condition"), functions::holds(self, found)) {
            return unknown(
                written,
                format!("a resource that is not there, since its Condition {condition} does not hold"),
            );
        }
        let why = "which only the deployed stack knows; give it a value with --parameter";
        unknown(written, format!("{why} {key}=VALUE"))
    }

    /// Returns the value of a pseudo parameter: the caller's, or else the SAM CLI's.
    pub(super) fn pseudo_parameter(&self, name: &str) -> Option<String> {
        let default = pseudo_parameter(name)?;
        Some(self.given.get(name).map_or(default, String::as_str).to_owned())
    }

    pub(super) fn given_text(&self, key: &str) -> Option<EvalResult> {
        self.given.get(key).map(|text| Ok(Value::Text(text.clone())))
    }

    /// Returns a text, with its dynamic references replaced by the caller's values.
    pub(super) fn text_of(&self, mut text: String) -> EvalResult {
        self.spend(text.len())?;
        while let Some((start, end)) = dynamic_reference(&text) {
            let reference = &text[start..end];
            let Some(value) = self.given.get(reference).filter(|value| dynamic_reference(value).is_none())
            else {
                let why = "which is looked up at the deployment; give it a value with --parameter";
                return unknown(reference, format!("{why} '{reference}=VALUE'"));
            };
            text = format!("{}{value}{}", &text[..start], &text[end..]);
            self.spend(text.len())?;
        }
        Ok(Value::Text(text))
    }

    fn list_of(&self, value: &Value) -> EvalResult {
        if let Value::List(list) = value {
            self.spend(NODE * list.len())?;
        }
        Ok(value.clone())
    }

    fn missing(&self, name: &str) -> String {
        let missing = self.parameters.iter().filter(|(_, parameter)| matches!(parameter, Parameter::Missing));
        let mut others = missing.map(|(name, _)| name.as_str()).filter(|other| *other != name).peekable();
        let why = format!("a parameter without a value; give it one with --parameter {name}=VALUE");
        if others.peek().is_none() {
            return why;
        }
        format!("{why} (without a value are also: {})", names(others))
    }
}

/// Returns the start and the end of the first `{{resolve:…}}`.
fn dynamic_reference(text: &str) -> Option<(usize, usize)> {
    let start = text.find("{{resolve:")?;
    let length = text[start..].find("}}")? + 2;
    Some((start, start + length))
}

/// Returns the default of a pseudo parameter, which is that of the SAM CLI.
fn pseudo_parameter(name: &str) -> Option<&'static str> {
    Some(match name {
        "AWS::AccountId" => "123456789012",
        "AWS::Partition" => "aws",
        "AWS::Region" => "us-east-1",
        "AWS::StackId" => {
            "arn:aws:cloudformation:us-east-1:123456789012:stack/local/51af3dc0-da77-11e4-872e-1234567db123"
        }
        "AWS::StackName" => "local",
        "AWS::URLSuffix" => "amazonaws.com",
        _ => return None,
    })
}
