//! A check that people can see a text.

use unicode_properties::{GeneralCategoryGroup, UnicodeGeneralCategory};

use event_sourcing::Invalid;

/// Letters and symbols that are blank: fillers of Hangul, and the pattern of Braille without dots.
const BLANK: [char; 5] = ['\u{115f}', '\u{1160}', '\u{2800}', '\u{3164}', '\u{ffa0}'];

/// Refuses a text that shows nothing. Such a text has only spaces, marks without a letter, and characters that say how others are
/// written.
pub(crate) fn refuse_unseen(text: &str, what: &'static str) -> Result<(), Invalid> {
    let is_seen = |character: char| {
        let group = character.general_category_group();
        let shows = matches!(
            group,
            GeneralCategoryGroup::Letter
                | GeneralCategoryGroup::Number
                | GeneralCategoryGroup::Punctuation
                | GeneralCategoryGroup::Symbol
        );
        shows && !BLANK.contains(&character)
    };
    // Unicode may have assigned such a character since, or people may have agreed on it among themselves. So they may be able to
    // see it.
    let is_unknown = |character: char| {
        use unicode_properties::GeneralCategory::{PrivateUse, Unassigned};
        matches!(character.general_category(), PrivateUse | Unassigned)
    };
    if text.chars().any(|character| is_seen(character) || is_unknown(character)) {
        return Ok(());
    }
    let problem = "has nothing but invisible characters".to_owned();
    Err(Invalid {
        what,
        problem,
        allowed: "1 to 255 characters, one of which can be seen, without control characters",
    })
}
