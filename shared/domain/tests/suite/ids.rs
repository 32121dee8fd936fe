//! The values that are parsed once at the edge.

use domain::{CommandId, CommandKind, IdempotencyKey, OrderId, OrderName, Reason, Version};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::strategies::config;

/// Generates texts: of visible ASCII, of any characters, and around the limits. Most types allow about half of them.
fn any_text() -> impl Strategy<Value = String> {
    let visible = vec(prop::char::range('!', '~'), 0..140).prop_map(String::from_iter);
    let unicode = vec(any::<char>(), 0..40).prop_map(String::from_iter);
    let long = ("[a-z0-9é]", 125..260_usize).prop_map(|(character, times)| character.repeat(times));
    prop_oneof!["[A-Za-z0-9._~-]{0,130}", visible, unicode, long, "[.]{0,4}"]
}

fn id_is_allowed(text: &str) -> bool {
    const ALLOWED: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._~-";
    let length = text.chars().count();
    (1..=128).contains(&length) && text.chars().all(|c| ALLOWED.contains(c)) && text != "." && text != ".."
}

fn line_is_allowed(text: &str) -> bool {
    (1..=255).contains(&text.chars().count()) && !text.chars().any(char::is_control)
}

fn key_is_allowed(text: &str) -> bool {
    (1..=255).contains(&text.len()) && text.bytes().all(|b| (0x21..=0x7e).contains(&b))
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn an_order_id_is_exactly_what_is_allowed(text in any_text()) {
        let parsed = OrderId::parse(&text);
        prop_assert_eq!(parsed.is_ok(), id_is_allowed(&text));
        if let Ok(id) = parsed {
            prop_assert_eq!(id.as_str(), text);
        }
    }

    #[test]
    fn a_name_and_a_reason_are_exactly_what_is_allowed(text in any_text()) {
        prop_assert_eq!(OrderName::parse(&text).is_ok(), line_is_allowed(&text));
        prop_assert_eq!(Reason::parse(&text).is_ok(), line_is_allowed(&text));
    }

    #[test]
    fn a_key_and_a_systems_id_are_exactly_what_is_allowed(text in any_text()) {
        prop_assert_eq!(IdempotencyKey::parse(&text).is_ok(), key_is_allowed(&text));
        prop_assert_eq!(CommandId::system(&text).is_ok(), key_is_allowed(&text));
    }

    #[test]
    fn ids_of_commands_are_the_same_only_if_kind_key_and_caller_are(
        key in "[!-~]{1,20}", other in "[!-~]{1,20}", caller in "\\PC{0,20}", another in "\\PC{0,20}",
    ) {
        let (first, second) = (IdempotencyKey::parse(&key).unwrap(), IdempotencyKey::parse(&other).unwrap());
        let id = CommandId::client(&first, Some(&caller));
        let same = (&key, &caller) == (&other, &another);
        prop_assert_eq!(id == CommandId::client(&second, Some(&another)), same);
        prop_assert_eq!(CommandId::client(&first, None) == CommandId::client(&second, None), key == other);
        prop_assert_ne!(&id, &CommandId::client(&second, None));
        let system = CommandId::system(&key).unwrap();
        for taken in [&id, &CommandId::client(&second, None)] {
            prop_assert_ne!(taken, &system);
        }
        for (id, kind) in [(id, CommandKind::Client), (system, CommandKind::System)] {
            prop_assert_eq!((id.kind(), id.id()), (kind, &*key));
            prop_assert_eq!(CommandId::parse(id.as_str()), Ok(id));
        }
    }

    #[test]
    fn any_text_makes_a_reason(text in prop_oneof![any_text(), "[\\s\\pC]{0,300}", "[\\pC ]{300}end"]) {
        let reason = Reason::from_any(&text);
        prop_assert_eq!(Reason::parse(reason.as_str()), Ok(reason));
    }

    #[test]
    fn a_reason_that_is_allowed_is_only_trimmed(text in any_text()) {
        if line_is_allowed(&text) && !text.trim().is_empty() {
            prop_assert_eq!(Reason::from_any(&text), Reason::parse(text.trim()).unwrap());
        }
    }

    #[test]
    fn a_version_is_read_by_the_number_that_it_is_shown_by(number in 0..=Version::MAX) {
        let version = Version::new(number);
        prop_assert_eq!(Version::parse(&version.to_string()), Ok(version));
    }

    #[test]
    fn values_check_themselves_when_they_are_read_from_json(text in any_text()) {
        let json = serde_json::to_string(&text).unwrap();
        prop_assert_eq!(serde_json::from_str::<OrderId>(&json).is_ok(), id_is_allowed(&text));
        prop_assert_eq!(serde_json::from_str::<OrderName>(&json).is_ok(), line_is_allowed(&text));
        prop_assert_eq!(serde_json::from_str::<IdempotencyKey>(&json).is_ok(), key_is_allowed(&text));
        if let Ok(name) = serde_json::from_str::<OrderName>(&json) {
            prop_assert_eq!(serde_json::to_string(&name).unwrap(), json);
        }
    }
}

#[test]
fn an_id_has_at_most_128_characters() {
    assert!(OrderId::parse(&"a".repeat(128)).is_ok());
    assert!(OrderId::parse(&"a".repeat(129)).is_err());
}

#[test]
fn a_name_has_at_most_255_characters_however_many_bytes_that_is() {
    assert!(OrderName::parse(&"é".repeat(255)).is_ok());
    assert!(OrderName::parse(&"é".repeat(256)).is_err());
}

#[test]
fn a_refusal_says_what_was_wrong_and_what_is_allowed() {
    let text = |invalid: domain::Invalid| invalid.to_string();
    assert_eq!(
        text(OrderId::parse("a/b").unwrap_err()),
        "id has the character '/'; allowed: 1 to 128 of A-Z a-z 0-9 . _ ~ -, and not . or .."
    );
    assert_eq!(
        text(OrderId::parse("..").unwrap_err()),
        "id is \"..\"; allowed: 1 to 128 of A-Z a-z 0-9 . _ ~ -, and not . or .."
    );
    assert_eq!(
        text(OrderName::parse("").unwrap_err()),
        "name is empty; allowed: 1 to 255 characters without control characters"
    );
    assert_eq!(
        text(IdempotencyKey::parse("a b").unwrap_err()),
        "Idempotency-Key has the character ' '; allowed: 1 to 255 visible ASCII characters"
    );
}

#[test]
fn what_names_no_kind_or_no_id_is_no_command_id() {
    for text in ["", "key", "client", "client ", "system a b", "other key", " key", "client  ada"] {
        assert!(CommandId::parse(text).is_err(), "{text:?}");
    }
}

#[test]
fn a_version_is_a_whole_number_that_a_store_can_hold() {
    for text in ["", "-1", "+1", "1.0", "1e3", " 1", "one", "9223372036854775808", "18446744073709551616"] {
        assert!(Version::parse(text).is_err(), "{text:?}");
    }
    assert_eq!(Version::parse("9223372036854775807"), Ok(Version::new(Version::MAX)));
}
