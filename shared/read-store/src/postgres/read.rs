//! What queries read.
//!
//! Which view is the active one is remembered. A swap deletes the former one's table in the same transaction, so whoever
//! still asks that finds no table, never an old row, and looks anew.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use domain::{OrderId, OrderName, Snapshot, Version};
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, Postgres, Row, query};
use tokio::sync::{SemaphorePermit, oneshot};
use tokio::time::timeout;

use super::connections::ACQUIRE;
use super::failure::{self, Failed};
use super::transaction::no_active_view;
use super::{Shared, project, rows};
use crate::{Filter, Lookup, Page, ReadStoreError, ViewId};

/// How often a read begins anew when a swap deletes the table under it.
const TRIES: usize = 5;

/// A call of `see`.
pub(super) struct See {
    pub(super) id: OrderId,
    pub(super) answer: oneshot::Sender<Answered>,
}

type Answered = Result<Lookup, ReadStoreError>;

/// The active view's number as this process knows it; 0 when it does not.
#[derive(Default)]
pub(super) struct ActiveView(AtomicI64);

impl Shared {
    /// The active view.
    pub(super) async fn active_view(&self) -> Result<ViewId, Failed> {
        match self.active.0.load(Ordering::Relaxed) {
            0 => self.look_up_active_view().await,
            known => Ok(ViewId(known)),
        }
    }

    /// The active view, asked of the server.
    pub(super) async fn look_up_active_view(&self) -> Result<ViewId, Failed> {
        let found =
            self.connections.rows(|| query("SELECT id FROM orders_views WHERE state = 'active'")).await?;
        let id = found.first().ok_or_else(no_active_view)?.try_get(0)?;
        self.active.0.store(id, Ordering::Relaxed);
        Ok(ViewId(id))
    }

    /// A place for a read that may take long. There are fewer than connections, so that single orders are read meanwhile.
    async fn take_place_for_list(&self) -> Result<SemaphorePermit<'_>, Failed> {
        match timeout(ACQUIRE, self.lists.acquire()).await {
            Ok(Ok(place)) => Ok(place),
            _ => Err(Failed::unavailable("too many lists are being read")),
        }
    }

    /// The rows of a statement over the table of the active view.
    async fn rows_of_active<'q>(
        &self,
        statement: impl Fn(ViewId) -> Query<'q, Postgres, PgArguments>,
    ) -> Result<Vec<PgRow>, Failed> {
        let mut view = self.active_view().await?;
        for _ in 1..TRIES {
            match self.connections.rows(|| statement(view)).await {
                Err(Failed::Sql(error)) if failure::is_missing_table(&error) => {
                    view = self.look_up_active_view().await?;
                }
                found => return found,
            }
        }
        self.connections.rows(|| statement(view)).await
    }
}

/// What is held for an order, as a column of a statement that has its id: the first question, whether anything is held for
/// any order, is asked once a statement and mostly ends it. Both are ordered by what their index is, so that no other is
/// taken, however few are held when the server makes its plan. The answer is no column of the order's row: the projector would have to
/// keep it, and records without a version have no row that it could lock.
fn held_sql(ViewId(view): ViewId, id: &str) -> String {
    let held = format!("SELECT true FROM orders_held WHERE view = {view} AND order_id");
    format!(
        "CASE WHEN ({held} IS NOT NULL ORDER BY order_id LIMIT 1) THEN ({held} = {id} ORDER BY version LIMIT 1) END"
    )
}

/// The statement that reads what there is of orders by their ids, the first parameter: a row for each, also where there is
/// no order, for something may be held for it.
pub(super) fn seen_sql(view: ViewId) -> String {
    let held = held_sql(view, "asked.id");
    format!(
        "SELECT asked.id, version, status, name, reason, created_at, updated_at, nanos, {held}
         FROM UNNEST($1::text[]) AS asked (id) LEFT JOIN orders_{} AS has ON has.id = asked.id COLLATE \"C\"",
        view.0
    )
}

/// A row of [`seen_sql`]. A row at version 0 is no order: it only stands for held events.
fn seen(row: &PgRow) -> Answered {
    let is_there = row.try_get::<Option<i64>, _>(1).map_err(Failed::from)?.is_some_and(|version| version > 0);
    let order = if is_there { Some(rows::snapshot(row)?) } else { None };
    Ok(Lookup { order, held: is_held(row)? })
}

/// The column of [`held_sql`], behind those of the order.
fn is_held(row: &PgRow) -> Result<bool, Failed> {
    Ok(row.try_get::<Option<bool>, _>(8)?.unwrap_or_default())
}

/// Answers all these calls with one read. A row that can't be read is an answer to its own callers, and no failure of the
/// others' reads.
pub(super) async fn answer(shared: Arc<Shared>, calls: Vec<See>) {
    let mut ids: Vec<&str> = calls.iter().map(|call| call.id.as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    let ids = &ids[..];
    let found = match shared.rows_of_active(|view| query(AssertSqlSafe(seen_sql(view))).bind(ids)).await {
        Ok(found) => found,
        Err(failed) => {
            let error = ReadStoreError::from(failed);
            for call in calls {
                let _ = call.answer.send(Err(error.clone()));
            }
            return;
        }
    };
    let mut by_id: HashMap<&str, &PgRow> = HashMap::with_capacity(found.len());
    for row in &found {
        by_id.extend(row.try_get::<&str, _>(0).map(|id| (id, row)));
    }
    let answers: Vec<Answered> = calls
        .iter()
        .map(|call| by_id.get(call.id.as_str()).map_or_else(|| Ok(Lookup::default()), |row| seen(row)))
        .collect();
    for (call, seen) in calls.into_iter().zip(answers) {
        // Whoever stopped waiting needs no answer.
        let _ = call.answer.send(seen);
    }
}

/// The orders that are there. A garbled one is not, for whoever compares: so it is found missing, and can be repaired.
pub(super) async fn many(shared: &Shared, ids: &[OrderId]) -> Result<Vec<Snapshot>, ReadStoreError> {
    let ids = rows::texts(ids);
    let rows = |view| query(AssertSqlSafe(format!("{} AND version > 0", project::rows_sql(view)))).bind(&ids);
    let found = shared.rows_of_active(rows).await?;
    let mut orders = Vec::with_capacity(found.len());
    for row in &found {
        match rows::snapshot(row) {
            Ok(order) => orders.push(order),
            Err(problem) => tracing::warn!(%problem, "a row can't be read"),
        }
    }
    Ok(orders)
}

/// Whether the view's own table is there.
pub(super) async fn ping(shared: &Shared) -> Result<(), Failed> {
    let view = shared.look_up_active_view().await?;
    let any = || query(AssertSqlSafe(format!("SELECT 1 FROM orders_{} LIMIT 1", view.0)));
    match shared.connections.rows(any).await {
        Err(Failed::Sql(error)) if failure::is_missing_table(&error) => {
            Err(Failed::unavailable("the table of its view is not there; run `orders migrate`"))
        }
        found => found.map(drop),
    }
}

pub(super) async fn versions(
    shared: &Shared,
    after: Option<&OrderId>,
    limit: usize,
) -> Result<Vec<(OrderId, Version)>, Failed> {
    let after = after.map_or("", OrderId::as_str);
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let page = |ViewId(view)| {
        let sql = format!(
            "SELECT id, version FROM orders_{view} WHERE (version > 0 OR status IS NOT NULL) AND id > $1 ORDER BY id LIMIT $2"
        );
        query(AssertSqlSafe(sql)).bind(after).bind(limit)
    };
    let _place = shared.take_place_for_list().await?;
    let found = shared.rows_of_active(page).await?;
    found.iter().map(|row| Ok((rows::order_id(row, 0)?, rows::version(row.try_get(1)?)))).collect()
}

/// The statement for a page by this filter: a walk along one index from where the last page ended. A name tells more than a
/// status, so with both the name's index is taken (the server knows no index for a status that is computed).
///
/// A status stands in the text, so that the server plans with how many have it: where most orders are processed, those
/// that are new are not to be looked for among all.
pub(super) fn page_sql(view: ViewId, filter: &Filter) -> String {
    let by = match (&filter.name, filter.status) {
        (None, None) => "status IS NOT NULL".to_owned(),
        (None, Some(status)) => format!("status = '{status}'"),
        (Some(_), None) => "name = $3".to_owned(),
        (Some(_), Some(status)) => format!("name = $3 AND status || '' = '{status}'"),
    };
    let (columns, held) = (rows::ORDER_COLUMNS, held_sql(view, "has.id"));
    format!(
        "SELECT {columns}, {held} FROM orders_{} AS has WHERE {by} AND id > $1 ORDER BY id LIMIT $2",
        view.0
    )
}

fn page_query(view: ViewId, filter: &Filter) -> Query<'static, Postgres, PgArguments> {
    let after = filter.after.as_ref().map_or("", OrderId::as_str);
    // One more than asked tells whether there are more.
    let fetch = i64::try_from(filter.limit.max(1)).unwrap_or(i64::MAX).saturating_add(1);
    let page = query(AssertSqlSafe(page_sql(view, filter))).bind(after).bind(fetch);
    match filter.name.as_ref() {
        Some(name) => page.bind(OrderName::as_str(name)),
        None => page,
    }
}

pub(super) async fn page(shared: &Shared, filter: &Filter) -> Result<Page, ReadStoreError> {
    let _place = shared.take_place_for_list().await?;
    let found = shared.rows_of_active(|view| page_query(view, filter)).await?;
    let limit = filter.limit.max(1);
    let shown = &found[..found.len().min(limit)];
    let orders = shown.iter().map(rows::snapshot).collect::<Result<Vec<_>, _>>()?;
    let mut held = false;
    for row in shown {
        held |= is_held(row)?;
    }
    Ok(Page { orders, more: found.len() > limit, held })
}
