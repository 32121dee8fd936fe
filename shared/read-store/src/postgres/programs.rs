//! The programs that run: see [`crate::programs`].

use event_sourcing::View;
use runtime::postgres::within;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row, query, raw_sql};

use super::connections::ANSWER;
use super::failure::Failure;
use super::schema;
use super::shared::Shared;
use super::transaction::no_active_view;
use crate::programs::{Filled, Program, Registration};
use crate::registrations::{ListedProgram, ListedView, active, milliseconds, sql, unused};
use crate::shape::Shape;
use crate::{ReadStoreError, ViewId, walk};

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
                Err(Failure::Sql(error)) if lease.is_stale(&error) => {}
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
) -> Result<Registration, Failure> {
    if active(&views(connection).await?, shape).is_none() {
        // The tables of this shape were dropped, while this program was away for too long.
        schema::migrate(connection, shape).await?;
    }
    raw_sql(
        "BEGIN ISOLATION LEVEL READ COMMITTED; LOCK TABLE read_store_programs IN SHARE ROW EXCLUSIVE MODE",
    )
    .execute(&mut *connection)
    .await?;
    let now = schema::now(connection).await?;
    query(sql::REGISTER)
        .bind(shape.key)
        .bind(&program.name)
        .bind(now)
        .bind(milliseconds(program.lease))
        .bind(program.serves)
        .execute(&mut *connection)
        .await?;
    query(sql::EXPIRE).bind(now).execute(&mut *connection).await?;
    let (programs, views) = (programs(connection).await?, views(connection).await?);
    let registration = Registration::of(shape, program, &programs, &views, now);
    if registration.filled == Filled::Mine {
        let fill = query(sql::FILL).bind(shape.key).bind(&program.name).bind(&program.filling);
        fill.execute(&mut *connection).await?;
    }
    raw_sql("COMMIT").execute(&mut *connection).await?;
    if unused(&views, shape, &programs).next().is_some()
        && let Err(failed) = drop_unused(connection, shape).await
    {
        // Somebody reads one of them for long, perhaps. The next registration tries again.
        raw_sql("ROLLBACK").execute(connection).await?;
        tracing::debug!(?failed, "tables that no program uses any more were not dropped");
    }
    Ok(registration)
}

pub(super) async fn leave<V: View>(shared: &Shared<V>, program: &str) -> Result<(), Failure> {
    let shape = shared.connections.shape;
    shared.connections.rows(|| query(sql::LEAVE).bind(shape.key).bind(program)).await.map(drop)
}

pub(super) async fn note_filled<V: View>(shared: &Shared<V>) -> Result<(), Failure> {
    let note = "UPDATE read_store_views SET filled = true WHERE shape = $1 AND state = 'active'";
    shared.connections.rows(|| query(note).bind(shared.connections.shape.key)).await.map(drop)
}

async fn programs(connection: &mut PgConnection) -> Result<Vec<ListedProgram>, Failure> {
    let found = query(sql::PROGRAMS).fetch_all(connection).await?;
    let program = |row: &PgRow| {
        Ok(ListedProgram {
            shape: row.try_get(0)?,
            name: row.try_get(1)?,
            since: row.try_get(2)?,
            renewed: row.try_get(3)?,
            serves: row.try_get(4)?,
            filling: row.try_get(5)?,
        })
    };
    found.iter().map(program).collect()
}

async fn views(connection: &mut PgConnection) -> Result<Vec<ListedView>, Failure> {
    let found = query(sql::VIEWS).fetch_all(connection).await?;
    let view = |row: &PgRow| {
        Ok(ListedView {
            id: ViewId(row.try_get(0)?),
            shape: row.try_get(1)?,
            is_active: row.try_get(2)?,
            is_filled: row.try_get(3)?,
        })
    };
    found.iter().map(view).collect()
}

/// Drops the tables that no program uses. Gives up if a lock does not come soon, because whoever writes a view waits meanwhile.
async fn drop_unused(connection: &mut PgConnection, shape: Shape) -> Result<(), Failure> {
    raw_sql(
        "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL lock_timeout = '500ms'; LOCK TABLE read_store_views IN EXCLUSIVE MODE;
         LOCK TABLE read_store_programs IN SHARE ROW EXCLUSIVE MODE",
    )
    .execute(&mut *connection)
    .await?;
    let (programs, views) = (programs(connection).await?, views(connection).await?);
    let active = active(&views, shape).ok_or_else(no_active_view)?;
    schema::show_to_sql_tools(connection, shape.table(active.id)).await?;
    for view in unused(&views, shape, &programs) {
        let table = shape.table(view.id);
        schema::drop_view(connection, table).await?;
        query(walk::sql::DELETE).bind(&view.shape).execute(&mut *connection).await?;
        tracing::info!(%table, "dropped a table of the view that no program uses any more");
    }
    raw_sql("COMMIT").execute(connection).await?;
    Ok(())
}
