//! Messages about text that somebody else wrote. They are shown and logged, so they are never long.

/// Returns a message whole, or cut off if its subject is absurdly long.
#[must_use]
pub fn message(text: &str) -> String {
    cut(text, 600)
}

/// Returns the text, cut to this many characters at the most.
#[must_use]
pub fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}
