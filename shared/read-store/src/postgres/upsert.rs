//! Writes entries and held events, up to a thousand in one statement, with one parameter a column.

use event_sourcing::{ColumnKind, Entry, EventType, Row, StreamId, Value};
use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, PgConnection, Postgres, query};

use super::failure::Failure;
use super::rows::{self, Micros};
use super::schema::sql_type;
use crate::HeldId;
use crate::plan::{Hold, Upsert, Verdict};
use crate::shape::{self, Shape, Table, number};

/// The maximum number of rows in a statement.
pub(super) const ROWS: usize = 1_000;

/// Writes entries that exist and are locked.
pub(super) async fn update<R: Row>(
    connection: &mut PgConnection,
    view: Table,
    upserts: &[&Upsert<R>],
) -> Result<(), Failure> {
    // Exactly once: an entry is only ever written over the version from which it was folded.
    let sql = update_sql(view, "has.version = new.over");
    for chunk in upserts.chunks(ROWS) {
        let over = chunk.iter().map(|upsert| number(upsert.from)).collect::<Vec<_>>();
        let entries: Vec<&Entry<R>> = chunk.iter().map(|upsert| &upsert.entry).collect();
        let statement = bind(query(AssertSqlSafe(sql.as_str())), view.shape, &entries).bind(over);
        if statement.execute(&mut *connection).await?.rows_affected() != chunk.len() as u64 {
            return Err(Failure::Overtaken);
        }
    }
    Ok(())
}

/// Inserts entries, sorted by id, of streams that have none. Waits for a transaction that inserts the same entry. Returns the
/// number of streams for which another transaction was first.
pub(super) async fn insert<R: Row>(
    connection: &mut PgConnection,
    view: Table,
    entries: &[&Entry<R>],
) -> Result<usize, Failure> {
    // DO NOTHING and no update: an update would wait for the lock of an entry that did not exist when locks were taken in order.
    let sql = format!(
        "INSERT INTO {view} ({}) SELECT * FROM UNNEST({}) ON CONFLICT (id) DO NOTHING",
        view.shape.column_list(),
        parameters(view.shape),
    );
    let mut overtaken = entries.len();
    for chunk in entries.chunks(ROWS) {
        let statement = bind(query(AssertSqlSafe(sql.as_str())), view.shape, chunk);
        overtaken -= statement.execute(&mut *connection).await?.rows_affected() as usize;
    }
    Ok(overtaken)
}

/// Overwrites existing entries, except those at a greater version. Returns the number of written entries.
pub(super) async fn repair<R: Row>(
    connection: &mut PgConnection,
    view: Table,
    entries: &[&Entry<R>],
) -> Result<u64, Failure> {
    // A greater version comes from the projector, and is right.
    let sql = update_sql(view, "has.version <= new.version AND new.over IS NULL");
    let mut written = 0;
    for chunk in entries.chunks(ROWS) {
        let over: Vec<Option<i64>> = vec![None; chunk.len()];
        let statement = bind(query(AssertSqlSafe(sql.as_str())), view.shape, chunk).bind(over);
        written += statement.execute(&mut *connection).await?.rows_affected();
    }
    Ok(written)
}

/// The columns of entries as parameters, as [`bind`] binds them.
fn parameters(shape: Shape) -> String {
    let types = shape.columns.iter().map(|column| sql_type(column.kind));
    let types = ["text", "bigint"].into_iter().chain(types).zip(1..);
    types.map(|(kind, number)| format!("${number}::{kind}[]")).collect::<Vec<_>>().join(", ")
}

fn update_sql(view: Table, guard: &str) -> String {
    let shape = view.shape;
    let columns = ["version"].into_iter().chain(shape.columns.iter().map(|column| column.name));
    let set = columns.map(|name| format!("{name} = new.{name}")).collect::<Vec<_>>().join(", ");
    let over = shape.columns.len() + 3;
    format!(
        "UPDATE {view} AS has SET {set} FROM UNNEST({}, ${over}::bigint[]) AS new ({}, over)
         WHERE has.id = new.id AND {guard}",
        parameters(shape),
        shape.column_list(),
    )
}

pub(super) type Statement<'q> = Query<'q, Postgres, PgArguments>;

fn bind<'q, R: Row>(statement: Statement<'q>, shape: Shape, entries: &[&Entry<R>]) -> Statement<'q> {
    let rows: Vec<Vec<Value<'_>>> = entries.iter().map(|entry| shape::values(entry)).collect();
    let statement = statement
        .bind(entries.iter().map(|entry| entry.id.as_str()).collect::<Vec<_>>())
        .bind(entries.iter().map(|entry| number(entry.version)).collect::<Vec<_>>());
    bind_columns(statement, shape, &rows)
}

/// Binds the columns of rows, each as one parameter.
pub(super) fn bind_columns<'q>(
    statement: Statement<'q>,
    shape: Shape,
    rows: &[Vec<Value<'_>>],
) -> Statement<'q> {
    shape.columns.iter().enumerate().fold(statement, |statement, (at, column)| {
        bind_values(statement, column.kind, rows.iter().map(|row| &row[at]))
    })
}

/// Binds the values of a column as one parameter.
pub(super) fn bind_values<'q, 'v, 'r: 'v>(
    statement: Statement<'q>,
    kind: ColumnKind,
    values: impl Iterator<Item = &'v Value<'r>>,
) -> Statement<'q> {
    match kind {
        ColumnKind::Text | ColumnKind::Choice(_) => statement.bind(values.map(as_text).collect::<Vec<_>>()),
        ColumnKind::Integer => statement.bind(values.map(as_integer).collect::<Vec<_>>()),
        ColumnKind::Boolean => statement.bind(values.map(as_boolean).collect::<Vec<_>>()),
        ColumnKind::Time => statement.bind(values.map(as_time).collect::<Vec<_>>()),
    }
}

fn as_text<'v>(value: &'v Value<'_>) -> Option<&'v str> {
    match value {
        Value::Text(text) => Some(text),
        _ => None,
    }
}

fn as_integer(value: &Value<'_>) -> Option<i64> {
    match value {
        Value::Integer(number) => Some(*number),
        _ => None,
    }
}

fn as_boolean(value: &Value<'_>) -> Option<bool> {
    match value {
        Value::Boolean(value) => Some(*value),
        _ => None,
    }
}

fn as_time(value: &Value<'_>) -> Option<Micros> {
    match value {
        Value::Time(time) => Some(Micros::since_1970(*time)),
        _ => None,
    }
}

/// Inserts held events.
pub(super) async fn hold<E: EventType>(
    connection: &mut PgConnection,
    view: Table,
    holds: &[Hold<'_, E>],
) -> Result<(), Failure> {
    for chunk in holds.chunks(ROWS) {
        let verdicts = || chunk.iter().map(|hold| &hold.verdict);
        let records = || chunk.iter().map(|hold| hold.record);
        query(
            "INSERT INTO read_store_held
                 (view, stream, version, reason, problem, topic, partition, record_offset, key, value, held_at)
             SELECT $1, * FROM UNNEST($2::text[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::int[],
                 $8::bigint[], $9::bytea[], $10::bytea[], $11::timestamptz[])",
        )
        .bind(view.id.0)
        .bind(verdicts().map(|verdict| verdict.stream.as_ref().map(StreamId::as_str)).collect::<Vec<_>>())
        .bind(verdicts().map(|verdict| verdict.version.map(number)).collect::<Vec<_>>())
        .bind(verdicts().map(|verdict| verdict.reason.as_str()).collect::<Vec<_>>())
        .bind(verdicts().map(|verdict| rows::text(&verdict.problem)).collect::<Vec<_>>())
        .bind(records().map(|record| rows::text(&record.origin.topic)).collect::<Vec<_>>())
        .bind(records().map(|record| record.origin.partition).collect::<Vec<_>>())
        .bind(records().map(|record| record.origin.offset).collect::<Vec<_>>())
        .bind(records().map(|record| record.key.as_deref()).collect::<Vec<_>>())
        .bind(chunk.iter().map(Hold::value).collect::<Vec<_>>())
        .bind(records().map(|record| Micros::of(record.received_at)).collect::<Vec<_>>())
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

/// Stores the verdict on a held event.
pub(super) async fn rejudge(
    connection: &mut PgConnection,
    id: HeldId,
    verdict: &Verdict,
) -> Result<(), Failure> {
    query("UPDATE read_store_held SET stream = $2, version = $3, reason = $4, problem = $5 WHERE id = $1")
        .bind(id.0)
        .bind(verdict.stream.as_ref().map(StreamId::as_str))
        .bind(verdict.version.map(number))
        .bind(verdict.reason.as_str())
        .bind(rows::text(&verdict.problem))
        .execute(connection)
        .await?;
    Ok(())
}
