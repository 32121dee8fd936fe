//! Reads a plain scalar of YAML 1.1 as a text. CloudFormation reads that version. It turns booleans and numbers into texts where
//! a property, a parameter or a function needs a text. `yes` is `true`, `0144` is `100`, `1_000` is `1000`.
//!
//! The forms are those of the YAML 1.1 types in PyYAML, with which the SAM CLI and cfn-lint read templates. A time stays the text
//! that it is, because CloudFormation does not know that type.

use super::node::Node;

/// Reads a plain scalar.
pub(super) fn plain(text: &str) -> Node {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Node::Null,
        "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            Node::Bare("true".to_owned())
        }
        "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            Node::Bare("false".to_owned())
        }
        _ => number(text).map_or_else(|| Node::Text(text.to_owned()), Node::Bare),
    }
}

/// Writes a number that is not an integer as CloudFormation does: with a full stop, and without an exponent.
pub(super) fn float(value: f64) -> String {
    let text = value.to_string();
    if text.contains('.') { text } else { format!("{text}.0") }
}

fn number(text: &str) -> Option<String> {
    // Most scalars begin with a letter. This check finds at a glance that they are not numbers.
    text.starts_with(|first: char| first.is_ascii_digit() || "+-.".contains(first)).then_some(())?;
    let (sign, digits) = match text.split_at(1) {
        ("-", digits) => (-1, digits),
        ("+", digits) => (1, digits),
        _ => (1, text),
    };
    integer(digits, sign).or_else(|| decimal(digits, sign, text))
}

/// Reads an integer: binary, octal, decimal, hexadecimal, or in base 60.
fn integer(digits: &str, sign: i128) -> Option<String> {
    let bare = without_underscores(digits);
    let of_radix = |digits: &str, radix| {
        let value = i128::from_str_radix(digits, radix).ok()?;
        Some((sign * value).to_string())
    };
    if let Some(binary) = bare.strip_prefix("0b") {
        return all(binary, |byte| matches!(byte, b'0' | b'1')).then(|| of_radix(binary, 2))?;
    }
    if let Some(hexadecimal) = bare.strip_prefix("0x") {
        return all(hexadecimal, |byte| byte.is_ascii_hexdigit()).then(|| of_radix(hexadecimal, 16))?;
    }
    if digits.len() > 1 && digits.starts_with('0') {
        return bare.bytes().all(|byte| matches!(byte, b'0'..=b'7')).then(|| of_radix(&bare, 8))?;
    }
    if !digits.starts_with(|first: char| first.is_ascii_digit()) {
        return None;
    }
    if let Some((whole, rest)) = bare.split_once(':') {
        return of_radix(&sixties(whole, rest)?.to_string(), 10);
    }
    all(&bare, |byte| byte.is_ascii_digit()).then(|| of_radix(&bare, 10))?
}

/// Reads a number with a full stop. An exponent must have a sign.
fn decimal(digits: &str, sign: i128, text: &str) -> Option<String> {
    let bare = without_underscores(digits);
    let (whole, fraction) = digits.split_once('.')?;
    let (bare_whole, bare_fraction) = bare.split_once('.')?;
    let sign = if sign < 0 { -1.0 } else { 1.0 };
    if let Some((hours, rest)) = bare_whole.split_once(':') {
        let sixtieths = format!("0.{bare_fraction}").parse::<f64>().ok()?;
        let is_one = whole.starts_with(|first: char| first.is_ascii_digit())
            && bare_fraction.bytes().all(|byte| byte.is_ascii_digit());
        // A number in base 60 is small, so that an f64 holds it.
        #[allow(clippy::cast_precision_loss)]
        return is_one.then(|| Some(float(sign * (sixties(hours, rest)? as f64 + sixtieths))))?;
    }
    let (places, exponent) = match bare_fraction.split_once(['e', 'E']) {
        Some((places, exponent)) => (places, Some(exponent)),
        None => (bare_fraction, None),
    };
    let is_exponent =
        |text: &str| text.starts_with(['+', '-']) && all(&text[1..], |byte| byte.is_ascii_digit());
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    // A number without a digit before the full stop must have one behind it, and no sign.
    let begins = match whole.is_empty() {
        true => fraction.starts_with(|first: char| first.is_ascii_digit()) && digits == text,
        false => whole.starts_with(|first: char| first.is_ascii_digit()),
    };
    let is_one = begins && is_digits(bare_whole) && is_digits(places) && exponent.is_none_or(is_exponent);
    let value: f64 = is_one.then(|| format!("0{bare}").parse().ok())??;
    value.is_finite().then(|| float(sign * value))
}

/// Reads a number in base 60: `1:30` is 90.
fn sixties(whole: &str, rest: &str) -> Option<i128> {
    if whole.starts_with('0') && whole.len() > 1 {
        return None;
    }
    let first = all(whole, |byte| byte.is_ascii_digit()).then(|| whole.parse::<i128>().ok())??;
    rest.split(':').try_fold(first, |value, part| {
        let is_part = (1..=2).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
        let part = is_part.then(|| part.parse::<i128>().ok())?.filter(|part| *part < 60)?;
        value.checked_mul(60)?.checked_add(part)
    })
}

fn all(text: &str, is_one: impl Fn(u8) -> bool) -> bool {
    !text.is_empty() && text.bytes().all(is_one)
}

fn without_underscores(text: &str) -> String {
    text.replace('_', "")
}
