//! The values of columns of SQLite.

use rusqlite::{Error, Row};

pub(super) use crate::columns::{number, time, version};

/// Returns a text column without a copy.
pub(super) fn text<'a>(row: &'a Row<'_>, column: usize) -> rusqlite::Result<&'a str> {
    row.get_ref(column)?.as_str().map_err(|error| {
        Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(error))
    })
}
