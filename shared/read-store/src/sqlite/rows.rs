//! Rows and values of the tables, to and from ours.

use domain::Details;
use domain::{Order, OrderId, OrderName, Reason, Snapshot, Status};
use jiff::Timestamp;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, Value, ValueRef};
use rusqlite::{ErrorCode, Row};

pub(super) use crate::columns::{details, number, version};
use crate::{HeldEvent, HeldId, HeldReason, Origin, ReadStoreError};

impl From<rusqlite::Error> for ReadStoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                Self::Corrupt(format!("what SQLite can't read: {error}"))
            }
            Some(_) => Self::Unavailable(error.to_string()),
            None => Self::Corrupt(format!("a value that no program of ours wrote: {error}")),
        }
    }
}

/// A time as a column, to the nanosecond: their number since the epoch, and text (RFC 3339) outside the years 1677 to
/// 2262, where that number is too great.
pub(super) struct Time(pub(super) Timestamp);

impl ToSql for Time {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let value = match i64::try_from(self.0.as_nanosecond()) {
            Ok(nanoseconds) => Value::Integer(nanoseconds),
            Err(_) => Value::Text(self.0.to_string()),
        };
        Ok(ToSqlOutput::Owned(value))
    }
}

impl FromSql for Time {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let time = match value {
            ValueRef::Integer(nanoseconds) => Timestamp::from_nanosecond(nanoseconds.into()),
            other => other.as_str()?.parse(),
        };
        time.map(Self).map_err(FromSqlError::other)
    }
}

/// Text that is parsed into one of our values.
struct Parsed<T>(T);

macro_rules! parsed {
    ($($type:ty, $parse:expr;)*) => {$(
        impl FromSql for Parsed<$type> {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
                $parse(value.as_str()?).map(Self).map_err(FromSqlError::other)
            }
        }
    )*};
}

parsed! {
    OrderId, OrderId::parse;
    OrderName, OrderName::parse;
    Reason, Reason::parse;
    Status, |text: &str| text.parse::<Status>();
}

/// The columns of an order, as [`snapshot`] reads them.
pub(super) const ORDER_COLUMNS: &str = "id, version, status, name, reason, created_at, updated_at";

/// An order from [`ORDER_COLUMNS`].
pub(super) fn snapshot(row: &Row<'_>) -> rusqlite::Result<Snapshot> {
    let status: Option<Parsed<Status>> = row.get(2)?;
    let name: Option<Parsed<OrderName>> = row.get(3)?;
    let reason: Option<Parsed<Reason>> = row.get(4)?;
    let state = match (status, name) {
        (Some(Parsed(status)), Some(Parsed(name))) => {
            Order::Present(Details { name, status, reason: reason.map(|Parsed(reason)| reason) })
        }
        _ => Order::Absent,
    };
    Ok(Snapshot {
        id: row.get::<_, Parsed<OrderId>>(0)?.0,
        state,
        version: version(row.get(1)?),
        created_at: row.get::<_, Time>(5)?.0,
        updated_at: row.get::<_, Time>(6)?.0,
    })
}

impl FromSql for HeldReason {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let text = value.as_str()?;
        Self::parse(text).ok_or_else(|| FromSqlError::other(UnknownReason(text.to_owned())))
    }
}

#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no reason to hold an event")]
struct UnknownReason(String);

/// The columns of a held event, as [`held_event`] reads them.
pub(super) const HELD_COLUMNS: &str =
    "id, order_id, version, reason, problem, topic, partition, offset, key, value, held_at";

/// A held event from [`HELD_COLUMNS`].
pub(super) fn held_event(row: &Row<'_>) -> rusqlite::Result<HeldEvent> {
    Ok(HeldEvent {
        id: HeldId(row.get(0)?),
        order: row.get::<_, Option<Parsed<OrderId>>>(1)?.map(|Parsed(order)| order),
        version: row.get::<_, Option<i64>>(2)?.map(version),
        reason: row.get(3)?,
        problem: row.get(4)?,
        origin: Origin { topic: row.get(5)?, partition: row.get(6)?, offset: row.get(7)? },
        key: row.get(8)?,
        value: row.get(9)?,
        held_at: row.get::<_, Time>(10)?.0,
    })
}

/// An order's id as the only column.
pub(super) fn order_id(row: &Row<'_>) -> rusqlite::Result<OrderId> {
    row.get::<_, Parsed<OrderId>>(0).map(|Parsed(order)| order)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_comes_back_to_the_nanosecond() {
        let connection = rusqlite::Connection::open_in_memory().unwrap();
        for time in
            ["2026-01-02T03:04:05.123456789Z", "1000-01-01T00:00:00.5Z", "9000-01-01T00:00:00.000000001Z"]
        {
            let time: Timestamp = time.parse().unwrap();
            let back: Time = connection.query_row("SELECT ?1", [Time(time)], |row| row.get(0)).unwrap();
            assert_eq!(back.0, time);
        }
    }
}
