//! An event store that holds commits before it is measured.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use sqlx::{AssertSqlSafe, PgConnection, Row, query, raw_sql};

use super::contenders::Alone;
use crate::servers::bench::{Bench, PATIENCE};
use crate::servers::commits::namespace;
use crate::servers::postgres::Schema;

/// The order whose commits and row are copied.
const TEMPLATE: &str = "template-0";

/// The commits of the template: it was created and processed.
const COMMITS: u64 = 3;

/// The most streams that one statement copies.
const CHUNK: u64 = 100_000;

/// Starts `orders` on a store that holds so many commits, and their view. They are copies, under other ids, of an order that
/// `orders` itself has created and processed.
pub(super) async fn start(bench: &Bench, commits: u64) -> anyhow::Result<Alone> {
    let alone = Alone::start(bench).await?;
    let words = ["--only", "create,process", "--prefix", "template"];
    bench.orders().await?.load(&alone.server.url, 1, 1, &words).await?;
    let schema = alone.schema();
    let (mut connection, view) = (schema.connect().await?, schema.view().await?);
    wait_for_template(&mut connection, &view).await?;
    alone.server.rest().await?;

    // Nobody else writes from here on.
    let schema = alone.stop();
    let orders = commits.div_ceil(COMMITS);
    raw_sql("SET synchronous_commit = off").execute(&mut connection).await?;
    let table_of_commits = format!("{}_commits", namespace()?);
    for (table, key) in [(&table_of_commits, "stream"), (&view, "id")] {
        copy(&mut connection, table, key, orders).await.with_context(|| format!("copies in {table}"))?;
    }
    Alone::on(bench, schema).await
}

async fn wait_for_template(connection: &mut PgConnection, view: &str) -> anyhow::Result<()> {
    let end = Instant::now() + PATIENCE;
    let count = format!("SELECT count(*) FROM {}_outbox", namespace()?);
    loop {
        let (_, processed) = Schema::progress(connection, view, 1).await?;
        let outbox = query(AssertSqlSafe(count.as_str())).fetch_one(&mut *connection).await?;
        if processed == 1 && outbox.try_get::<i64, _>(0)? == 0 {
            return Ok(());
        }
        if Instant::now() > end {
            bail!("an order is not processed and marked within {PATIENCE:?}");
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Copies the rows of the template under so many other keys.
async fn copy(connection: &mut PgConnection, table: &str, key: &str, orders: u64) -> anyhow::Result<()> {
    let columns = "SELECT quote_ident(column_name) FROM information_schema.columns
        WHERE table_schema = current_schema() AND table_name = $1 AND column_name <> $2";
    let rows = query(columns).bind(table).bind(key).fetch_all(&mut *connection).await?;
    let columns: Vec<String> = rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
    let columns = columns.join(", ");
    let sql = format!(
        "INSERT INTO {table} ({key}, {columns})
         SELECT 'stored-' || lpad(number::text, 12, '0'), {columns} FROM generate_series($1::bigint, $2::bigint) AS number,
             (SELECT * FROM {table} WHERE {key} = $3) AS template"
    );
    for first in (0..orders).step_by(usize::try_from(CHUNK)?) {
        let last = (first + CHUNK).min(orders) - 1;
        query(AssertSqlSafe(sql.as_str()))
            .bind(i64::try_from(first)?)
            .bind(i64::try_from(last)?)
            .bind(TEMPLATE)
            .execute(&mut *connection)
            .await?;
    }
    // Otherwise the server does this at some time while the rates are measured.
    raw_sql(AssertSqlSafe(format!("VACUUM ANALYZE {table}"))).execute(connection).await?;
    Ok(())
}
