//! The state that all tasks of a store share, and the view that it shows to queries.
//!
//! Each process remembers the active view. A swap deletes the former view's table in the same transaction. So a read that still
//! asks for that table finds none, never an old row, and looks up the active view anew.

use std::sync::atomic::{AtomicI64, Ordering};

use event_sourcing::View;
use runtime::postgres::ACQUIRE;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{Postgres, Row as _, query};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::connections::Connections;
use super::failure::{self, Failure};
use super::transaction::no_active_view;
use crate::ViewId;
use crate::shape::{Shape, Table};
use crate::waiters::Waiters;

/// The maximum number of tries of a read, if swaps delete the table under it.
const TRIES: usize = 5;

/// The state that all tasks of a store share.
pub(super) struct Shared<V: View> {
    /// The connections of queries and tools.
    pub(super) connections: Connections,
    /// The projector's own connections, so that it waits for no query, however slow. When it shared connections, slow lists
    /// starved it. They also starved reads of single streams, to which [`LEFT_BY_LISTS`](super::LEFT_BY_LISTS) leaves two.
    pub(super) projectors: Connections,
    /// The permits for reads that may take long.
    pub(super) lists: Semaphore,
    pub(super) active: ActiveView,
    pub(super) waiters: Waiters<V::Row>,
    pub(super) size: usize,
}

/// The number of the active view, as this process remembers it; 0 if it does not.
#[derive(Default)]
pub(super) struct ActiveView(AtomicI64);

impl<V: View> Shared<V> {
    /// The shape of the table with the versions of the streams.
    pub(super) fn streams(&self) -> Shape {
        self.connections.shape.table(ViewId(0)).streams().shape
    }

    /// Returns the active view, from memory if possible.
    pub(super) async fn active_view(&self) -> Result<Table, Failure> {
        match self.active.0.load(Ordering::Relaxed) {
            0 => self.look_up_active_view().await,
            known => Ok(self.connections.shape.table(ViewId(known))),
        }
    }

    /// Asks the server for the active view, and remembers it.
    pub(super) async fn look_up_active_view(&self) -> Result<Table, Failure> {
        let (shape, sql) =
            (self.connections.shape, "SELECT id FROM read_store_views WHERE shape = $1 AND state = 'active'");
        let found = self.connections.rows(|| query(sql).bind(shape.key)).await?;
        let id = found.first().ok_or_else(no_active_view)?.try_get(0)?;
        self.active.0.store(id, Ordering::Relaxed);
        Ok(shape.table(ViewId(id)))
    }

    /// Takes a permit for a read that may take long. If there are several connections, there are fewer permits than connections,
    /// so that single streams are read meanwhile.
    pub(super) async fn take_place_for_list(&self) -> Result<SemaphorePermit<'_>, Failure> {
        match timeout(ACQUIRE, self.lists.acquire()).await {
            Ok(Ok(place)) => Ok(place),
            _ => Err(Failure::unavailable("too many lists are being read")),
        }
    }

    /// Returns the rows that a statement finds in the table of the active view.
    pub(super) async fn rows_of_active<'q>(
        &self,
        statement: impl Fn(Table) -> Query<'q, Postgres, PgArguments>,
    ) -> Result<Vec<PgRow>, Failure> {
        let mut view = self.active_view().await?;
        for _ in 1..TRIES {
            match self.connections.rows(|| statement(view)).await {
                Err(Failure::Sql(error)) if failure::is_missing_table(&error) => {
                    view = self.look_up_active_view().await?;
                }
                found => return found,
            }
        }
        self.connections.rows(|| statement(view)).await
    }
}
