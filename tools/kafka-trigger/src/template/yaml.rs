//! Parses the text of a template into its tree: YAML with CloudFormation's short tags, or JSON.
//!
//! CloudFormation's tools read YAML as libyaml does, which accepts more than the specification of YAML allows. The parser follows
//! libyaml in that, and tests compare its trees with PyYAML's. The parser is slow. So `everyday` reads the forms that nearly
//! every template is made of, and leaves all else to the parser.
//!
//! The parser does not recurse over a stranger's text; `everyday` does, to a bounded depth. The tree is bounded too: in depth,
//! and in memory when aliases repeat the nodes that they name.

mod everyday;

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;

use granit_parser::{ErrorKind, Event, Parser, ScalarStyle, ScanError, Tag};

use super::error::TemplateError;
use super::node::{Map, Node};
use super::scalars;
use super::value::duplicate_key;

/// The longest text that is read, in bytes. CloudFormation takes 1 MB.
const LONGEST: usize = 4 << 20;
/// The deepest nesting of lists and maps.
const DEEPEST: usize = 100;
/// The largest weight of the tree, in bytes. Each alias counts as the copy that it is.
const HEAVIEST: usize = 64 << 20;
/// The approximate weight of a node without its text, in bytes.
const NODE: usize = 64;
/// The most bytes that are read again. Each repair makes the parser read the text once more.
const MOST_READ_AGAIN: usize = 20 * LONGEST;

/// Parses the text of a template. Adds warnings about it to `warnings`.
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

/// Parses a text that begins with a brace. It is JSON, or else YAML in its flow style. If it is neither, the error is JSON's.
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
    let (document, twice) = everyday::read(text).map_or_else(|| parsed(text), Ok)?;
    warnings.extend(twice.iter().map(|name| duplicate_key(name)));
    Ok(document)
}

/// Parses the text with the parser for the whole language. Returns the tree, and the names that stand twice in one map.
fn parsed(text: &str) -> Result<(Node, Vec<String>), TemplateError> {
    let mut text = Cow::Borrowed(text);
    let mut read_again = 0;
    loop {
        let unread = match tree(&text) {
            Ok(read) => return Ok(read),
            Err(unread) => unread,
        };
        read_again += text.len();
        match unread.repair(&text).filter(|_| read_again <= MOST_READ_AGAIN) {
            Some((place, repaired)) => text.to_mut().replace_range(place, repaired),
            None => return Err(unread.as_error()),
        }
    }
}

/// The reason why there is no tree.
enum ParseError {
    /// The text is not YAML.
    Text(ScanError),
    /// The node that begins here can't be a part of a template's tree.
    Tree { line: usize, column: usize, problem: String },
}

impl ParseError {
    /// Returns the place where the parser needs another text than libyaml does, and that text. Returns `None` if the error has
    /// another cause.
    fn repair(&self, text: &str) -> Option<(Range<usize>, &'static str)> {
        let Self::Text(error) = self else { return None };
        let place = error.marker().byte_offset()?;
        let rest = text.get(place..)?;
        match error.kind() {
            // libyaml begins a comment at any # behind a token, but the parser needs a blank before it.
            ErrorKind::CommentNotSeparated => Some((place..place, " ")),
            // libyaml reads a dash as a scalar if a comma or a bracket follows, but the parser needs quotes around it.
            ErrorKind::PlainScalarStartsWithDashFlowIndicator if rest.starts_with('-') => {
                Some((place..place + 1, "'-'"))
            }
            _ => None,
        }
    }

    fn as_error(&self) -> TemplateError {
        match self {
            Self::Text(error) => {
                let (line, column) = (error.marker().line(), error.marker().col() + 1);
                TemplateError::Syntax { line, column, problem: error.info() }
            }
            Self::Tree { line, column, problem } => {
                TemplateError::Syntax { line: *line, column: *column, problem: problem.clone() }
            }
        }
    }
}

fn tree(text: &str) -> Result<(Node, Vec<String>), ParseError> {
    let options = granit_parser::options! {
        emit_comments: false,
        bom_inside_document_as_content: true,
        block_scalar_eof_without_line_feed: true,
    };
    let mut parser = Parser::new_from_str_with_options(text, options);
    let mut builder = Builder::default();
    while let Some(event) = parser.next_event() {
        let (event, span) = event.map_err(ParseError::Text)?;
        builder.take(event).map_err(|problem| {
            let (line, column) = (span.start.line(), span.start.col() + 1);
            ParseError::Tree { line, column, problem }
        })?;
    }
    Ok((builder.document.unwrap_or(Node::Null), builder.twice))
}

/// Builds the tree from the parser's events.
#[derive(Default)]
struct Builder {
    open: Vec<OpenNode>,
    anchors: HashMap<usize, AnchoredNode>,
    document: Option<Node>,
    weight: usize,
    /// The names that stand twice in one map.
    twice: Vec<String>,
}

/// A list or a map that has not ended.
struct OpenNode {
    content: Collection,
    anchor: usize,
    /// The name of its short tag.
    tag: Option<String>,
    /// The weight of the tree before it began.
    weight: usize,
    /// The depth of the deepest node in it, counted from it.
    depth: usize,
}

enum Collection {
    List(Vec<Node>),
    Map { map: Map, name: Option<KeyName>, merged: Vec<Node> },
}

/// The name before a value in a map.
enum KeyName {
    Own(String),
    /// `<<`
    Merge,
}

/// A node with an anchor, which an alias can repeat.
struct AnchoredNode {
    node: Node,
    weight: usize,
    depth: usize,
}

impl Builder {
    fn take(&mut self, event: Event<'_>) -> Result<(), String> {
        match event {
            Event::DocumentStart(..) if self.document.is_some() => {
                Err("a second document begins here; a template is one".to_owned())
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.begin(Collection::List(Vec::new()), anchor, tag.as_deref())
            }
            Event::MappingStart(_, anchor, tag) => {
                let content = Collection::Map { map: Map::new(), name: None, merged: Vec::new() };
                self.begin(content, anchor, tag.as_deref())
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::Scalar(text, style, anchor, tag) => {
                self.weigh(NODE + text.len())?;
                if style == ScalarStyle::Plain && text == "<<" && tag.is_none() && self.begins_merge() {
                    return Ok(());
                }
                let weight = NODE + text.len();
                let tag = tag.as_deref();
                let is_resolved = match tag {
                    None => style == ScalarStyle::Plain,
                    // A tag such as `!!int` sets the type of a scalar in any style.
                    Some(tag) => matches!(tag.core_suffix(), Some("bool" | "float" | "int" | "null")),
                };
                let node = scalar(text, is_resolved, tag.and_then(short_name));
                self.keep(anchor, &node, weight, 0)?;
                self.put(node, 0)
            }
            Event::Alias(anchor) => {
                let Some(AnchoredNode { weight, depth, .. }) = self.anchors.get(&anchor) else {
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

    fn begin(&mut self, content: Collection, anchor: usize, tag: Option<&Tag>) -> Result<(), String> {
        self.weigh(NODE)?;
        // A short tag becomes a map of its own around its node.
        let tag = tag.and_then(short_name).map(str::to_owned);
        let depth = usize::from(tag.is_some());
        check_depth(self.open.len() + 1 + depth)?;
        self.open.push(OpenNode { content, anchor, tag, weight: self.weight - NODE, depth: 0 });
        Ok(())
    }

    fn end(&mut self) -> Result<(), String> {
        let Some(open) = self.open.pop() else { return Ok(()) };
        let mut depth = open.depth + 1;
        let mut node = match open.content {
            Collection::List(list) => Node::List(list),
            Collection::Map { map, merged, .. } => Node::Map(merge(map, merged)?),
        };
        if let Some(tag) = open.tag {
            node = tagged(&tag, node);
            depth += 1;
        }
        self.keep(open.anchor, &node, self.weight - open.weight, depth)?;
        self.put(node, depth)
    }

    /// Adds a node to the open list or map.
    fn put(&mut self, node: Node, depth: usize) -> Result<(), String> {
        let Some(open) = self.open.last_mut() else {
            self.document = Some(node);
            return Ok(());
        };
        open.depth = open.depth.max(depth);
        match &mut open.content {
            Collection::List(list) => list.push(node),
            Collection::Map { map, name, merged } => match (name.take(), node) {
                (None, Node::Text(text) | Node::Bare(text)) => *name = Some(KeyName::Own(text)),
                (None, Node::Null) => *name = Some(KeyName::Own("null".to_owned())),
                (None, node) => return Err(format!("{node} stands where a name must be")),
                (Some(KeyName::Merge), node) => merged.push(node),
                (Some(KeyName::Own(name)), node) => {
                    if map.insert(name.clone(), node).is_some() {
                        self.twice.push(name);
                    }
                }
            },
        }
        Ok(())
    }

    /// Takes `<<` as the name of a merge, if a map waits for a name. Returns whether it did.
    fn begins_merge(&mut self) -> bool {
        match self.open.last_mut().map(|open| &mut open.content) {
            Some(Collection::Map { name: name @ None, .. }) => {
                *name = Some(KeyName::Merge);
                true
            }
            _ => false,
        }
    }

    fn keep(&mut self, anchor: usize, node: &Node, weight: usize, depth: usize) -> Result<(), String> {
        // Zero means that there is no anchor.
        if anchor > 0 {
            self.weigh(weight)?;
            self.anchors.insert(anchor, AnchoredNode { node: node.clone(), weight, depth });
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

/// Merges maps (`<<`): adds the entries that the map does not have itself.
fn merge(mut map: Map, merged: Vec<Node>) -> Result<Map, String> {
    // Of several merges the last one wins. Of the maps in one list the first one wins.
    for node in merged.into_iter().rev() {
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

/// Returns a scalar under the name of its short tag. A resolved scalar may be a boolean, a number or null.
fn scalar(text: Cow<'_, str>, is_resolved: bool, tag: Option<&str>) -> Node {
    if tag == Some("GetAtt") {
        let parts =
            text.split_once('.').map_or(vec![&*text], |(resource, attribute)| vec![resource, attribute]);
        let parts = parts.into_iter().map(|part| Node::Text(part.to_owned())).collect();
        return tagged("GetAtt", Node::List(parts));
    }
    let node = if is_resolved { scalars::plain(&text) } else { Node::Text(text.into_owned()) };
    match tag {
        None => node,
        Some(tag) => tagged(tag, node),
    }
}

/// Returns a part under the name that a short tag such as `!Sub` stands for.
fn tagged(tag: &str, node: Node) -> Node {
    let name = match tag {
        "Ref" | "Condition" => tag.to_owned(),
        tag => format!("Fn::{tag}"),
    };
    Node::Map(Map::from([(name, node)]))
}

/// Returns the name of a short tag, or `None` for YAML's own tags.
fn short_name(tag: &Tag) -> Option<&str> {
    (tag.handle() == "!" && !tag.suffix().is_empty()).then(|| tag.suffix())
}

#[cfg(test)]
mod tests;
