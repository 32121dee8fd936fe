//! The functions of a template: their names, and the properties that a mapping needs.

use std::collections::HashMap;
use std::time::Duration;

use super::Function;
use super::error::TemplateError;
use super::evaluate::Evaluator;
use super::field::Field;
use super::node::Node;
use super::value::EvalError;

pub(super) const SERVERLESS: &str = "AWS::Serverless::Function";
const PLAIN: &str = "AWS::Lambda::Function";
/// The version of a function that has not been deployed.
pub(super) const LATEST: &str = "$LATEST";
/// Lambda's default, if the template has no `Timeout`.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Lambda's longest timeout. It is used for a function that is not in the template.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(900);

/// The logical ids of functions by their names.
fn ids(evaluator: &Evaluator<'_>) -> HashMap<String, String> {
    let name = |(id, _): (&String, &Node)| Some((evaluator.resource_name(id)?, id.clone()));
    functions(evaluator).filter_map(name).collect()
}

/// Returns the function that a mapping names: by its name, by its ARN, or by the value of a `Ref`. In `name:alias`, the alias is
/// the qualifier. Returns `None` if the text names no function.
pub(super) fn named(evaluator: &Evaluator<'_>, text: &str) -> Result<Option<Function>, TemplateError> {
    let (name, qualifier) = parts(text);
    if name.is_empty() || qualifier.is_some_and(str::is_empty) {
        return Ok(None);
    }
    // Nothing is deployed here, so that `$LATEST` is the only version.
    let qualifier = qualifier.filter(|qualifier| *qualifier != LATEST).map(str::to_owned);
    let resource = |id: &str| {
        let resource = evaluator.template.at(&["Resources", id])?;
        (is_one(resource) && !matches!(holds(evaluator, resource), Ok(false))).then_some(resource)
    };
    let by_name = || evaluator.function_ids.get_or_init(|| ids(evaluator)).get(name).map(String::as_str);
    let found = resource(name).map(|resource| (name, resource));
    if let Some((id, resource)) = found.or_else(|| by_name().and_then(|id| Some((id, resource(id)?)))) {
        let function = read(evaluator, id, resource)?;
        return Ok(Some(Function { qualifier, ..function }));
    }
    Ok(Some(Function {
        logical_id: name.to_owned(),
        name: Some(name.to_owned()),
        qualifier,
        binary: None,
        build_method: None,
        code_uri: None,
        handler: None,
        timeout: evaluator.timeout.unwrap_or(LONGEST_TIMEOUT),
        sets_timeout: false,
    }))
}

/// Splits a name or an ARN, whole or partial, into the name and the qualifier.
pub(super) fn parts(text: &str) -> (&str, Option<&str>) {
    let name = match text.split_once(":function:") {
        Some((_, name)) => name,
        None => text,
    };
    match name.split_once(':') {
        Some((name, qualifier)) => (name, Some(qualifier)),
        None => (name, None),
    }
}

/// Reads the properties of a function that a mapping needs.
pub(super) fn read(evaluator: &Evaluator<'_>, id: &str, resource: &Node) -> Result<Function, TemplateError> {
    let text = |node: Option<&Node>| node.and_then(|node| evaluator.text(node).ok());
    let build = |name| text(resource.at(&["Metadata", name]));
    let code_uri = text(property(evaluator, resource, "CodeUri").or(resource.at(&["Properties", "Code"])));
    let in_metadata = text(resource.at(&["Metadata", "BuildProperties", "Binary"]));
    let in_template = || {
        let timeout = Field::read(evaluator, id, "Timeout", property(evaluator, resource, "Timeout"))?;
        timeout.integer(1..=900, "1 to 900 seconds")
    };
    let set = if evaluator.timeout.is_some() { None } else { in_template()? };
    let set = set.map(|seconds| Duration::from_secs(seconds.unsigned_abs()));
    Ok(Function {
        logical_id: id.to_owned(),
        name: evaluator.resource_name(id).filter(|name| name != id),
        qualifier: auto_published(evaluator, resource),
        binary: in_metadata.or_else(|| code_uri.as_deref().and_then(built_binary)),
        build_method: build("BuildMethod"),
        handler: text(property(evaluator, resource, "Handler")),
        timeout: evaluator.timeout.or(set).unwrap_or(TIMEOUT),
        sets_timeout: set.is_some(),
        code_uri,
    })
}

/// Returns `orders` for `./target/lambda/orders/` and for `target/lambda/orders/bootstrap.zip`. There cargo-lambda puts the
/// binaries that it builds.
fn built_binary(code_uri: &str) -> Option<String> {
    let mut parts = code_uri.split(['/', '\\']).filter(|part| !part.is_empty());
    while let Some(part) = parts.next() {
        if part == "lambda" {
            return parts.next().map(|name| name.trim_end_matches(".zip").to_owned());
        }
    }
    None
}

/// Returns a property of a function. If a SAM function does not have it, it comes from `Globals`.
pub(super) fn property<'a>(evaluator: &Evaluator<'a>, resource: &'a Node, name: &str) -> Option<&'a Node> {
    let global = || evaluator.template.at(&["Globals", "Function", name]);
    let is_serverless = resource.get("Type").and_then(Node::text) == Some(SERVERLESS);
    resource.at(&["Properties", name]).or_else(|| global().filter(|_| is_serverless))
}

/// Returns `AutoPublishAlias`, if it is set and known.
pub(super) fn auto_published(evaluator: &Evaluator<'_>, resource: &Node) -> Option<String> {
    evaluator.text(property(evaluator, resource, "AutoPublishAlias")?).ok()
}

/// Returns the functions that exist. A function does not exist if its condition is known not to hold.
fn functions<'a>(evaluator: &Evaluator<'a>) -> impl Iterator<Item = (&'a String, &'a Node)> {
    resources(evaluator)
        .filter(|(_, resource)| is_one(resource) && !matches!(holds(evaluator, resource), Ok(false)))
}

fn is_one(resource: &Node) -> bool {
    matches!(resource.get("Type").and_then(Node::text), Some(SERVERLESS | PLAIN))
}

pub(super) fn resources<'a>(evaluator: &Evaluator<'a>) -> impl Iterator<Item = (&'a String, &'a Node)> {
    evaluator.template.get("Resources").and_then(Node::map).into_iter().flatten()
}

/// Does the resource's own `Condition` hold?
pub(super) fn holds(evaluator: &Evaluator<'_>, resource: &Node) -> Result<bool, EvalError> {
    match resource.get("Condition").and_then(Node::text) {
        Some(name) => evaluator.condition(name),
        None => Ok(true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_is_named_by_its_name_or_its_arn() {
        assert_eq!(parts("consumer"), ("consumer", None));
        assert_eq!(parts("consumer:live"), ("consumer", Some("live")));
        assert_eq!(parts("123456789012:function:consumer"), ("consumer", None));
        let arn = "arn:aws:lambda:eu-west-1:123456789012:function:consumer:3";
        assert_eq!(parts(arn), ("consumer", Some("3")));
    }

    #[test]
    fn the_binary_is_where_cargo_lambda_puts_it() {
        assert_eq!(built_binary("./target/lambda/orders/").as_deref(), Some("orders"));
        assert_eq!(built_binary("target/lambda/orders/bootstrap.zip").as_deref(), Some("orders"));
        assert_eq!(built_binary("target\\lambda\\orders.zip").as_deref(), Some("orders"));
        assert_eq!(built_binary("src/"), None);
        assert_eq!(built_binary("target/lambda/"), None);
    }
}
