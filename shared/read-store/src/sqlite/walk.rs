//! The comparison with the event store: see [`crate::walk`].

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::ReadStoreError;
use crate::shape::Shape;
use crate::walk::sql::{self, numbered};
use crate::walk::{Step, Walk, Walker};

pub(super) fn read(connection: &Connection, shape: Shape) -> Result<Walk, ReadStoreError> {
    let mut statement = connection.prepare_cached(&numbered(sql::READ))?;
    Ok(statement.query_row([shape.key], walk).optional()?.unwrap_or_default())
}

pub(super) fn take(
    connection: &Connection,
    shape: Shape,
    walker: &Walker,
) -> Result<Option<Walk>, ReadStoreError> {
    let mut statement = connection.prepare_cached(&numbered(sql::TAKE))?;
    let (until, now) = (walker.until.as_millisecond(), walker.now.as_millisecond());
    Ok(statement.query_row(params![walker.name, until, now, shape.key], walk).optional()?)
}

pub(super) fn step(
    connection: &Connection,
    shape: Shape,
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
        shape.key,
    ];
    Ok(statement.query_row(values, walk).optional()?)
}

pub(super) fn doubt(
    connection: &Connection,
    shape: Shape,
    why: &str,
    now: Timestamp,
) -> Result<(), ReadStoreError> {
    let mut statement = connection.prepare_cached(&numbered(sql::DOUBT))?;
    statement.execute(params![why, now.as_millisecond(), shape.key])?;
    Ok(())
}

pub(super) fn leave(connection: &Connection, shape: Shape, name: &str) -> Result<(), ReadStoreError> {
    connection.prepare_cached(&numbered(sql::LEAVE))?.execute([name, shape.key])?;
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
