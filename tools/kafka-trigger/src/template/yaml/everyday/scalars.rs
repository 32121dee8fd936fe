//! The texts of scalars that span lines or have escapes.

use std::mem;

/// Returns the text that this number of line breaks within a scalar becomes.
pub(super) fn fold(breaks: usize) -> String {
    if breaks == 1 { " ".to_owned() } else { "\n".repeat(breaks - 1) }
}

/// Returns the lines of a quoted scalar as one text, without the blanks around the breaks.
pub(super) fn unfold(text: &str) -> Option<String> {
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
pub(super) fn unescape(text: &str) -> Option<String> {
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
