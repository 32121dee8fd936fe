//! The text of a template to its tree: YAML with CloudFormation's short tags, or JSON.
//!
//! CloudFormation's tools read YAML as libyaml does, which takes more than the specification of YAML allows. The parser follows
//! libyaml in that, and tests compare trees with PyYAML's. It is slow: what nearly every template is made of is read by `everyday`, which
//! leaves all else to the parser.
//!
//! Nothing here recurses over what a stranger wrote, and what it may grow to is bounded: in depth, and in memory when aliases
//! repeat what they name.

mod everyday;

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;

use granit_parser::{ErrorKind, Event, Parser, ScalarStyle, ScanError, Tag};

use super::error::TemplateError;
use super::node::{Map, Node};
use super::scalars;
use super::value::shorten;

/// The longest text that is read, in bytes. CloudFormation takes 1 MB.
const LONGEST: usize = 4 << 20;
/// How deep lists and maps may nest.
const DEEPEST: usize = 100;
/// What the tree may weigh, in bytes, with each alias counted as the copy that it is.
const HEAVIEST: usize = 64 << 20;
/// About what a node weighs beside its text.
const NODE: usize = 64;
/// How many bytes are read again at most: each repair has the text read once more.
const MOST_READ_AGAIN: usize = 20 * LONGEST;

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
    let (document, twice) = everyday::read(text).map_or_else(|| parsed(text), Ok)?;
    warnings.extend(twice.iter().map(|name| self::twice(name)));
    Ok(document)
}

/// The tree, and the names that stand twice in one map, by the parser of the whole language.
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

/// Why there is no tree.
enum Unread {
    /// The text is no YAML.
    Text(ScanError),
    /// What begins here can't be a part of a template's tree.
    Tree { line: usize, column: usize, problem: String },
}

impl Unread {
    /// Where the parser wants another text than libyaml does, and which, if that is what is wrong.
    fn repair(&self, text: &str) -> Option<(Range<usize>, &'static str)> {
        let Self::Text(error) = self else { return None };
        let place = error.marker().byte_offset()?;
        let rest = text.get(place..)?;
        match error.kind() {
            // libyaml begins a comment at any # behind a token, and the parser wants a blank before it.
            ErrorKind::CommentNotSeparated => Some((place..place, " ")),
            // libyaml takes a dash for a scalar where a comma or a bracket follows, and the parser wants quotes around it.
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

fn tree(text: &str) -> Result<(Node, Vec<String>), Unread> {
    let options = granit_parser::options! {
        emit_comments: false,
        bom_inside_document_as_content: true,
        block_scalar_eof_without_line_feed: true,
    };
    let mut parser = Parser::new_from_str_with_options(text, options);
    let mut builder = Builder::default();
    while let Some(event) = parser.next_event() {
        let (event, span) = event.map_err(Unread::Text)?;
        builder.take(event).map_err(|problem| {
            let (line, column) = (span.start.line(), span.start.col() + 1);
            Unread::Tree { line, column, problem }
        })?;
    }
    Ok((builder.document.unwrap_or(Node::Null), builder.twice))
}

/// Of a name that stands twice the last counts, as in other readers of templates.
pub(super) fn twice(name: &str) -> String {
    format!("{} stands twice in one map; the last one counts", shorten(name))
}

/// Builds the tree from the parser's events.
#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    anchors: HashMap<usize, Anchored>,
    document: Option<Node>,
    weight: usize,
    /// Names that stand twice in one map.
    twice: Vec<String>,
}

/// A list or a map that has not ended.
struct Open {
    content: Content,
    anchor: usize,
    /// The name of its short tag.
    tag: Option<String>,
    /// What the tree weighed when it began.
    weight: usize,
    /// How deep the deepest node in it is below it.
    depth: usize,
}

enum Content {
    List(Vec<Node>),
    Map { map: Map, name: Option<Name>, merged: Vec<Node> },
}

/// What stands before a value in a map.
enum Name {
    Own(String),
    /// `<<`
    Merge,
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
            Event::DocumentStart(..) if self.document.is_some() => {
                Err("a second document begins here; a template is one".to_owned())
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.begin(Content::List(Vec::new()), anchor, tag.as_deref())
            }
            Event::MappingStart(_, anchor, tag) => {
                let content = Content::Map { map: Map::new(), name: None, merged: Vec::new() };
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
                    // `!!int` says of a scalar of any style that it is one.
                    Some(tag) => matches!(tag.core_suffix(), Some("bool" | "float" | "int" | "null")),
                };
                let node = scalar(text, is_resolved, tag.and_then(short_name));
                self.keep(anchor, &node, weight, 0)?;
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
        let tag = tag.and_then(short_name).map(str::to_owned);
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
            node = tagged(&tag, node);
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
                (None, Node::Text(text) | Node::Bare(text)) => *name = Some(Name::Own(text)),
                (None, Node::Null) => *name = Some(Name::Own("null".to_owned())),
                (None, node) => return Err(format!("{node} stands where a name must be")),
                (Some(Name::Merge), node) => merged.push(node),
                (Some(Name::Own(name)), node) => {
                    if map.insert(name.clone(), node).is_some() {
                        self.twice.push(name);
                    }
                }
            },
        }
        Ok(())
    }

    /// Takes `<<` for the name of a merge, when a map waits for a name.
    fn begins_merge(&mut self) -> bool {
        match self.open.last_mut().map(|open| &mut open.content) {
            Some(Content::Map { name: name @ None, .. }) => {
                *name = Some(Name::Merge);
                true
            }
            _ => false,
        }
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
    // Of several merges the last goes first; of the maps in a list the first does.
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

/// A scalar with the name of its short tag. One that is resolved may be a boolean, a number or null.
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

/// A part below the name that a short tag such as `!Sub` stands for.
fn tagged(tag: &str, node: Node) -> Node {
    let name = match tag {
        "Ref" | "Condition" => tag.to_owned(),
        tag => format!("Fn::{tag}"),
    };
    Node::Map(Map::from([(name, node)]))
}

/// The name of a short tag; none for YAML's own tags.
fn short_name(tag: &Tag) -> Option<&str> {
    (tag.handle() == "!" && !tag.suffix().is_empty()).then(|| tag.suffix())
}

#[cfg(test)]
mod tests;
