//! The form of accepted values. It is taken from the text of the documentation, not from the code that accepts them.

/// An id is 1 to 128 of `A–Z a–z 0–9 . _ ~ -`, and not `.` or `..`.
pub(crate) fn assert_is_id(text: &str) {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._~-";
    assert!((1..=128).contains(&text.len()), "an id of {} bytes: {text:?}", text.len());
    assert!(text.bytes().all(|byte| ALPHABET.contains(&byte)), "not an id: {text:?}");
    assert!(!matches!(text, "." | ".."), "not an id: {text:?}");
}

/// A name or a reason is 1 to 255 characters, none of them a control character.
pub(crate) fn assert_is_line(text: &str) {
    assert!((1..=255).contains(&text.chars().count()), "not a name: {text:?}");
    let is_control = |c: char| matches!(c, '\u{0}'..='\u{1f}' | '\u{7f}'..='\u{9f}');
    assert!(!text.contains(is_control), "not a name: {text:?}");
}

/// The largest size of a message, in bytes, whatever it is about.
const LONGEST: usize = 4_000;

/// Checks that a message about a fault is short enough to be shown, logged and kept, also when the faulty input is long.
pub(crate) fn assert_is_said_shortly(text: &str) {
    assert!(!text.is_empty() && text.len() <= LONGEST, "{} bytes: {text:?}", text.len());
}
