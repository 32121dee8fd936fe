//! What queries read.
//!
//! Which view is the active one is remembered. A swap deletes the former one's table in the same transaction, so whoever
//! still asks that finds no table, never an old row, and looks anew.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use domain::{OrderId, OrderName, Snapshot};
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, Postgres, Row, query};
use tokio::sync::oneshot;

use super::failure::{self, Failed};
use super::transaction::no_active_view;
use super::{Shared, project, rows};
use crate::{Filter, Page, ReadStoreError, ViewId};

/// How often a read begins anew when a swap deletes the table under it.
const TRIES: usize = 5;

/// A call of `get`.
pub(super) struct Get {
    pub(super) id: OrderId,
    pub(super) answer: oneshot::Sender<Answered>,
}

type Answered = Result<Option<Snapshot>, ReadStoreError>;

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

    /// The rows with these ids; none that only stands for held events.
    async fn rows_by_id(&self, ids: &[&str]) -> Result<Vec<PgRow>, Failed> {
        self.rows_of_active(|view| {
            query(AssertSqlSafe(format!("{} AND version > 0", project::rows_sql(view)))).bind(ids)
        })
        .await
    }
}

/// Answers all these calls with one read. A row that can't be read is an answer to its own callers, and no failure of the
/// others' reads.
pub(super) async fn answer(shared: Arc<Shared>, gets: Vec<Get>) {
    let mut ids: Vec<&str> = gets.iter().map(|get| get.id.as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    let found = match shared.rows_by_id(&ids).await {
        Ok(found) => found,
        Err(failed) => {
            let error = ReadStoreError::from(failed);
            for get in gets {
                let _ = get.answer.send(Err(error.clone()));
            }
            return;
        }
    };
    let mut by_id: HashMap<&str, &PgRow> = HashMap::with_capacity(found.len());
    for row in &found {
        // An id that is no text is no id that was asked for.
        by_id.extend(row.try_get::<&str, _>(0).map(|id| (id, row)));
    }
    let answers: Vec<Answered> = gets
        .iter()
        .map(|get| by_id.get(get.id.as_str()).map(|row| rows::snapshot(row)).transpose())
        .collect();
    for (get, row) in gets.into_iter().zip(answers) {
        // Whoever stopped waiting needs no answer.
        let _ = get.answer.send(row);
    }
}

/// The orders that are there. A garbled one is not, for whoever compares: so it is found missing, and can be repaired.
pub(super) async fn many(shared: &Shared, ids: &[OrderId]) -> Result<Vec<Snapshot>, ReadStoreError> {
    let found = shared.rows_by_id(&rows::texts(ids)).await?;
    let mut orders = Vec::with_capacity(found.len());
    for row in &found {
        match rows::snapshot(row) {
            Ok(order) => orders.push(order),
            Err(problem) => tracing::warn!(%problem, "a row can't be read"),
        }
    }
    Ok(orders)
}

/// The statement for a page by this filter: a walk along one index from where the last page ended. A name tells more than a
/// status, so with both the name's index is taken (the server knows no index for a status that is computed).
///
/// A status stands in the text, so that the server plans with how many have it: where most orders are processed, those
/// that are new are not to be looked for among all.
pub(super) fn page_sql(ViewId(view): ViewId, filter: &Filter) -> String {
    let by = match (&filter.name, filter.status) {
        (None, None) => "status IS NOT NULL".to_owned(),
        (None, Some(status)) => format!("status = '{status}'"),
        (Some(_), None) => "name = $3".to_owned(),
        (Some(_), Some(status)) => format!("name = $3 AND status || '' = '{status}'"),
    };
    let columns = rows::ORDER_COLUMNS;
    format!("SELECT {columns} FROM orders_{view} WHERE {by} AND id > $1 ORDER BY id LIMIT $2")
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
    let found = shared.rows_of_active(|view| page_query(view, filter)).await?;
    let limit = filter.limit.max(1);
    let orders = found.iter().take(limit).map(rows::snapshot).collect::<Result<Vec<_>, _>>()?;
    Ok(Page { orders, more: found.len() > limit })
}
