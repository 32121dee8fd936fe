//! Excerpts of texts that others wrote. Messages with them are shown, logged and stored, so they must be short.

/// The greatest length of an excerpt, in characters.
const MOST: usize = 300;

/// Returns the text, or the beginning of a text that is too long.
pub(crate) fn shortened(text: &str) -> String {
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
