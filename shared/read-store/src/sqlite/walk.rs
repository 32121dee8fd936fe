//! The comparison with the event store: see [`crate::walk`].

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::ReadStoreError;
use crate::walk::{Step, Walk, Walker, sql};

pub(super) fn read(connection: &Connection) -> Result<Walk, ReadStoreError> {
    let mut statement = connection.prepare_cached(&numbered(sql::READ))?;
    Ok(statement.query_row([], walk).optional()?.unwrap_or_default())
}

pub(super) fn take(connection: &Connection, walker: &Walker) -> Result<Option<Walk>, ReadStoreError> {
    let mut statement = connection.prepare_cached(&numbered(sql::TAKE))?;
    let (until, now) = (walker.until.as_millisecond(), walker.now.as_millisecond());
    Ok(statement.query_row(params![walker.name, until, now], walk).optional()?)
}

pub(super) fn step(
    connection: &Connection,
    walker: &Walker,
    step: &Step,
) -> Result<Option<Walk>, ReadStoreError> {
    let count = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let mut statement = connection.prepare_cached(&numbered(sql::STEP))?;
    let values = params![
        walker.name,
        walker.until.as_millisecond(),
        step.position,
        step.ended.map(Timestamp::as_millisecond),
        count(step.found),
        count(step.filled),
        step.settled,
        step.settling,
    ];
    Ok(statement.query_row(values, walk).optional()?)
}

pub(super) fn doubt(connection: &Connection, why: &str, now: Timestamp) -> Result<(), ReadStoreError> {
    connection.prepare_cached(&numbered(sql::DOUBT))?.execute(params![why, now.as_millisecond()])?;
    Ok(())
}

pub(super) fn leave(connection: &Connection, name: &str) -> Result<(), ReadStoreError> {
    connection.prepare_cached(&numbered(sql::LEAVE))?.execute([name])?;
    Ok(())
}

fn walk(row: &Row<'_>) -> rusqlite::Result<Walk> {
    let values = (
        row.get(0)?,
        row.get(1)?,
        row.get(2)?,
        row.get(3)?,
        row.get(4)?,
        row.get(5)?,
        row.get(6)?,
        row.get(7)?,
    );
    Ok(Walk::from(values))
}

/// SQLite counts `$2` by where it stands first, and `?2` by its number.
fn numbered(sql: &str) -> String {
    sql.replace('$', "?")
}
