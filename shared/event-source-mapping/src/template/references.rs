//! What `Ref`, `Fn::GetAtt`, `${…}` and dynamic references refer to, and what can stand in for it when only a deployment knows.

use super::evaluate::{Evaluated, Evaluator, NODE, unknown, wrong};
use super::node::Node;
use super::parameters::Parameter;
use super::value::{Value, names};

impl Evaluator<'_> {
    /// `Ref`, and `${Name}` in `Fn::Sub`.
    pub(super) fn reference(&self, name: &str, written: impl ToString) -> Evaluated {
        match name {
            "AWS::NoValue" => return Ok(Value::Absent),
            "AWS::NotificationARNs" => return Ok(Value::List(Vec::new())),
            _ => {}
        }
        if let Some(parameter) = self.parameters.get(name) {
            return match parameter {
                Parameter::Known(Value::Text(text)) => self.text_of(text.clone()),
                Parameter::Known(value) => self.list_of(value),
                Parameter::Missing => unknown(written, self.missing(name)),
                Parameter::InSsm => {
                    let why = "a parameter that is looked up in SSM; give it a value with";
                    unknown(written, format!("{why} --parameter {name}=VALUE"))
                }
            };
        }
        if let Some(text) = self.functions.get(name) {
            return self.text_of(text.clone());
        }
        if let Some(given) = self.given_text(name) {
            return given;
        }
        if let Some(pseudo) = pseudo_parameter(name) {
            return self.text_of(pseudo.to_owned());
        }
        self.of_a_resource(name, name, written)
    }

    /// `Fn::GetAtt`: a list of two, or a text with a full stop between them.
    pub(super) fn attribute(&self, given: &Node, whole: &Node) -> Evaluated {
        let (resource, attribute) = match given {
            Node::Text(text) => match text.split_once('.') {
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

    pub(super) fn attribute_of(&self, resource: &str, attribute: &str, written: impl ToString) -> Evaluated {
        let key = format!("{resource}.{attribute}");
        if let Some(given) = self.given_text(&key) {
            return given;
        }
        match self.functions.get(resource) {
            Some(name) if matches!(attribute, "Arn" | "AliasArn" | "FunctionArn") => {
                self.text_of(name.clone())
            }
            _ => self.of_a_resource(resource, &key, written),
        }
    }

    fn of_a_resource(&self, resource: &str, key: &str, written: impl ToString) -> Evaluated {
        if self.template.at(&["Resources", resource]).is_none() {
            return unknown(written, "and the template has no such parameter or resource");
        }
        let why = "which only the deployed stack knows; give it a value with --parameter";
        unknown(written, format!("{why} {key}=VALUE"))
    }

    pub(super) fn given_text(&self, key: &str) -> Option<Evaluated> {
        self.given.get(key).map(|text| Ok(Value::Text(text.clone())))
    }

    /// A text, with the dynamic references in it replaced by what the caller gave for them.
    pub(super) fn text_of(&self, mut text: String) -> Evaluated {
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

    fn list_of(&self, value: &Value) -> Evaluated {
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

/// Where the first `{{resolve:…}}` begins and ends.
fn dynamic_reference(text: &str) -> Option<(usize, usize)> {
    let start = text.find("{{resolve:")?;
    let length = text[start..].find("}}")? + 2;
    Some((start, start + length))
}

/// What pseudo parameters are where the caller does not say: as the SAM CLI has them.
pub(super) fn pseudo_parameter(name: &str) -> Option<&'static str> {
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
