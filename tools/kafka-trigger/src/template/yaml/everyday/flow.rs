//! Flow style.

use std::borrow::Cow;

use super::reader::{LONGEST_KEY, Reader, ScalarOrTree, is_blank, is_flow_indicator};
use super::scalars::{unescape, unfold};
use crate::template::node::{Map, Node};

impl<'a> Reader<'a> {
    pub(super) fn flow(&mut self) -> Option<Node> {
        let tag = self.tag()?;
        let part = match self.byte(0) {
            b'[' | b'{' | b'\'' | b'"' => self.flow_or_quoted()?,
            _ => ScalarOrTree::plain(self.flow_plain()?),
        };
        self.finish(part, tag)
    }

    pub(super) fn flow_or_quoted(&mut self) -> Option<ScalarOrTree<'a>> {
        match self.byte(0) {
            b'[' => self.deeper(Self::flow_list).map(ScalarOrTree::Tree),
            b'{' => self.deeper(Self::flow_map).map(ScalarOrTree::Tree),
            _ => self.quoted().map(ScalarOrTree::quoted),
        }
    }

    pub(super) fn flow_list(&mut self) -> Option<Node> {
        self.weigh(0)?;
        let mut list = Vec::new();
        self.at += 1;
        while !self.closes(b']')? {
            list.push(self.flow()?);
            self.comma_before(b']')?;
        }
        Some(Node::List(list))
    }

    pub(super) fn flow_map(&mut self) -> Option<Node> {
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
    pub(super) fn closes(&mut self, bracket: u8) -> Option<bool> {
        self.skip_to_content()?;
        let closes = self.byte(0) == bracket;
        self.at += usize::from(closes);
        Some(closes)
    }

    /// Goes past a comma, unless the bracket follows.
    pub(super) fn comma_before(&mut self, bracket: u8) -> Option<()> {
        self.skip_to_content()?;
        match self.byte(0) {
            b',' => self.at += 1,
            byte if byte == bracket => {}
            _ => return None,
        }
        Some(())
    }

    pub(super) fn flow_plain(&mut self) -> Option<Cow<'a, str>> {
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
    pub(super) fn quoted(&mut self) -> Option<Cow<'a, str>> {
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
