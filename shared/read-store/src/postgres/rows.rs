//! The rows and values of the tables, converted to and from ours.

use event_sourcing::{ColumnKind, ColumnValue, Entry, Row, StreamId, Value, View};
use jiff::Timestamp;
use sqlx::encode::{Encode, IsNull};
use sqlx::error::BoxDynError;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgArgumentBuffer, PgHasArrayType, PgRow, PgTypeInfo, PgValueFormat, PgValueRef};
use sqlx::{Decode, Postgres, Row as _, Type};

use super::failure::Failure;
use crate::shape::{self, Shape, version};
use crate::{HeldEvent, HeldId, HeldReason, Origin, ReadStoreError};

/// A time as the server stores it: microseconds since the beginning of the year 2000 (`timestamptz`). The server's earliest time,
/// in 4714 BC, stands for all earlier ones.
#[derive(Clone, Copy)]
pub(super) struct Micros(i64);

/// 2000-01-01T00:00:00Z in microseconds since 1970.
const YEAR_2000: i64 = 946_684_800_000_000;
/// The earliest `timestamptz`, in microseconds since 2000.
const EARLIEST: i64 = -211_813_488_000_000_000;

impl Micros {
    pub(super) fn of(time: Timestamp) -> Self {
        match time.to_value() {
            Value::Time(microseconds) => Self::since_1970(microseconds),
            _ => Self(EARLIEST),
        }
    }

    pub(super) fn since_1970(microseconds: i64) -> Self {
        Self(microseconds.saturating_sub(YEAR_2000).max(EARLIEST))
    }

    const fn value(self) -> Value<'static> {
        Value::Time(self.0.saturating_add(YEAR_2000))
    }

    fn time(self) -> Result<Timestamp, ReadStoreError> {
        Timestamp::from_value(self.value()).map_err(garbled)
    }
}

impl Type<Postgres> for Micros {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(1184))
    }
}

impl PgHasArrayType for Micros {
    fn array_type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(1185))
    }
}

impl Encode<'_, Postgres> for Micros {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        buffer.extend(self.0.to_be_bytes());
        Ok(IsNull::No)
    }
}

impl<'r> Decode<'r, Postgres> for Micros {
    fn decode(value: PgValueRef<'r>) -> Result<Self, BoxDynError> {
        match value.format() {
            PgValueFormat::Binary => Ok(Self(i64::from_be_bytes(value.as_bytes()?.try_into()?))),
            PgValueFormat::Text => Err("a time as text".into()),
        }
    }
}

fn garbled(what: impl Into<String>) -> ReadStoreError {
    ReadStoreError::Corrupt(format!("a value that no program of ours wrote: {}", what.into()))
}

/// Text that the server takes: NUL, the only character that it can't store, is replaced.
pub(super) fn text(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// The texts of these ids, as one parameter.
pub(super) fn texts(ids: &[StreamId]) -> Vec<&str> {
    ids.iter().map(StreamId::as_str).collect()
}

/// An entry from the columns of a shape's list.
pub(super) fn entry<R: Row>(row: &PgRow, shape: Shape) -> Result<Entry<R>, Failure> {
    let entry = shape::entry(stream_id(row, 0)?, version(row.try_get(1)?), values(row, 2, shape)?);
    Ok(entry.map_err(|problem| garbled(problem.to_string()))?)
}

/// A row with its key, from the columns of a shape's list.
pub(super) fn keyed<V: View>(row: &PgRow, shape: Shape) -> Result<(V::Key, V::Row), Failure> {
    let keyed = shape::row::<V>(value(row, 0, shape.key_column().kind)?, values(row, 1, shape)?);
    Ok(keyed.map_err(|problem| garbled(problem.to_string()))?)
}

fn values(row: &PgRow, first: usize, shape: Shape) -> Result<Vec<Value<'_>>, sqlx::Error> {
    (first..).zip(shape.columns).map(|(at, column)| value(row, at, column.kind)).collect()
}

fn value(row: &PgRow, at: usize, kind: ColumnKind) -> Result<Value<'_>, sqlx::Error> {
    let value = match kind {
        ColumnKind::Text | ColumnKind::Choice(_) => {
            row.try_get::<Option<&str>, _>(at)?.map(|text| Value::Text(text.into()))
        }
        ColumnKind::Integer => row.try_get::<Option<i64>, _>(at)?.map(Value::Integer),
        ColumnKind::Boolean => row.try_get::<Option<bool>, _>(at)?.map(Value::Boolean),
        ColumnKind::Time => row.try_get::<Option<Micros>, _>(at)?.map(Micros::value),
    };
    Ok(value.unwrap_or(Value::Null))
}

fn parsed<T, E: ToString>(text: &str, parse: impl Fn(&str) -> Result<T, E>) -> Result<T, ReadStoreError> {
    parse(text).map_err(|error| garbled(error.to_string()))
}

/// The id of a stream in this column.
pub(super) fn stream_id(row: &PgRow, column: usize) -> Result<StreamId, Failure> {
    Ok(parsed(row.try_get(column)?, StreamId::parse)?)
}

/// The reason in this column.
pub(super) fn reason(row: &PgRow, column: usize) -> Result<HeldReason, Failure> {
    let text: &str = row.try_get(column)?;
    Ok(HeldReason::parse(text).ok_or_else(|| garbled(format!("{text:?} as a reason to hold an event")))?)
}

/// The columns of a held event, as [`held_event`] reads them.
pub(super) const HELD_COLUMNS: &str =
    "id, stream, version, reason, problem, topic, partition, record_offset, key, value, held_at";

/// A held event from [`HELD_COLUMNS`].
pub(super) fn held_event(row: &PgRow) -> Result<HeldEvent, Failure> {
    let stream: Option<&str> = row.try_get(1)?;
    Ok(HeldEvent {
        id: HeldId(row.try_get(0)?),
        stream: stream.map(|text| parsed(text, StreamId::parse)).transpose()?,
        version: row.try_get::<Option<i64>, _>(2)?.map(version),
        reason: reason(row, 3)?,
        problem: row.try_get(4)?,
        origin: Origin { topic: row.try_get(5)?, partition: row.try_get(6)?, offset: row.try_get(7)? },
        key: row.try_get(8)?,
        value: row.try_get(9)?,
        held_at: row.try_get::<Micros, _>(10)?.time()?,
    })
}

/// A count in this column.
pub(super) fn count(row: &PgRow, column: usize) -> Result<u64, Failure> {
    Ok(row.try_get::<i64, _>(column)?.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_comes_back_to_the_microsecond() {
        for time in [
            "2026-01-02T03:04:05.123456Z",
            "1969-12-31T23:59:59.999999Z",
            "1000-01-01T00:00:00.5Z",
            "-004713-12-01T00:00:00.000001Z",
            "9000-01-01T00:00:00.000001Z",
        ] {
            let time: Timestamp = time.parse().unwrap();
            assert_eq!(Micros::of(time).time().unwrap(), time);
        }
    }

    #[test]
    fn a_time_before_the_servers_first_becomes_its_first() {
        assert_eq!(Micros::of(Timestamp::MIN).0, EARLIEST);
    }
}
