//! Values that are parsed once at the edge. A function that gets one need not check it again.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The error for a refused value: its name, the problem and the allowed values.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{what} {problem}; allowed: {allowed}")]
pub struct Invalid {
    /// The value's name as a client knows it, such as `id`.
    pub what: &'static str,
    /// The problem.
    pub problem: String,
    /// The allowed values.
    pub allowed: &'static str,
}

/// Declares a text value with rules: `text_value! { /// A title. Title, Arc<str>, "^.{1,80}$" }`. The type has `as_str` and the usual
/// traits, and serializes as its text. Its own `parse(&str) -> Result<Self, Invalid>` has the rules. The pattern tells them to programs
/// in other languages: a regular expression of JSON Schema (ECMA-262) that fits what `parse` takes, and nothing else.
#[macro_export]
macro_rules! text_value {
    ($(#[$doc:meta])* $name:ident, $inner:ty, $pattern:literal) => {
        $crate::schema_of_text!($name, $pattern);

        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, ::serde::Serialize, ::serde::Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name($inner);

        impl $name {
            /// Returns the value as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = $crate::Invalid;

            fn try_from(text: String) -> Result<Self, $crate::Invalid> {
                Self::parse(&text)
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.as_str().to_owned()
            }
        }

        impl ::std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                self.as_str()
            }
        }

        impl $crate::ColumnValue for $name {
            const KIND: $crate::ColumnKind = $crate::ColumnKind::Text;

            fn to_value(&self) -> $crate::Value<'_> {
                $crate::Value::Text(::std::borrow::Cow::Borrowed(self.as_str()))
            }

            fn from_value(value: $crate::Value<'_>) -> ::std::result::Result<Self, ::std::string::String> {
                Self::parse(&value.into_text()?)
                    .map_err(|invalid| ::std::string::ToString::to_string(&invalid))
            }
        }

        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl ::std::fmt::Debug for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                write!(f, "{}({:?})", stringify!($name), self.as_str())
            }
        }
    };
}

/// Tells the pattern of a text value, where the feature `schema` is on.
#[cfg(feature = "schema")]
#[doc(hidden)]
#[macro_export]
macro_rules! schema_of_text {
    ($name:ident, $pattern:literal) => {
        impl $crate::schema::schemars::JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> ::std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(
                _: &mut $crate::schema::schemars::SchemaGenerator,
            ) -> $crate::schema::schemars::Schema {
                $crate::schema::schemars::json_schema!({ "type": "string", "pattern": $pattern })
            }
        }
    };
}

/// Without the feature nobody asks for the pattern.
#[cfg(not(feature = "schema"))]
#[doc(hidden)]
#[macro_export]
macro_rules! schema_of_text {
    ($name:ident, $pattern:literal) => {};
}

text_value! {
    /// The name of a stream, which is the id of the stream's subject. It has 1–128 characters of `A–Z a–z 0–9 . _ ~ -` and is not
    /// `.` or `..`. These are the unreserved characters of RFC 3986, so it stands in a path as it is. It is cheap to clone.
    StreamId, Arc<str>, "^(?!\\.{1,2}$)[A-Za-z0-9._~-]{1,128}$"
}

impl StreamId {
    /// Parses a stream's name.
    ///
    /// # Errors
    /// When the text is empty, too long, has another character, or is `.` or `..`.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let refuse = |problem: String| Invalid {
            what: "id",
            problem,
            allowed: "1 to 128 of A-Z a-z 0-9 . _ ~ -, and not . or ..",
        };
        if text.is_empty() {
            return Err(refuse("is empty".into()));
        }
        if text.len() > 128 {
            return Err(refuse(format!("has {} bytes", text.len())));
        }
        if let Some(other) = text.chars().find(|c| !(c.is_ascii_alphanumeric() || "._~-".contains(*c))) {
            return Err(refuse(format!("has the character {other:?}")));
        }
        if text == "." || text == ".." {
            return Err(refuse(format!("is {text:?}")));
        }
        Ok(Self(text.into()))
    }
}

text_value! {
    /// A client's `Idempotency-Key`: 1–255 visible ASCII characters.
    IdempotencyKey, Box<str>, "^[!-~]{1,255}$"
}

impl IdempotencyKey {
    /// Parses a key.
    ///
    /// # Errors
    /// When the text is empty, too long or has a character that is not visible ASCII.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        visible(text, "Idempotency-Key").map(|text| Self(text.into()))
    }
}

/// Returns the text if it has 1 to 255 characters, all of them visible ASCII. So it has no space.
pub(crate) fn visible<'a>(text: &'a str, what: &'static str) -> Result<&'a str, Invalid> {
    let refuse = |problem: String| Invalid { what, problem, allowed: "1 to 255 visible ASCII characters" };
    if text.is_empty() {
        return Err(refuse("is empty".into()));
    }
    if text.len() > 255 {
        return Err(refuse(format!("has {} bytes", text.len())));
    }
    if let Some(other) = text.chars().find(|c| !c.is_ascii_graphic()) {
        return Err(refuse(format!("has the character {other:?}")));
    }
    Ok(text)
}

/// The number of events in a stream: 0 before the first event, 1 after it. The version of an event is the stream's version with
/// that event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Version(u64);

impl Version {
    /// The version of a stream without events.
    pub const NONE: Self = Self(0);

    /// The greatest version, which is the greatest number of a signed 64-bit column.
    pub const MAX: u64 = i64::MAX as u64;

    /// Creates a version from its number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Returns the number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Returns the version of the next event.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// Returns the version after `events` more events.
    #[must_use]
    pub const fn plus(self, events: usize) -> Self {
        Self(self.0 + events as u64)
    }

    /// Parses a version.
    ///
    /// # Errors
    /// When the text is not a whole number from 0 to 2^63 - 1.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        match text.parse::<u64>() {
            // A version has one text only: `01` is not the tag of version 1.
            Ok(number) if number <= Self::MAX && number.to_string() == text => Ok(Self(number)),
            _ => Err(Invalid {
                what: "version",
                problem: format!("is {text:?}"),
                allowed: "a whole number from 0 to 9223372036854775807",
            }),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
