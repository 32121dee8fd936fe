//! Unrolls `Fn::ForEach` of the transform `AWS::LanguageExtensions`. It is a key of a map, and makes entries for each value of a
//! list.

use super::evaluate::{EvalResult, Evaluator, NODE, as_text, wrong};
use super::node::{Map, Node};
use super::value::{EvalError, shorten};

const LOOP: &str = "Fn::ForEach::";
const TRANSFORM: &str = "AWS::LanguageExtensions";

/// Returns the template with its loops unrolled, or `None` if it has no loop. A loop over values that are not known makes
/// nothing, and a note says so.
pub(super) fn unrolled(evaluator: &Evaluator<'_>) -> Option<Node> {
    let template = evaluator.template;
    if !has_loop(template) {
        return None;
    }
    if !transforms(template).any(|name| name == TRANSFORM) {
        evaluator.note(format!("Fn::ForEach is followed here; on AWS it needs Transform: {TRANSFORM}"));
    }
    Some(unroll(evaluator, template))
}

/// Returns the names of a template's transforms.
pub(super) fn transforms(template: &Node) -> impl Iterator<Item = &str> {
    let given = template.get("Transform");
    let list = given.and_then(Node::list).into_iter().flatten();
    let all = given.into_iter().chain(list);
    all.filter_map(|node| node.text().or_else(|| node.get("Name").and_then(Node::text)))
}

fn has_loop(node: &Node) -> bool {
    match node {
        Node::List(list) => list.iter().any(has_loop),
        Node::Map(map) => map.iter().any(|(name, node)| name.starts_with(LOOP) || has_loop(node)),
        _ => false,
    }
}

fn unroll(evaluator: &Evaluator<'_>, node: &Node) -> Node {
    match node {
        Node::List(list) => Node::List(list.iter().flat_map(|node| elements(evaluator, node)).collect()),
        Node::Map(map) => {
            let mut unrolled = Map::new();
            for (name, node) in map {
                if !name.starts_with(LOOP) {
                    unrolled.insert(name.clone(), unroll(evaluator, node));
                    continue;
                }
                match entries(evaluator, node) {
                    Ok(entries) => unrolled.extend(entries),
                    Err(trouble) => {
                        evaluator.note(format!(
                            "{}: {}; what it makes is not read",
                            shorten(name),
                            why(trouble)
                        ));
                        unrolled.insert(name.clone(), Node::Null);
                    }
                }
            }
            Node::Map(unrolled)
        }
        scalar => scalar.clone(),
    }
}

/// Unrolls an element of a list. A loop becomes several elements if none of its bodies is a map.
fn elements(evaluator: &Evaluator<'_>, node: &Node) -> Vec<Node> {
    let the_loop = node.map().filter(|map| map.len() == 1).and_then(Map::first_key_value);
    let the_loop = the_loop.filter(|(name, _)| name.starts_with(LOOP)).map(|(_, given)| given);
    match the_loop.map(|given| (given, bodies(evaluator, given))) {
        Some((_, Ok(bodies))) if bodies.iter().all(|body| body.map().is_none()) => bodies,
        _ => vec![unroll(evaluator, node)],
    }
}

fn entries(evaluator: &Evaluator<'_>, given: &Node) -> EvalResult<Map> {
    let mut entries = Map::new();
    for body in bodies(evaluator, given)? {
        match body {
            Node::Map(map) => entries.extend(map),
            other => return wrong(format!("{other} is given to it, which must be a map of what it makes")),
        }
    }
    Ok(entries)
}

/// Returns the loop's body for each value.
fn bodies(evaluator: &Evaluator<'_>, given: &Node) -> EvalResult<Vec<Node>> {
    let [name, values, body] = evaluator.arguments(given, given, "a name, a list and a map")?;
    let Some(name) = name.text() else { return wrong(format!("{name} is given for its name")) };
    let values = evaluator.list(values)?;
    let weight = weight(body);
    let mut bodies = Vec::with_capacity(values.len());
    for value in values {
        evaluator.spend(weight)?;
        let value = as_text(value, given)?;
        bodies.push(unroll(evaluator, &Variable { name, value: &value }.put_into(body)));
    }
    Ok(bodies)
}

fn weight(node: &Node) -> usize {
    NODE + match node {
        Node::Null => 0,
        Node::Text(text) | Node::Bare(text) => text.len(),
        Node::List(list) => list.iter().map(weight).sum(),
        Node::Map(map) => map.iter().map(|(name, node)| name.len() + weight(node)).sum(),
    }
}

fn why(trouble: EvalError) -> String {
    match trouble {
        EvalError::Unknown(unknown) => format!("it is over {}, {}", unknown.written, unknown.why),
        EvalError::Wrong(problem) => problem,
    }
}

/// The variable of a loop, with one of its values.
struct Variable<'a> {
    name: &'a str,
    value: &'a str,
}

impl Variable<'_> {
    fn put_into(&self, node: &Node) -> Node {
        match node {
            Node::Text(text) => Node::Text(self.put_into_text(text)),
            Node::List(list) => Node::List(list.iter().map(|node| self.put_into(node)).collect()),
            Node::Map(_) if node.intrinsic().is_some_and(|(name, given)| self.is_it(name, given)) => {
                Node::Text(self.value.to_owned())
            }
            Node::Map(map) => {
                let entry = |(name, node): (&String, &Node)| (self.put_into_text(name), self.put_into(node));
                Node::Map(map.iter().map(entry).collect())
            }
            other => other.clone(),
        }
    }

    fn is_it(&self, name: &str, given: &Node) -> bool {
        name == "Ref" && given.text() == Some(self.name)
    }

    /// Replaces the variable in a text. `&{Name}` becomes the value without the characters that a logical id can't have.
    fn put_into_text(&self, text: &str) -> String {
        let Self { name, value } = self;
        if !text.contains(&format!("{{{name}}}")) {
            return text.to_owned();
        }
        let bare: String = value.chars().filter(char::is_ascii_alphanumeric).collect();
        text.replace(&format!("${{{name}}}"), value).replace(&format!("&{{{name}}}"), &bare)
    }
}
