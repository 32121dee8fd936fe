//! Rows and values of the tables, to and from ours.

use domain::Details;
use domain::{Order, OrderId, OrderName, Reason, Snapshot, Status};
use jiff::Timestamp;
use sqlx::encode::{Encode, IsNull};
use sqlx::error::BoxDynError;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgArgumentBuffer, PgHasArrayType, PgRow, PgTypeInfo, PgValueFormat, PgValueRef};
use sqlx::{Decode, Postgres, Row, Type};

use super::failure::Failed;
pub(super) use crate::columns::{details, number, version};
use crate::{HeldEvent, HeldId, HeldReason, Origin, ReadStoreError};

/// A time as the server keeps it: microseconds since the beginning of the year 2000 (`timestamptz`). The earliest that it
/// has, in 4714 BC, stands for all before.
#[derive(Clone, Copy)]
pub(super) struct Micros(i64);

/// 2000-01-01T00:00:00Z in microseconds since 1970.
const YEAR_2000: i64 = 946_684_800_000_000;
/// The earliest `timestamptz`, in microseconds since 2000.
const EARLIEST: i64 = -211_813_488_000_000_000;

impl Micros {
    pub(super) fn of(time: Timestamp) -> Self {
        // Towards the past, so that what is left over is never negative.
        let since_1970 = time.as_nanosecond().div_euclid(1_000);
        let micros = i64::try_from(since_1970).unwrap_or(i64::MIN).saturating_sub(YEAR_2000);
        Self(micros.max(EARLIEST))
    }

    fn time(self, nanos: i32) -> Result<Timestamp, ReadStoreError> {
        let since_1970 = i128::from(self.0) + i128::from(YEAR_2000);
        Timestamp::from_nanosecond(since_1970 * 1_000 + i128::from(nanos))
            .map_err(|error| garbled(format!("a time: {error}")))
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

/// What two times have beyond their microseconds, in one number: the nanoseconds of the first times a thousand, plus
/// those of the second.
pub(super) fn nanos(created: Timestamp, updated: Timestamp) -> i32 {
    let beyond = |time: Timestamp| time.subsec_nanosecond().rem_euclid(1_000);
    beyond(created) * 1_000 + beyond(updated)
}

fn garbled(what: impl Into<String>) -> ReadStoreError {
    ReadStoreError::Corrupt(format!("a value that no program of ours wrote: {}", what.into()))
}

/// Text that the server takes: all but the one character that it can't keep.
pub(super) fn text(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// The texts of these ids, as one parameter.
pub(super) fn texts(ids: &[OrderId]) -> Vec<&str> {
    ids.iter().map(OrderId::as_str).collect()
}

/// The columns of an order, as [`snapshot`] reads them.
pub(super) const ORDER_COLUMNS: &str = "id, version, status, name, reason, created_at, updated_at, nanos";

/// An order from [`ORDER_COLUMNS`].
pub(super) fn snapshot(row: &PgRow) -> Result<Snapshot, ReadStoreError> {
    read_snapshot(row).map_err(ReadStoreError::from)
}

fn read_snapshot(row: &PgRow) -> Result<Snapshot, Failed> {
    let status = row.try_get::<Option<&str>, _>(2)?.map(|text| parsed(text, str::parse::<Status>));
    let name = row.try_get::<Option<&str>, _>(3)?.map(|text| parsed(text, OrderName::parse));
    let reason = row.try_get::<Option<&str>, _>(4)?.map(|text| parsed(text, Reason::parse));
    let state = match (status.transpose()?, name.transpose()?) {
        (Some(status), Some(name)) => Order::Present(Details { name, status, reason: reason.transpose()? }),
        _ => Order::Absent,
    };
    let nanos: i32 = row.try_get(7)?;
    Ok(Snapshot {
        id: order_id(row, 0)?,
        state,
        version: version(row.try_get(1)?),
        created_at: row.try_get::<Micros, _>(5)?.time(nanos / 1_000)?,
        updated_at: row.try_get::<Micros, _>(6)?.time(nanos % 1_000)?,
    })
}

fn parsed<T, E: ToString>(text: &str, parse: impl Fn(&str) -> Result<T, E>) -> Result<T, ReadStoreError> {
    parse(text).map_err(|error| garbled(error.to_string()))
}

/// The id of an order in this column.
pub(super) fn order_id(row: &PgRow, column: usize) -> Result<OrderId, Failed> {
    Ok(parsed(row.try_get(column)?, OrderId::parse)?)
}

/// The reason in this column.
pub(super) fn reason(row: &PgRow, column: usize) -> Result<HeldReason, Failed> {
    let text: &str = row.try_get(column)?;
    Ok(HeldReason::parse(text).ok_or_else(|| garbled(format!("{text:?} as a reason to hold an event")))?)
}

/// The columns of a held event, as [`held_event`] reads them.
pub(super) const HELD_COLUMNS: &str =
    "id, order_id, version, reason, problem, topic, partition, record_offset, key, value, held_at";

/// A held event from [`HELD_COLUMNS`].
pub(super) fn held_event(row: &PgRow) -> Result<HeldEvent, Failed> {
    let order: Option<&str> = row.try_get(1)?;
    Ok(HeldEvent {
        id: HeldId(row.try_get(0)?),
        order: order.map(|text| parsed(text, OrderId::parse)).transpose()?,
        version: row.try_get::<Option<i64>, _>(2)?.map(version),
        reason: reason(row, 3)?,
        problem: row.try_get(4)?,
        origin: Origin { topic: row.try_get(5)?, partition: row.try_get(6)?, offset: row.try_get(7)? },
        key: row.try_get(8)?,
        value: row.try_get(9)?,
        held_at: row.try_get::<Micros, _>(10)?.time(0)?,
    })
}

/// A count in this column.
pub(super) fn count(row: &PgRow, column: usize) -> Result<u64, Failed> {
    Ok(row.try_get::<i64, _>(column)?.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_comes_back_to_the_nanosecond() {
        let times = [
            "2026-01-02T03:04:05.123456789Z",
            "1969-12-31T23:59:59.999999999Z",
            "1000-01-01T00:00:00.5Z",
            "-004713-12-01T00:00:00.000000001Z",
            "9000-01-01T00:00:00.000000001Z",
        ];
        for created in times {
            for updated in times {
                let (created, updated): (Timestamp, Timestamp) =
                    (created.parse().unwrap(), updated.parse().unwrap());
                let nanos = nanos(created, updated);
                assert_eq!(Micros::of(created).time(nanos / 1_000).unwrap(), created);
                assert_eq!(Micros::of(updated).time(nanos % 1_000).unwrap(), updated);
            }
        }
    }

    #[test]
    fn a_time_before_the_servers_first_becomes_its_first() {
        assert_eq!(Micros::of(Timestamp::MIN).0, EARLIEST);
    }
}
