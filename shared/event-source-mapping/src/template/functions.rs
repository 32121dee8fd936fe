//! The functions of a template: what they are called, and what a mapping needs to know of them.

use std::collections::HashMap;
use std::time::Duration;

use super::Function;
use super::error::TemplateError;
use super::evaluate::{Evaluated, Evaluator};
use super::field::Field;
use super::node::Node;
use super::value::Trouble;

pub(super) const SERVERLESS: &str = "AWS::Serverless::Function";
const PLAIN: &str = "AWS::Lambda::Function";
/// Lambda's default, in the absence of `Timeout`.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Lambda's longest: for functions that the template says nothing of.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(900);

/// What a `Ref` to each function gives, and to the alias and the version that SAM makes of it: the name by which it is invoked,
/// with the alias after a colon.
pub(super) fn names(evaluator: &Evaluator<'_>) -> HashMap<String, String> {
    let mut names = HashMap::new();
    for (id, resource) in functions(evaluator) {
        let name = name(evaluator, id, resource).unwrap_or_else(|| id.clone());
        if let Some(alias) = auto_published(evaluator, resource) {
            names.insert(format!("{id}.Alias"), format!("{name}:{alias}"));
            names.insert(format!("{id}.Version"), name.clone());
        }
        names.insert(id.clone(), name);
    }
    names
}

/// The logical ids of functions by their names.
pub(super) fn ids(names: &HashMap<String, String>) -> HashMap<String, String> {
    // With a full stop it is an alias or a version that SAM makes of a function.
    let of_functions = names.iter().filter(|(id, _)| !id.contains('.'));
    of_functions.map(|(id, name)| (name.clone(), id.clone())).collect()
}

/// What a `Ref` to each alias and version of its own resource gives, once functions have their names.
pub(super) fn qualified_names(evaluator: &Evaluator<'_>) -> HashMap<String, String> {
    let of = |resource: &Node| -> Evaluated<Option<String>> {
        let property = |name| resource.at(&["Properties", name]).unwrap_or(&Node::Null);
        let kind = resource.get("Type").and_then(Node::text);
        if !matches!(kind, Some("AWS::Lambda::Alias" | "AWS::Lambda::Version")) {
            return Ok(None);
        }
        let function = evaluator.text(property("FunctionName"))?;
        match kind {
            Some("AWS::Lambda::Alias") => {
                Ok(Some(format!("{function}:{}", evaluator.text(property("Name"))?)))
            }
            _ => Ok(Some(function)),
        }
    };
    // One that can't be known stays what it is: something that only the deployed stack knows.
    let known = resources(evaluator)
        .filter_map(|(id, resource)| of(resource).ok().flatten().map(|name| (id.clone(), name)));
    known.collect()
}

/// The function that a mapping names: by name, ARN, or what a `Ref` gave; `name:alias` is one with a qualifier. `None` where that
/// names none.
pub(super) fn named(evaluator: &Evaluator<'_>, text: &str) -> Result<Option<Function>, TemplateError> {
    let (name, qualifier) = parts(text);
    if name.is_empty() || qualifier.is_some_and(str::is_empty) {
        return Ok(None);
    }
    let qualifier = qualifier.map(str::to_owned);
    let is_function = |id: &&str| evaluator.functions.contains_key(*id);
    let id = Some(name).filter(is_function).or(evaluator.function_ids.get(name).map(String::as_str));
    let resource = |id| evaluator.template.at(&["Resources", id]).filter(|resource| is_one(resource));
    if let Some((id, resource)) = id.and_then(|id| Some((id, resource(id)?))) {
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
        timeout: LONGEST_TIMEOUT,
    }))
}

/// A name or an ARN, whole or partial, to the name and the qualifier.
fn parts(text: &str) -> (&str, Option<&str>) {
    let name = match text.split_once(":function:") {
        Some((_, name)) => name,
        None => text,
    };
    match name.split_once(':') {
        Some((name, qualifier)) => (name, Some(qualifier)),
        None => (name, None),
    }
}

/// What a mapping needs to know of a function in the template.
pub(super) fn read(evaluator: &Evaluator<'_>, id: &str, resource: &Node) -> Result<Function, TemplateError> {
    let text = |node: Option<&Node>| node.and_then(|node| evaluator.text(node).ok());
    let build = |name| text(resource.at(&["Metadata", name]));
    let code_uri = text(property(evaluator, resource, "CodeUri").or(resource.at(&["Properties", "Code"])));
    let in_metadata = text(resource.at(&["Metadata", "BuildProperties", "Binary"]));
    let timeout = Field::read(evaluator, id, "Timeout", property(evaluator, resource, "Timeout"))?;
    let timeout = timeout.integer(1..=900, "1 to 900 seconds")?;
    Ok(Function {
        logical_id: id.to_owned(),
        name: evaluator.functions.get(id).filter(|name| *name != id).cloned(),
        qualifier: auto_published(evaluator, resource),
        binary: in_metadata.or_else(|| code_uri.as_deref().and_then(built_binary)),
        build_method: build("BuildMethod"),
        handler: text(property(evaluator, resource, "Handler")),
        timeout: timeout.map_or(TIMEOUT, |seconds| Duration::from_secs(seconds.unsigned_abs())),
        code_uri,
    })
}

/// `orders` of `./target/lambda/orders/` and of `target/lambda/orders/bootstrap.zip`, where cargo-lambda puts what it builds.
fn built_binary(code_uri: &str) -> Option<String> {
    let mut parts = code_uri.split(['/', '\\']).filter(|part| !part.is_empty());
    while let Some(part) = parts.next() {
        if part == "lambda" {
            return parts.next().map(|name| name.trim_end_matches(".zip").to_owned());
        }
    }
    None
}

/// A property of a function, from `Globals` where it has none itself.
fn property<'a>(evaluator: &Evaluator<'a>, resource: &'a Node, name: &str) -> Option<&'a Node> {
    let global = || evaluator.template.at(&["Globals", "Function", name]);
    let is_serverless = resource.get("Type").and_then(Node::text) == Some(SERVERLESS);
    resource.at(&["Properties", name]).or_else(|| global().filter(|_| is_serverless))
}

/// `FunctionName`, where it is set and known, or the name that the caller gave for the logical id. What it refers to must be
/// no function itself: names would lead in a circle.
fn name(evaluator: &Evaluator<'_>, id: &str, resource: &Node) -> Option<String> {
    let given = evaluator.given.get(id).cloned();
    given.or_else(|| evaluator.text(resource.at(&["Properties", "FunctionName"])?).ok())
}

fn auto_published(evaluator: &Evaluator<'_>, resource: &Node) -> Option<String> {
    evaluator.text(property(evaluator, resource, "AutoPublishAlias")?).ok()
}

/// The functions that are there: those whose condition is known not to hold are not.
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
pub(super) fn holds(evaluator: &Evaluator<'_>, resource: &Node) -> Result<bool, Trouble> {
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
