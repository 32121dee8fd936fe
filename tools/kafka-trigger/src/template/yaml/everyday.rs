//! Reads the YAML that nearly every template is written in, in one pass over its bytes: maps, lists, scalars, comments and short
//! tags.
//!
//! The parser for the whole language needs some 270 instructions a byte, and most templates do not need that parser.
//!
//! This reader knows less than YAML. At a form that it does not know, and at a form that looks wrong, it gives up with `None`.
//! Then the parser for the whole language reads the text, or reports the error. So this reader must keep one rule only: a tree
//! that it returns is the parser's. A property test compares the two.
//!
//! Each function leaves the reader at the first byte behind the part that it has read. Functions that read a part of a block
//! leave it at the next content, on a line of its own.

mod flow;
mod reader;
mod scalars;

use std::borrow::Cow;
use std::mem;

use self::reader::{END, LONGEST_KEY, Reader, ScalarOrTree, is_blank};
use self::scalars::fold;
use crate::template::node::{Map, Node};

/// Returns the tree, and the names that stand twice in one map. Returns `None` if it gives up.
pub(super) fn read(text: &str) -> Option<(Node, Vec<String>)> {
    let text = if text.contains('\r') { Cow::Owned(text.replace("\r\n", "\n")) } else { Cow::Borrowed(text) };
    if !is_ordinary(&text) {
        return None;
    }
    let mut reader = Reader { text: &text, at: 0, line: 0, depth: 0, weight: 0, twice: Vec::new() };
    reader.skip()?;
    if reader.at == reader.line && reader.rest().starts_with("---\n") {
        reader.at += "---".len();
        reader.skip()?;
    }
    reader.check_marker()?;
    let document = reader.node(-1)?;
    let is_whole = reader.byte(0) == END && matches!(document, Node::List(_) | Node::Map(_));
    is_whole.then_some((document, reader.twice))
}

/// Is the text free of control characters, tabs, other kinds of line breaks, and byte order marks?
fn is_ordinary(text: &str) -> bool {
    let is_ascii = |byte: u8| matches!(byte, b'\n' | b' '..=b'~');
    // A count, because `all` would look at one byte after the other.
    let others = text.bytes().filter(|byte| !is_ascii(*byte)).count();
    let is_other = |character: char| {
        matches!(character, '\u{a0}'..='\u{2027}' | '\u{202a}'..='\u{d7ff}' | '\u{e000}'..='\u{fefe}')
            || matches!(character, '\u{ff00}'..='\u{fffd}' | '\u{10000}'..)
    };
    let is_ascii = |character: char| u8::try_from(character).is_ok_and(is_ascii);
    others == 0 || text.chars().all(|character| is_ascii(character) || is_other(character))
}

/// The place of a part of a block.
#[derive(Clone, Copy, PartialEq)]
enum BlockPlace {
    /// Behind a key. A list may begin at the key's own column.
    Value,
    /// Behind a dash.
    Item,
}

/// Block style.
impl<'a> Reader<'a> {
    /// Reads a part of a block, from its first byte. `indent` is the column of the map or list around it.
    fn node(&mut self, indent: isize) -> Option<Node> {
        self.deeper(|reader| {
            if reader.is_dash() {
                return reader.list(reader.column());
            }
            if reader.is_key() {
                return reader.map(reader.column());
            }
            reader.part(indent, BlockPlace::Item)
        })
    }

    fn map(&mut self, column: isize) -> Option<Node> {
        self.weigh(0)?;
        let mut map = Map::new();
        loop {
            let start = self.at;
            let key = if self.is_quote() {
                ScalarOrTree::quoted(self.quoted()?)
            } else {
                ScalarOrTree::plain(self.plain_key()?)
            };
            let name = self.name(key)?;
            self.skip_spaces();
            if self.byte(0) != b':' || self.at - start > LONGEST_KEY || self.line > start {
                return None;
            }
            self.at += 1;
            let value = self.value(column, BlockPlace::Value)?;
            self.put(&mut map, name, value);
            if self.column() < column {
                return Some(Node::Map(map));
            }
            if self.column() > column || !self.is_key() {
                return None;
            }
        }
    }

    fn list(&mut self, column: isize) -> Option<Node> {
        self.weigh(0)?;
        let mut list = Vec::new();
        while self.column() == column && self.is_dash() {
            self.at += 1;
            list.push(self.value(column, BlockPlace::Item)?);
        }
        Some(Node::List(list))
    }

    /// Reads the value behind a key's colon or an item's dash, on the same line or below it.
    fn value(&mut self, column: isize, place: BlockPlace) -> Option<Node> {
        self.skip_spaces();
        if self.is_at_end_of_line() {
            return match self.below(column, place)? {
                Some(node) => Some(node),
                None => self.finish(ScalarOrTree::plain(Cow::Borrowed("")), None),
            };
        }
        match place {
            BlockPlace::Value => self.deeper(|reader| reader.part(column, place)),
            BlockPlace::Item => self.node(column),
        }
    }

    /// Reads the value on the lines below. Returns no node if the lines belong to another part.
    fn below(&mut self, column: isize, place: BlockPlace) -> Option<Option<Node>> {
        self.skip_to_content()?;
        if self.column() > column {
            return self.node(column).map(Some);
        }
        if place == BlockPlace::Value && self.column() == column && self.is_dash() {
            return self.deeper(|reader| reader.list(column)).map(Some);
        }
        Some(None)
    }

    /// Reads a part that is not a map or list of a block, unless it has a tag.
    fn part(&mut self, indent: isize, place: BlockPlace) -> Option<Node> {
        let tag = self.tag()?;
        if tag.is_some() && self.is_at_end_of_line() {
            self.skip_to_content()?;
            // A part can't have two tags.
            if self.byte(0) == b'!' {
                return None;
            }
            return match self.below(indent, place)? {
                Some(node @ (Node::List(_) | Node::Map(_))) => self.finish(ScalarOrTree::Tree(node), tag),
                // A scalar below its tag has already been resolved, as if it had no tag.
                Some(_) => None,
                None => self.finish(ScalarOrTree::plain(Cow::Borrowed("")), tag),
            };
        }
        let part = match self.byte(0) {
            b'|' | b'>' => ScalarOrTree::quoted(self.block_scalar(indent)?),
            b'[' | b'{' | b'\'' | b'"' => {
                let part = self.flow_or_quoted()?;
                self.end_line()?;
                part
            }
            _ => ScalarOrTree::plain(self.plain(indent)?),
        };
        self.finish(part, tag)
    }

    /// Reads a plain scalar, with its continuation lines.
    fn plain(&mut self, indent: isize) -> Option<Cow<'a, str>> {
        // A document that is a scalar is not a template. And such a scalar would continue where another document begins.
        if indent < 0 {
            return None;
        }
        let mut text = Cow::Borrowed(self.plain_line()?);
        while self.byte(0) == b'\n' {
            let (at, line) = (self.at, self.line);
            let mut breaks = 0;
            while matches!(self.byte(0), b'\n' | b' ') {
                breaks += usize::from(self.byte(0) == b'\n');
                self.at += 1;
                if self.text.as_bytes()[self.at - 1] == b'\n' {
                    self.line = self.at;
                }
            }
            if self.column() <= indent || self.byte(0) == b'#' {
                (self.at, self.line) = (at, line);
                break;
            }
            let text = text.to_mut();
            text.push_str(&fold(breaks));
            text.push_str(self.rest_of_plain_line()?);
        }
        self.end_line()?;
        // A plain scalar can't continue behind a comment.
        (self.column() <= indent).then_some(text)
    }

    /// Reads the first line of a plain scalar, without the blanks behind it.
    fn plain_line(&mut self) -> Option<&'a str> {
        if !self.begins_plain() {
            return None;
        }
        self.rest_of_plain_line()
    }

    fn rest_of_plain_line(&mut self) -> Option<&'a str> {
        let start = self.at;
        let end = self.end_of_plain(|_| false)?;
        if self.byte(0) == b':' {
            return None;
        }
        Some(&self.text[start..end])
    }

    /// Reads a plain key, up to its colon.
    fn plain_key(&mut self) -> Option<Cow<'a, str>> {
        let start = self.at;
        if !self.begins_plain() {
            return None;
        }
        let end = self.end_of_plain(|_| false)?;
        Some(Cow::Borrowed(&self.text[start..end]))
    }

    /// Goes to the end of a plain scalar on this line. It ends at a colon before a blank, a comment, the end of the line, or an
    /// indicator. Returns the end of its text, without the blanks behind it.
    fn end_of_plain(&mut self, is_indicator: impl Fn(u8) -> bool) -> Option<usize> {
        let bytes = self.text.as_bytes();
        let mut end = self.at;
        loop {
            match self.byte(0) {
                b' ' => {}
                END | b'\n' => return Some(end),
                b'#' if bytes[self.at - 1] == b' ' => return Some(end),
                b':' if is_blank(self.byte(1)) => return Some(end),
                // Readers of YAML differ about such a colon.
                b':' if is_indicator(self.byte(1)) => return None,
                byte if is_indicator(byte) => return Some(end),
                _ => end = self.at + 1,
            }
            self.at += 1;
        }
    }

    /// Reads a literal or a folded scalar. It gives up if the header has a number for the indentation.
    fn block_scalar(&mut self, indent: isize) -> Option<Cow<'a, str>> {
        let is_folded = self.byte(0) == b'>';
        let chomping = self.byte(1);
        self.at += if matches!(chomping, b'+' | b'-') { 2 } else { 1 };
        if !is_blank(self.byte(0)) {
            return None;
        }
        self.skip_spaces();
        if self.byte(0) == b'#' {
            self.at += self.rest().find('\n')?;
        }
        if self.byte(0) != b'\n' {
            return None;
        }
        self.at += 1;
        let content = self.indent_of_block_scalar()?.max(usize::try_from(indent + 1).ok()?).max(1);
        let mut text = String::new();
        // The break behind the last line, the number of blank lines since then, and whether the last line began with a blank.
        let (mut last_break, mut breaks, mut began_blank) = ("", 0, false);
        loop {
            self.line = self.at;
            let (line, line_break) =
                self.rest().split_once('\n').map_or((self.rest(), ""), |(line, _)| (line, "\n"));
            let blanks = line.len() - line.trim_start_matches(' ').len();
            if blanks == line.len() && blanks <= content {
                if line_break.is_empty() {
                    self.at = self.text.len();
                    break;
                }
                breaks += 1;
            } else if blanks < content {
                break;
            } else {
                let begins_blank = blanks > content;
                if is_folded && !last_break.is_empty() && !began_blank && !begins_blank {
                    text.push_str(if breaks == 0 { " " } else { "" });
                } else {
                    text.push_str(last_break);
                }
                text.extend((0..mem::take(&mut breaks)).map(|_| '\n'));
                text.push_str(&line[content..]);
                (last_break, began_blank) = (line_break, begins_blank);
            }
            self.at += line.len() + line_break.len();
        }
        if chomping != b'-' {
            text.push_str(last_break);
        }
        if chomping == b'+' {
            text.extend((0..breaks).map(|_| '\n'));
        }
        self.skip_to_content()?;
        Some(Cow::Owned(text))
    }

    /// Returns the indentation of the first line that is not blank. It gives up if a blank line before it is longer.
    fn indent_of_block_scalar(&self) -> Option<usize> {
        let blanks = |line: &str| line.len() - line.trim_start_matches(' ').len();
        let mut longest = 0;
        for line in self.rest().split('\n') {
            if blanks(line) < line.len() {
                return Some(blanks(line)).filter(|indent| *indent >= longest);
            }
            longest = longest.max(line.len());
        }
        None
    }
}
