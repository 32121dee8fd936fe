//! Streams' heads, in the order of the key, so that a page begins with a seek.

use rusqlite::{OptionalExtension, Row, params};

use super::failure::unavailable;
use super::tables::Tables;
use crate::StoreError;
use crate::heads::{Heads, HeadsPage};

const ENDS: &str = "
    SELECT stream, version FROM {namespace}_commits
    WHERE (stream, key) > (?1, 9223372036854775807) AND key < '' ORDER BY stream, key LIMIT ?2";

const END: &str =
    "SELECT version FROM {namespace}_commits WHERE stream = ?1 AND key < '' ORDER BY key DESC LIMIT 1";

pub(super) fn heads(tables: &Tables, after: Option<&str>, limit: usize) -> Result<Heads, StoreError> {
    let limit = limit.max(2);
    let read = || -> rusqlite::Result<Heads> {
        let mut statement = tables.prepare(ENDS)?;
        let end = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
        let count = i64::try_from(limit).unwrap_or(i64::MAX);
        let found = statement.query_map(params![after.unwrap_or_default(), count], end)?;
        let ends = HeadsPage::new(limit, found.collect::<Result<_, _>>()?);
        let long = match ends.long_stream() {
            Some(stream) => tables.prepare(END)?.query_row([stream], |row| row.get(0)).optional()?,
            None => None,
        };
        Ok(ends.page(long))
    };
    read().map_err(|error| unavailable(&error))
}
