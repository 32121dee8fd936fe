//! The reader's place in the text: blanks, comments, tags, and the nodes that parts become.

use std::borrow::Cow;
use std::collections::btree_map::Entry;

use crate::template::node::{Map, Node};
use crate::template::yaml::{HEAVIEST, NODE, scalar, tagged};

/// The deepest nesting for this reader, because it recurses. Deeper texts are left to the parser, which does not.
const DEEPEST: usize = 40;
/// The longest key, in bytes. YAML looks no further than 1024 characters ahead for a colon.
pub(super) const LONGEST_KEY: usize = 1000;

/// The byte behind the text. The text does not contain it, because control characters are not ordinary.
pub(super) const END: u8 = 0;

/// A part, before its tag is applied.
pub(super) enum ScalarOrTree<'a> {
    Scalar { text: Cow<'a, str>, is_plain: bool },
    Tree(Node),
}

pub(super) struct Reader<'a> {
    pub(super) text: &'a str,
    pub(super) at: usize,
    /// The start of the current line.
    pub(super) line: usize,
    pub(super) depth: usize,
    /// The weight of the tree, as the parser counts it.
    pub(super) weight: usize,
    pub(super) twice: Vec<String>,
}

/// Blanks, comments, tags, and the nodes that parts become.
impl<'a> Reader<'a> {
    pub(super) fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    pub(super) fn byte(&self, ahead: usize) -> u8 {
        self.text.as_bytes().get(self.at + ahead).copied().unwrap_or(END)
    }

    /// The column of the next byte. At the end of the text it is before the first column, so that all open parts end there.
    pub(super) fn column(&self) -> isize {
        if self.byte(0) == END { -1 } else { isize::try_from(self.at - self.line).unwrap_or(isize::MAX) }
    }

    pub(super) fn is_dash(&self) -> bool {
        self.byte(0) == b'-' && is_blank(self.byte(1))
    }

    pub(super) fn is_quote(&self) -> bool {
        matches!(self.byte(0), b'\'' | b'"')
    }

    /// Is there a key on this line, with a colon behind it?
    pub(super) fn is_key(&self) -> bool {
        let mut ahead = Reader { twice: Vec::new(), ..*self };
        let has_text = match ahead.is_quote() {
            true => ahead.quoted().is_some(),
            false => ahead.begins_plain() && ahead.end_of_plain(|_| false).is_some(),
        };
        ahead.skip_spaces();
        has_text && ahead.line == self.line && ahead.byte(0) == b':' && is_blank(ahead.byte(1))
    }

    /// Can a plain scalar begin here? Some that could are left to the parser.
    pub(super) fn begins_plain(&self) -> bool {
        match self.byte(0) {
            b'-' => !is_blank(self.byte(1)),
            byte => !is_blank(byte) && !b"?:,[]{}#&*!|>'\"%@`".contains(&byte),
        }
    }

    pub(super) fn is_at_end_of_line(&self) -> bool {
        matches!(self.byte(0), b'\n' | b'#' | END)
    }

    pub(super) fn skip_spaces(&mut self) {
        while self.byte(0) == b' ' {
            self.at += 1;
        }
    }

    /// Goes past blanks, line breaks and comments.
    pub(super) fn skip(&mut self) -> Option<()> {
        loop {
            self.skip_spaces();
            match self.byte(0) {
                b'\n' => {
                    self.at += 1;
                    self.line = self.at;
                }
                b'#' if self.at == self.line || self.text.as_bytes()[self.at - 1] == b' ' => {
                    self.at += self.rest().find('\n').unwrap_or(self.rest().len());
                }
                b'#' => return None,
                _ => return Some(()),
            }
        }
    }

    pub(super) fn skip_to_content(&mut self) -> Option<()> {
        self.skip()?;
        self.check_marker()
    }

    /// Gives up where a document ends or another begins. The parser reads such a text.
    pub(super) fn check_marker(&self) -> Option<()> {
        let is_marker =
            self.at == self.line && (self.rest().starts_with("---") || self.rest().starts_with("..."));
        (!is_marker).then_some(())
    }

    /// Goes to the next content, which must be on another line.
    pub(super) fn end_line(&mut self) -> Option<()> {
        let line = self.line;
        self.skip_to_content()?;
        (self.line > line || self.byte(0) == END).then_some(())
    }

    /// Goes past a short tag and the blanks behind it. Returns the tag's name.
    pub(super) fn tag(&mut self) -> Option<Option<&'a str>> {
        if self.byte(0) != b'!' {
            return Some(None);
        }
        let name = &self.rest()[1..];
        let length = name.bytes().take_while(u8::is_ascii_alphanumeric).count();
        self.at += 1 + length;
        if length == 0 || !is_blank(self.byte(0)) {
            return None;
        }
        self.skip_spaces();
        Some(Some(&name[..length]))
    }

    pub(super) fn finish(&mut self, part: ScalarOrTree<'_>, tag: Option<&str>) -> Option<Node> {
        Some(match (part, tag) {
            (ScalarOrTree::Scalar { text, is_plain }, tag) => {
                self.weigh(text.len())?;
                scalar(text, is_plain && tag.is_none(), tag)
            }
            (ScalarOrTree::Tree(node), Some(tag)) => tagged(tag, node),
            (ScalarOrTree::Tree(node), None) => node,
        })
    }

    /// Returns the name that a key is. A merge (`<<`) is left to the parser.
    pub(super) fn name(&mut self, key: ScalarOrTree<'_>) -> Option<String> {
        if matches!(&key, ScalarOrTree::Scalar { text, is_plain: true } if *text == "<<") {
            return None;
        }
        match self.finish(key, None)? {
            Node::Text(text) | Node::Bare(text) => Some(text),
            Node::Null => Some("null".to_owned()),
            _ => None,
        }
    }

    pub(super) fn put(&mut self, map: &mut Map, name: String, value: Node) {
        match map.entry(name) {
            Entry::Vacant(entry) => {
                entry.insert(value);
            }
            Entry::Occupied(mut entry) => {
                self.twice.push(entry.key().clone());
                entry.insert(value);
            }
        }
    }

    pub(super) fn weigh(&mut self, text: usize) -> Option<()> {
        self.weight += NODE + text;
        (self.weight <= HEAVIEST).then_some(())
    }

    pub(super) fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        if self.depth == DEEPEST {
            return None;
        }
        self.depth += 1;
        let part = read(self);
        self.depth -= 1;
        part
    }
}

impl<'a> ScalarOrTree<'a> {
    pub(super) fn plain(text: Cow<'a, str>) -> Self {
        Self::Scalar { text, is_plain: true }
    }

    pub(super) fn quoted(text: Cow<'a, str>) -> Self {
        Self::Scalar { text, is_plain: false }
    }
}

pub(super) fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\n' | END)
}

pub(super) fn is_flow_indicator(byte: u8) -> bool {
    matches!(byte, b',' | b'[' | b']' | b'{' | b'}')
}
