//! The programs that run: see [`crate::programs`].

use event_sourcing::View;
use runtime::postgres::within;
use sqlx::{PgConnection, Row, query, raw_sql};

use super::connections::ANSWER;
use super::failure::Failed;
use super::{Shared, schema};
use crate::programs::{Filled, KEPT_NEW, MAKER, Program, Registered, Registration, milliseconds, sql};
use crate::shape::{Shape, Table};
use crate::{ReadStoreError, ViewId};

pub(super) async fn register<V: View>(
    shared: &Shared<V>,
    program: &Program,
) -> Result<Registration, ReadStoreError> {
    let registering = async {
        loop {
            let mut lease = shared.connections.take().await?;
            match register_on(&mut lease.connection, shared.connections.shape, program).await {
                Ok(registration) => {
                    lease.give_back();
                    return Ok(registration);
                }
                Err(Failed::Sql(error)) if lease.is_stale(&error) => {}
                Err(failed) => return Err(failed),
            }
        }
    };
    Ok(within(ANSWER, registering).await?)
}

/// Registers a program, and drops the tables of shapes for which none is registered.
async fn register_on(
    connection: &mut PgConnection,
    shape: Shape,
    program: &Program,
) -> Result<Registration, Failed> {
    if is_filled(connection, shape).await?.is_none() {
        // The tables of this shape were dropped, while this program was away for too long.
        schema::migrate_with(connection, shape).await?;
    }
    raw_sql(
        "BEGIN ISOLATION LEVEL READ COMMITTED; LOCK TABLE read_store_programs IN SHARE ROW EXCLUSIVE MODE",
    )
    .execute(&mut *connection)
    .await?;
    let now = now(connection).await?;
    query(sql::REGISTER)
        .bind(shape.key)
        .bind(&program.name)
        .bind(now)
        .bind(milliseconds(program.lease))
        .bind(program.serves)
        .execute(&mut *connection)
        .await?;
    query(sql::EXPIRE).bind(now).execute(&mut *connection).await?;
    let all = read(connection).await?;
    let filled = is_filled(connection, shape).await?.unwrap_or_default();
    let registration = Registration::of(shape, program, &all, filled, now);
    let filling = program.filling.as_ref().filter(|_| registration.filled == Filled::Mine);
    query(sql::FILL).bind(shape.key).bind(&program.name).bind(filling).execute(&mut *connection).await?;
    raw_sql("COMMIT").execute(&mut *connection).await?;
    if !unused(connection, shape, &all).await?.is_empty()
        && let Err(failed) = drop_unused(connection, shape).await
    {
        // Somebody reads one of them for long, perhaps. The next registration tries again.
        raw_sql("ROLLBACK").execute(connection).await?;
        tracing::debug!(?failed, "tables that no program uses any more were not dropped");
    }
    Ok(registration)
}

pub(super) async fn leave<V: View>(shared: &Shared<V>, program: &str) -> Result<(), Failed> {
    let shape = shared.connections.shape;
    shared.connections.rows(|| query(sql::LEAVE).bind(shape.key).bind(program)).await.map(drop)
}

pub(super) async fn note_filled<V: View>(shared: &Shared<V>) -> Result<(), Failed> {
    let note = "UPDATE read_store_views SET filled = true WHERE shape = $1 AND state = 'active'";
    shared.connections.rows(|| query(note).bind(shared.connections.shape.key)).await.map(drop)
}

/// Keeps the tables of this shape, which are new, until a program registers for them.
pub(super) async fn keep_new_tables(connection: &mut PgConnection, shape: Shape) -> Result<(), Failed> {
    let now = now(connection).await?;
    let keep = query(sql::REGISTER).bind(shape.key).bind(MAKER).bind(now).bind(milliseconds(KEPT_NEW));
    keep.bind(false).persistent(false).execute(connection).await?;
    Ok(())
}

/// The time by the server's clock: milliseconds since 1970.
async fn now(connection: &mut PgConnection) -> Result<i64, Failed> {
    let sql = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint";
    Ok(query(sql).persistent(false).fetch_one(connection).await?.try_get(0)?)
}

/// Returns whether the active view of this shape was filled; `None` if there is no such view.
async fn is_filled(connection: &mut PgConnection, shape: Shape) -> Result<Option<bool>, Failed> {
    let sql = "SELECT filled FROM read_store_views WHERE shape = $1 AND state = 'active'";
    let found = query(sql).bind(shape.key).fetch_optional(connection).await?;
    Ok(found.map(|row| row.try_get(0)).transpose()?)
}

async fn active_view(connection: &mut PgConnection, shape: Shape) -> Result<Table, Failed> {
    let sql = "SELECT id FROM read_store_views WHERE shape = $1 AND state = 'active'";
    let row = query(sql).bind(shape.key).fetch_one(connection).await?;
    Ok(shape.table(ViewId(row.try_get(0)?)))
}

async fn read(connection: &mut PgConnection) -> Result<Vec<Registered>, Failed> {
    let found = query(sql::READ).fetch_all(connection).await?;
    let registered = |row: &sqlx::postgres::PgRow| {
        Ok(Registered {
            shape: row.try_get(0)?,
            program: row.try_get(1)?,
            since: row.try_get(2)?,
            renewed: row.try_get(3)?,
            serves: row.try_get(4)?,
            filling: row.try_get(5)?,
        })
    };
    found.iter().map(registered).collect()
}

/// Returns the tables of this view's other shapes for which no program is registered, and the keys of the shapes.
async fn unused(
    connection: &mut PgConnection,
    shape: Shape,
    registered: &[Registered],
) -> Result<Vec<(ViewId, String)>, Failed> {
    let found = query("SELECT id, shape FROM read_store_views").fetch_all(connection).await?;
    let views = found.iter().map(|row| Ok((ViewId(row.try_get(0)?), row.try_get(1)?)));
    let mut views = views.collect::<Result<Vec<(ViewId, String)>, Failed>>()?;
    views.retain(|(_, other)| shape.leaves_unused(other, registered));
    Ok(views)
}

/// Drops those tables. Gives up if a lock does not come soon, because whoever writes a view waits meanwhile.
async fn drop_unused(connection: &mut PgConnection, shape: Shape) -> Result<(), Failed> {
    raw_sql(
        "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL lock_timeout = '500ms'; LOCK TABLE read_store_views IN EXCLUSIVE MODE;
         LOCK TABLE read_store_programs IN SHARE ROW EXCLUSIVE MODE",
    )
    .execute(&mut *connection)
    .await?;
    let active = active_view(connection, shape).await?;
    schema::show_to_sql_tools(connection, active).await?;
    let registered = read(connection).await?;
    for (id, other) in unused(connection, shape, &registered).await? {
        let table = shape.table(id);
        schema::drop_view(connection, table).await?;
        query("DELETE FROM read_store_walks WHERE shape = $1").bind(&other).execute(&mut *connection).await?;
        tracing::info!(%table, "dropped a table of the view that no program uses any more");
    }
    raw_sql("COMMIT").execute(connection).await?;
    Ok(())
}
