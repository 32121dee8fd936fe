//! Messages about what somebody else wrote: they are shown and logged, so they are never long.

/// A whole message, cut off when what it is about is absurdly long.
#[must_use]
pub fn message(text: &str) -> String {
    cut(text, 600)
}

/// A text of so many characters at the most.
#[must_use]
pub fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}
