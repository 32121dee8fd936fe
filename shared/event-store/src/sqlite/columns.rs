//! The values of columns: versions, texts and times.

use event_sourcing::Version;
use jiff::Timestamp;
use rusqlite::{Error, Row};

/// Returns a version in the type that SQLite holds. No version is above [`Version::MAX`], and no stream has come near it.
pub(super) fn number(version: Version) -> i64 {
    i64::try_from(version.get()).unwrap_or(i64::MAX)
}

/// Returns a version in the type that callers use. No program has ever written one below 0.
pub(super) fn version(number: i64) -> Version {
    Version::new(number.unsigned_abs())
}

/// Returns a text column without a copy.
pub(super) fn text<'a>(row: &'a Row<'_>, column: usize) -> rusqlite::Result<&'a str> {
    row.get_ref(column)?.as_str().map_err(|error| {
        Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(error))
    })
}

pub(super) fn time(microseconds: i64) -> Result<Timestamp, String> {
    Timestamp::from_microsecond(microseconds).map_err(|error| error.to_string())
}
