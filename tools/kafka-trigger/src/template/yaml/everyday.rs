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

use std::borrow::Cow;
use std::collections::btree_map::Entry;
use std::mem;

use super::{HEAVIEST, NODE, scalar, tagged};
use crate::template::node::{Map, Node};

/// The deepest nesting for this reader, because it recurses. Deeper texts are left to the parser, which does not.
const DEEPEST: usize = 40;
/// The longest key, in bytes. YAML looks no further than 1024 characters ahead for a colon.
const LONGEST_KEY: usize = 1000;

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

/// The byte behind the text. The text does not contain it, because control characters are not ordinary.
const END: u8 = 0;

/// The place of a part of a block.
#[derive(Clone, Copy, PartialEq)]
enum BlockPlace {
    /// Behind a key. A list may begin at the key's own column.
    Value,
    /// Behind a dash.
    Item,
}

/// A part, before its tag is applied.
enum ScalarOrTree<'a> {
    Scalar { text: Cow<'a, str>, is_plain: bool },
    Tree(Node),
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    /// The start of the current line.
    line: usize,
    depth: usize,
    /// The weight of the tree, as the parser counts it.
    weight: usize,
    twice: Vec<String>,
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

/// Flow style.
impl<'a> Reader<'a> {
    fn flow(&mut self) -> Option<Node> {
        let tag = self.tag()?;
        let part = match self.byte(0) {
            b'[' | b'{' | b'\'' | b'"' => self.flow_or_quoted()?,
            _ => ScalarOrTree::plain(self.flow_plain()?),
        };
        self.finish(part, tag)
    }

    fn flow_or_quoted(&mut self) -> Option<ScalarOrTree<'a>> {
        match self.byte(0) {
            b'[' => self.deeper(Self::flow_list).map(ScalarOrTree::Tree),
            b'{' => self.deeper(Self::flow_map).map(ScalarOrTree::Tree),
            _ => self.quoted().map(ScalarOrTree::quoted),
        }
    }

    fn flow_list(&mut self) -> Option<Node> {
        self.weigh(0)?;
        let mut list = Vec::new();
        self.at += 1;
        while !self.closes(b']')? {
            list.push(self.flow()?);
            self.comma_before(b']')?;
        }
        Some(Node::List(list))
    }

    fn flow_map(&mut self) -> Option<Node> {
        self.weigh(0)?;
        let mut map = Map::new();
        self.at += 1;
        while !self.closes(b'}')? {
            let start = self.at;
            let key = if self.is_quote() {
                ScalarOrTree::quoted(self.quoted()?)
            } else {
                ScalarOrTree::plain(self.flow_plain()?)
            };
            let name = self.name(key)?;
            self.skip_spaces();
            if self.byte(0) != b':'
                || !is_blank(self.byte(1))
                || self.at - start > LONGEST_KEY
                || self.line > start
            {
                return None;
            }
            self.at += 1;
            self.skip_to_content()?;
            let value = match self.byte(0) {
                b',' | b'}' => self.finish(ScalarOrTree::plain(Cow::Borrowed("")), None)?,
                _ => self.flow()?,
            };
            self.put(&mut map, name, value);
            self.comma_before(b'}')?;
        }
        Some(Node::Map(map))
    }

    /// Goes past a bracket, if one is next. Returns whether it did.
    fn closes(&mut self, bracket: u8) -> Option<bool> {
        self.skip_to_content()?;
        let closes = self.byte(0) == bracket;
        self.at += usize::from(closes);
        Some(closes)
    }

    /// Goes past a comma, unless the bracket follows.
    fn comma_before(&mut self, bracket: u8) -> Option<()> {
        self.skip_to_content()?;
        match self.byte(0) {
            b',' => self.at += 1,
            byte if byte == bracket => {}
            _ => return None,
        }
        Some(())
    }

    fn flow_plain(&mut self) -> Option<Cow<'a, str>> {
        let start = self.at;
        if !self.begins_plain() {
            return None;
        }
        let end = self.end_of_plain(is_flow_indicator)?;
        let text = &self.text[start..end];
        // Readers of YAML differ about a question mark here.
        (!text.contains('?')).then_some(Cow::Borrowed(text))
    }

    /// Reads a quoted scalar, which may be on several lines.
    fn quoted(&mut self) -> Option<Cow<'a, str>> {
        let quote = self.byte(0);
        let start = self.at + 1;
        let mut end = start;
        let bytes = self.text.as_bytes();
        let mut is_verbatim = true;
        loop {
            match *bytes.get(end)? {
                b'\'' if quote == b'\'' && bytes.get(end + 1) == Some(&quote) => {
                    is_verbatim = false;
                    end += 2;
                }
                b'\\' if quote == b'"' => {
                    is_verbatim = false;
                    end += 2;
                }
                byte if byte == quote => break,
                b'\n' => {
                    is_verbatim = false;
                    end += 1;
                    self.line = end;
                }
                _ => end += 1,
            }
        }
        self.at = end + 1;
        let text = &self.text[start..end];
        if is_verbatim {
            return Some(Cow::Borrowed(text));
        }
        let unfolded = unfold(text)?;
        match quote {
            b'\'' => Some(Cow::Owned(unfolded.replace("''", "'"))),
            _ => unescape(&unfolded).map(Cow::Owned),
        }
    }
}

/// Blanks, comments, tags, and the nodes that parts become.
impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn byte(&self, ahead: usize) -> u8 {
        self.text.as_bytes().get(self.at + ahead).copied().unwrap_or(END)
    }

    /// The column of the next byte. At the end of the text it is before the first column, so that all open parts end there.
    fn column(&self) -> isize {
        if self.byte(0) == END { -1 } else { isize::try_from(self.at - self.line).unwrap_or(isize::MAX) }
    }

    fn is_dash(&self) -> bool {
        self.byte(0) == b'-' && is_blank(self.byte(1))
    }

    fn is_quote(&self) -> bool {
        matches!(self.byte(0), b'\'' | b'"')
    }

    /// Is there a key on this line, with a colon behind it?
    fn is_key(&self) -> bool {
        let mut ahead = Reader { twice: Vec::new(), ..*self };
        let has_text = match ahead.is_quote() {
            true => ahead.quoted().is_some(),
            false => ahead.begins_plain() && ahead.end_of_plain(|_| false).is_some(),
        };
        ahead.skip_spaces();
        has_text && ahead.line == self.line && ahead.byte(0) == b':' && is_blank(ahead.byte(1))
    }

    /// Can a plain scalar begin here? Some that could are left to the parser.
    fn begins_plain(&self) -> bool {
        match self.byte(0) {
            b'-' => !is_blank(self.byte(1)),
            byte => !is_blank(byte) && !b"?:,[]{}#&*!|>'\"%@`".contains(&byte),
        }
    }

    fn is_at_end_of_line(&self) -> bool {
        matches!(self.byte(0), b'\n' | b'#' | END)
    }

    fn skip_spaces(&mut self) {
        while self.byte(0) == b' ' {
            self.at += 1;
        }
    }

    /// Goes past blanks, line breaks and comments.
    fn skip(&mut self) -> Option<()> {
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

    fn skip_to_content(&mut self) -> Option<()> {
        self.skip()?;
        self.check_marker()
    }

    /// Gives up where a document ends or another begins. The parser reads such a text.
    fn check_marker(&self) -> Option<()> {
        let is_marker =
            self.at == self.line && (self.rest().starts_with("---") || self.rest().starts_with("..."));
        (!is_marker).then_some(())
    }

    /// Goes to the next content, which must be on another line.
    fn end_line(&mut self) -> Option<()> {
        let line = self.line;
        self.skip_to_content()?;
        (self.line > line || self.byte(0) == END).then_some(())
    }

    /// Goes past a short tag and the blanks behind it. Returns the tag's name.
    fn tag(&mut self) -> Option<Option<&'a str>> {
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

    fn finish(&mut self, part: ScalarOrTree<'_>, tag: Option<&str>) -> Option<Node> {
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
    fn name(&mut self, key: ScalarOrTree<'_>) -> Option<String> {
        if matches!(&key, ScalarOrTree::Scalar { text, is_plain: true } if *text == "<<") {
            return None;
        }
        match self.finish(key, None)? {
            Node::Text(text) | Node::Bare(text) => Some(text),
            Node::Null => Some("null".to_owned()),
            _ => None,
        }
    }

    fn put(&mut self, map: &mut Map, name: String, value: Node) {
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

    fn weigh(&mut self, text: usize) -> Option<()> {
        self.weight += NODE + text;
        (self.weight <= HEAVIEST).then_some(())
    }

    fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
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
    fn plain(text: Cow<'a, str>) -> Self {
        Self::Scalar { text, is_plain: true }
    }

    fn quoted(text: Cow<'a, str>) -> Self {
        Self::Scalar { text, is_plain: false }
    }
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\n' | END)
}

fn is_flow_indicator(byte: u8) -> bool {
    matches!(byte, b',' | b'[' | b']' | b'{' | b'}')
}

/// Returns the text that this number of line breaks within a scalar becomes.
fn fold(breaks: usize) -> String {
    if breaks == 1 { " ".to_owned() } else { "\n".repeat(breaks - 1) }
}

/// Returns the lines of a quoted scalar as one text, without the blanks around the breaks.
fn unfold(text: &str) -> Option<String> {
    let mut lines = text.split('\n').enumerate().peekable();
    let mut unfolded = String::with_capacity(text.len());
    let mut breaks = 0;
    while let Some((place, line)) = lines.next() {
        let is_last = lines.peek().is_none();
        // A backslash may escape the break.
        if place > 0 && (line.starts_with("---") || line.starts_with("..."))
            || !is_last && line.ends_with('\\')
        {
            return None;
        }
        let line = if place > 0 { line.trim_start_matches(' ') } else { line };
        let line = if is_last { line } else { line.trim_end_matches(' ') };
        if place > 0 && (is_last || !line.is_empty()) {
            unfolded.push_str(&fold(mem::take(&mut breaks)));
        }
        unfolded.push_str(line);
        breaks += 1;
    }
    Some(unfolded)
}

/// Replaces the escapes of a double-quoted text. It gives up at an escape that it does not know.
fn unescape(text: &str) -> Option<String> {
    let mut unescaped = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        unescaped.push(match character {
            '\\' => match characters.next()? {
                'n' => '\n',
                't' => '\t',
                same @ ('\\' | '"' | '/') => same,
                _ => return None,
            },
            other => other,
        });
    }
    Some(unescaped)
}
