//! Writes rows and held events by the thousand: one statement, one parameter a column.

use domain::{OrderId, Snapshot};
use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, PgConnection, Postgres, query};

use super::failure::Failed;
use super::rows::{self, Micros, number};
use crate::ViewId;
use crate::plan::{Hold, Upsert};

/// How many rows a statement has at most.
pub(super) const ROWS: usize = 1_000;

/// Writes rows that are there, and locked.
pub(super) async fn update(
    connection: &mut PgConnection,
    view: ViewId,
    upserts: &[&Upsert],
) -> Result<(), Failed> {
    // Exactly once: a row is only ever written over the version from which it was folded.
    let sql = update_sql(view, "has.version = new.over");
    for chunk in upserts.chunks(ROWS) {
        let over = chunk.iter().map(|upsert| number(upsert.from)).collect::<Vec<_>>();
        let rows = chunk.iter().map(|upsert| &upsert.row);
        let statement = bind(query(AssertSqlSafe(sql.as_str())), rows).bind(over);
        if statement.execute(&mut *connection).await?.rows_affected() != chunk.len() as u64 {
            return Err(Failed::Overtaken);
        }
    }
    Ok(())
}

/// Writes rows, sorted by id, of orders that have none. Of how many somebody else was first with one, whom this waits for.
pub(super) async fn insert(
    connection: &mut PgConnection,
    ViewId(view): ViewId,
    rows: &[&Snapshot],
) -> Result<usize, Failed> {
    // DO NOTHING, and no update: that would wait for the lock of a row that was none when locks were taken in order.
    let sql = format!(
        "INSERT INTO orders_{view} (id, version, status, name, reason, created_at, updated_at, nanos)
         SELECT * FROM {COLUMNS} ON CONFLICT (id) DO NOTHING"
    );
    let mut overtaken = rows.len();
    for chunk in rows.chunks(ROWS) {
        let statement = bind(query(AssertSqlSafe(sql.as_str())), chunk.iter().copied());
        overtaken -= statement.execute(&mut *connection).await?.rows_affected() as usize;
    }
    Ok(overtaken)
}

/// Writes rows that are there over whatever they are, save what is at a greater version. How many were written.
pub(super) async fn repair(
    connection: &mut PgConnection,
    view: ViewId,
    orders: &[Snapshot],
) -> Result<u64, Failed> {
    // What the projector has brought further meanwhile is right.
    let sql = update_sql(view, "has.version <= new.version AND new.over IS NULL");
    let mut written = 0;
    for chunk in orders.chunks(ROWS) {
        let over: Vec<Option<i64>> = vec![None; chunk.len()];
        let statement = bind(query(AssertSqlSafe(sql.as_str())), chunk.iter()).bind(over);
        written += statement.execute(&mut *connection).await?.rows_affected();
    }
    Ok(written)
}

/// The columns of rows as parameters, as [`bind`] binds them.
const COLUMNS: &str =
    "UNNEST($1::text[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::timestamptz[],
    $7::timestamptz[], $8::int[])";

fn update_sql(ViewId(view): ViewId, guard: &str) -> String {
    // The last parameter stands beside the others.
    let columns = COLUMNS.trim_end_matches(')');
    format!(
        "UPDATE orders_{view} AS has SET version = new.version, status = new.status, name = new.name,
             reason = new.reason, created_at = new.created_at, updated_at = new.updated_at, nanos = new.nanos
         FROM {columns}, $9::bigint[])
             AS new (id, version, status, name, reason, created_at, updated_at, nanos, over)
         WHERE has.id = new.id AND {guard}"
    )
}

type Statement<'q> = Query<'q, Postgres, PgArguments>;

fn bind<'q, 'p>(statement: Statement<'q>, rows: impl Iterator<Item = &'p Snapshot> + Clone) -> Statement<'q> {
    let details = || rows.clone().map(|row| rows::details(&row.state));
    statement
        .bind(rows.clone().map(|row| row.id.as_str()).collect::<Vec<_>>())
        .bind(rows.clone().map(|row| number(row.version)).collect::<Vec<_>>())
        .bind(details().map(|(status, _, _)| status).collect::<Vec<_>>())
        .bind(details().map(|(_, name, _)| name).collect::<Vec<_>>())
        .bind(details().map(|(_, _, reason)| reason).collect::<Vec<_>>())
        .bind(rows.clone().map(|row| Micros::of(row.created_at)).collect::<Vec<_>>())
        .bind(rows.clone().map(|row| Micros::of(row.updated_at)).collect::<Vec<_>>())
        .bind(rows.map(|row| rows::nanos(row.created_at, row.updated_at)).collect::<Vec<_>>())
}

/// Takes records aside.
pub(super) async fn hold(
    connection: &mut PgConnection,
    view: ViewId,
    holds: &[Hold<'_>],
) -> Result<(), Failed> {
    for chunk in holds.chunks(ROWS) {
        let verdicts = || chunk.iter().map(|hold| &hold.verdict);
        let records = || chunk.iter().map(|hold| hold.record);
        query(
            "INSERT INTO orders_held
                 (view, order_id, version, reason, problem, topic, partition, record_offset, key, value, held_at)
             SELECT $1, * FROM UNNEST($2::text[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::int[],
                 $8::bigint[], $9::bytea[], $10::bytea[], $11::timestamptz[])",
        )
        .bind(view.0)
        .bind(verdicts().map(|verdict| verdict.order.as_ref().map(OrderId::as_str)).collect::<Vec<_>>())
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
