//! Messages about what somebody else wrote: they are shown, logged and kept, so they are never long.

/// The longest that such a message is, in characters.
const MOST: usize = 300;

/// The text, or its beginning.
pub(crate) fn shortened(text: &str) -> String {
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
