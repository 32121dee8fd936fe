//! The rows and values of the tables, converted to and from ours.

use event_sourcing::{ColumnKind, ColumnValue, Entry, Row, StreamId, Value, View};
use jiff::Timestamp;
use rusqlite::ErrorCode;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};

use crate::shape::{self, Shape, version};
use crate::{HeldEvent, HeldId, HeldReason, Origin, ReadStoreError};

impl From<rusqlite::Error> for ReadStoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                Self::Corrupt(format!("what SQLite can't read: {error}"))
            }
            // A value that breaks a constraint, does not fit its column, or is too big.
            Some(ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch | ErrorCode::TooBig) => {
                Self::Refused(error.to_string())
            }
            Some(_) => Self::Unavailable(error.to_string()),
            None => Self::Corrupt(format!("a value that no program of ours wrote: {error}")),
        }
    }
}

/// A row's value as a column stores it.
pub(super) struct Column<'v>(pub(super) Value<'v>);

impl ToSql for Column<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match &self.0 {
            Value::Null => ToSqlOutput::Borrowed(ValueRef::Null),
            Value::Text(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
            Value::Integer(number) | Value::Time(number) => ToSqlOutput::Borrowed(ValueRef::Integer(*number)),
            Value::Boolean(value) => ToSqlOutput::Borrowed(ValueRef::Integer((*value).into())),
        })
    }
}

/// A time as a column: microseconds since 1970.
pub(super) struct Time(pub(super) Timestamp);

impl ToSql for Time {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self.0.to_value() {
            Value::Time(time) => ToSqlOutput::Borrowed(ValueRef::Integer(time)),
            _ => ToSqlOutput::Borrowed(ValueRef::Null),
        })
    }
}

impl FromSql for Time {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let time = Timestamp::from_value(Value::Time(value.as_i64()?));
        time.map(Self).map_err(|problem| FromSqlError::other(Foreign(problem)))
    }
}

/// The reason why a value is none of ours.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Foreign(String);

fn foreign(column: usize, problem: impl ToString) -> rusqlite::Error {
    let kind = rusqlite::types::Type::Text;
    rusqlite::Error::FromSqlConversionFailure(column, kind, Box::new(Foreign(problem.to_string())))
}

/// An entry from the columns of a shape's list.
pub(super) fn entry<R: Row>(row: &rusqlite::Row<'_>, shape: Shape) -> rusqlite::Result<Entry<R>> {
    let values = values(row, 2, shape)?;
    shape::entry(stream_id(row, 0)?, version(row.get(1)?), values).map_err(|garbled| foreign(2, garbled))
}

/// A row with its key, from the columns of a shape's list.
pub(super) fn keyed<V: View>(row: &rusqlite::Row<'_>, shape: Shape) -> rusqlite::Result<(V::Key, V::Row)> {
    let key = value(row, 0, shape.key_column().kind)?;
    shape::row::<V>(key, values(row, 1, shape)?).map_err(|garbled| foreign(1, garbled))
}

fn values<'r>(row: &'r rusqlite::Row<'_>, first: usize, shape: Shape) -> rusqlite::Result<Vec<Value<'r>>> {
    (first..).zip(shape.columns).map(|(at, column)| value(row, at, column.kind)).collect()
}

fn value<'r>(row: &'r rusqlite::Row<'_>, at: usize, kind: ColumnKind) -> rusqlite::Result<Value<'r>> {
    let stored = row.get_ref(at)?;
    Ok(match (kind, stored) {
        (_, ValueRef::Null) => Value::Null,
        (ColumnKind::Text | ColumnKind::Choice(_), ValueRef::Text(text)) => {
            Value::Text(std::str::from_utf8(text).map_err(|error| foreign(at, error))?.into())
        }
        (ColumnKind::Integer, ValueRef::Integer(number)) => Value::Integer(number),
        (ColumnKind::Boolean, ValueRef::Integer(number @ 0..=1)) => Value::Boolean(number == 1),
        (ColumnKind::Time, ValueRef::Integer(time)) => Value::Time(time),
        (_, other) => return Err(foreign(at, format!("a value of another kind: {other:?}"))),
    })
}

/// The id of a stream in this column.
pub(super) fn stream_id(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<StreamId> {
    StreamId::parse(row.get_ref(column)?.as_str()?).map_err(|invalid| foreign(column, invalid))
}

impl FromSql for HeldReason {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let text = value.as_str()?;
        let unknown = || FromSqlError::other(Foreign(format!("{text:?} is no reason to hold an event")));
        Self::parse(text).ok_or_else(unknown)
    }
}

/// The columns of a held event, as [`held_event`] reads them.
pub(super) const HELD_COLUMNS: &str =
    "id, stream, version, reason, problem, topic, partition, record_offset, key, value, held_at";

/// A held event from [`HELD_COLUMNS`].
pub(super) fn held_event(row: &rusqlite::Row<'_>) -> rusqlite::Result<HeldEvent> {
    let stream = match row.get_ref(1)? {
        ValueRef::Null => None,
        _ => Some(stream_id(row, 1)?),
    };
    Ok(HeldEvent {
        id: HeldId(row.get(0)?),
        stream,
        version: row.get::<_, Option<i64>>(2)?.map(version),
        reason: row.get(3)?,
        problem: row.get(4)?,
        origin: Origin { topic: row.get(5)?, partition: row.get(6)?, offset: row.get(7)? },
        key: row.get(8)?,
        value: row.get(9)?,
        held_at: row.get::<_, Time>(10)?.0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_comes_back_to_the_microsecond() {
        let connection = rusqlite::Connection::open_in_memory().unwrap();
        for time in ["2026-01-02T03:04:05.123456Z", "1000-01-01T00:00:00.5Z", "9000-01-01T00:00:00.000001Z"] {
            let time: Timestamp = time.parse().unwrap();
            let back: Time = connection.query_row("SELECT ?1", [Time(time)], |row| row.get(0)).unwrap();
            assert_eq!(back.0, time);
        }
    }
}
