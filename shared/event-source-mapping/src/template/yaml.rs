//! The text of a template to its tree: YAML with CloudFormation's short tags, or JSON.
//!
//! Nothing here recurses over what a stranger wrote, and what it may grow to is bounded: in depth, and in memory when aliases
//! repeat what they name.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Span, Tag};

use super::error::TemplateError;
use super::node::{Map, Node};
use super::value::shorten;

/// The longest text that is read, in bytes. CloudFormation takes 1 MB.
const LONGEST: usize = 4 << 20;
/// How deep lists and maps may nest.
const DEEPEST: usize = 100;
/// What the tree may weigh, in bytes, with each alias counted as the copy that it is.
const HEAVIEST: usize = 64 << 20;
/// About what a node weighs beside its text.
const NODE: usize = 64;

/// Reads the text of a template. What is odd about it is noted in `warnings`.
pub(super) fn parse(text: &str, warnings: &mut Vec<String>) -> Result<Node, TemplateError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.len() > LONGEST {
        let problem = format!("it has {} bytes; at most {LONGEST} are read", text.len());
        return Err(TemplateError::Structure { problem });
    }
    if text.trim_start().starts_with('{') {
        return json(text, warnings);
    }
    yaml(text, warnings)
}

/// A text that begins with a brace is JSON, or else YAML in its flow style; when it is neither, the error is JSON's.
fn json(text: &str, warnings: &mut Vec<String>) -> Result<Node, TemplateError> {
    super::json::parse(text, warnings).or_else(|error| {
        yaml(text, warnings).map_err(|_| TemplateError::Syntax {
            line: error.line(),
            column: error.column(),
            problem: error.to_string(),
        })
    })
}

fn yaml(text: &str, warnings: &mut Vec<String>) -> Result<Node, TemplateError> {
    let mut parser = Parser::new_from_str(text);
    let mut builder = Builder::default();
    while let Some(event) = parser.next_event() {
        let (event, span) = event.map_err(|error| {
            let (line, column) = (error.marker().line(), error.marker().col() + 1);
            TemplateError::Syntax { line, column, problem: error.info().to_owned() }
        })?;
        builder.take(event).map_err(|problem| syntax(span, problem))?;
        warnings.extend(builder.twice.take().map(|name| twice(&name)));
    }
    Ok(builder.document.unwrap_or(Node::Null))
}

/// Of a name that stands twice the last counts, as in other readers of templates.
pub(super) fn twice(name: &str) -> String {
    format!("{} stands twice in one map; the last counts", shorten(name))
}

fn syntax(span: Span, problem: String) -> TemplateError {
    TemplateError::Syntax { line: span.start.line(), column: span.start.col() + 1, problem }
}

/// Builds the tree from the parser's events.
#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    anchors: HashMap<usize, Anchored>,
    document: Option<Node>,
    weight: usize,
    /// A name that stood twice, and was not told yet.
    twice: Option<String>,
}

/// A list or a map that has not ended.
struct Open {
    content: Content,
    anchor: usize,
    tag: Option<String>,
    /// What the tree weighed when it began.
    weight: usize,
    /// How deep the deepest node in it is below it.
    depth: usize,
}

enum Content {
    List(Vec<Node>),
    Map { map: Map, name: Option<String>, merged: Vec<Node> },
}

/// What an alias can stand for.
struct Anchored {
    node: Node,
    weight: usize,
    depth: usize,
}

impl Builder {
    fn take(&mut self, event: Event<'_>) -> Result<(), String> {
        match event {
            Event::DocumentStart(_) if self.document.is_some() => {
                Err("a second document begins here; a template is one".to_owned())
            }
            Event::SequenceStart(anchor, tag) => {
                self.begin(Content::List(Vec::new()), anchor, tag.as_deref())
            }
            Event::MappingStart(anchor, tag) => {
                let content = Content::Map { map: Map::new(), name: None, merged: Vec::new() };
                self.begin(content, anchor, tag.as_deref())
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::Scalar(text, style, anchor, tag) => {
                self.weigh(NODE + text.len())?;
                let node = scalar(&text, style, tag.as_deref());
                self.keep(anchor, &node, NODE + text.len(), 0)?;
                self.put(node, 0)
            }
            Event::Alias(anchor) => {
                let Some(Anchored { weight, depth, .. }) = self.anchors.get(&anchor) else {
                    return Err("an alias stands within what it names".to_owned());
                };
                let (weight, depth) = (*weight, *depth);
                self.weigh(weight)?;
                check_depth(self.open.len() + depth)?;
                let node = self.anchors.get(&anchor).map_or(Node::Null, |anchored| anchored.node.clone());
                self.put(node, depth)
            }
            _ => Ok(()),
        }
    }

    fn begin(&mut self, content: Content, anchor: usize, tag: Option<&Tag>) -> Result<(), String> {
        self.weigh(NODE)?;
        // A short tag is a map of its own around what it is on.
        let tag = tag.and_then(long_form);
        let depth = usize::from(tag.is_some());
        check_depth(self.open.len() + 1 + depth)?;
        self.open.push(Open { content, anchor, tag, weight: self.weight - NODE, depth: 0 });
        Ok(())
    }

    fn end(&mut self) -> Result<(), String> {
        let Some(open) = self.open.pop() else { return Ok(()) };
        let mut depth = open.depth + 1;
        let mut node = match open.content {
            Content::List(list) => Node::List(list),
            Content::Map { map, merged, .. } => Node::Map(merge(map, merged)?),
        };
        if let Some(tag) = open.tag {
            node = Node::Map(Map::from([(tag, node)]));
            depth += 1;
        }
        self.keep(open.anchor, &node, self.weight - open.weight, depth)?;
        self.put(node, depth)
    }

    /// Puts a node into the list or map that is open.
    fn put(&mut self, node: Node, depth: usize) -> Result<(), String> {
        let Some(open) = self.open.last_mut() else {
            self.document = Some(node);
            return Ok(());
        };
        open.depth = open.depth.max(depth);
        match &mut open.content {
            Content::List(list) => list.push(node),
            Content::Map { map, name, merged } => match (name.take(), node) {
                (None, Node::Text(text)) => *name = Some(text),
                (None, Node::Null) => *name = Some("null".to_owned()),
                (None, node) => return Err(format!("{node} stands where a name must be")),
                (Some(name), node) if name == "<<" => merged.push(node),
                (Some(name), node) => {
                    if map.insert(name.clone(), node).is_some() {
                        self.twice = Some(name);
                    }
                }
            },
        }
        Ok(())
    }

    fn keep(&mut self, anchor: usize, node: &Node, weight: usize, depth: usize) -> Result<(), String> {
        // Zero is no anchor.
        if anchor > 0 {
            self.weigh(weight)?;
            self.anchors.insert(anchor, Anchored { node: node.clone(), weight, depth });
        }
        Ok(())
    }

    fn weigh(&mut self, weight: usize) -> Result<(), String> {
        self.weight += weight;
        if self.weight > HEAVIEST {
            return Err(format!("the template grows beyond {} MiB here", HEAVIEST >> 20));
        }
        Ok(())
    }
}

fn check_depth(depth: usize) -> Result<(), String> {
    if depth > DEEPEST {
        return Err(format!("lists and maps nest deeper than {DEEPEST} here"));
    }
    Ok(())
}

/// `<<`: what the map does not have itself.
fn merge(mut map: Map, merged: Vec<Node>) -> Result<Map, String> {
    for node in merged {
        let maps = if let Node::List(maps) = node { maps } else { vec![node] };
        for node in maps {
            let Node::Map(others) = node else { return Err(format!("<< merges maps, and {node} is none")) };
            for (name, value) in others {
                map.entry(name).or_insert(value);
            }
        }
    }
    Ok(map)
}

fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Node {
    let null = style == ScalarStyle::Plain && matches!(text, "" | "~" | "null" | "Null" | "NULL");
    let name = tag.and_then(long_form);
    let node = if null && tag.is_none() { Node::Null } else { Node::Text(text.to_owned()) };
    match name.as_deref() {
        None => node,
        Some("Fn::GetAtt") => {
            let parts =
                text.split_once('.').map_or(vec![text], |(resource, attribute)| vec![resource, attribute]);
            let parts = parts.into_iter().map(|part| Node::Text(part.to_owned())).collect();
            Node::Map(Map::from([("Fn::GetAtt".to_owned(), Node::List(parts))]))
        }
        Some(name) => Node::Map(Map::from([(name.to_owned(), node)])),
    }
}

/// The name that a short tag such as `!Sub` stands for; none for YAML's own tags.
fn long_form(tag: &Tag) -> Option<String> {
    match (tag.handle.as_str(), tag.suffix.as_str()) {
        ("!", "") => None,
        ("!", name @ ("Ref" | "Condition")) => Some(name.to_owned()),
        ("!", name) => Some(format!("Fn::{name}")),
        _ => None,
    }
}
