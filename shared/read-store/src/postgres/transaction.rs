//! A transaction that writes views.

use std::sync::Arc;

use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row, raw_sql};

use super::connections::{Connections, Lease};
use super::failure::Failed;
use crate::{ReadStoreError, ViewId};

/// An open transaction. Dropped, it is rolled back, for its connection is closed then.
///
/// # Locks
/// Everybody takes them in this order, so nobody waits in a circle:
/// 1. the list of views, shared or alone;
/// 2. view by view, the older one first:
///    1. rows that are there, by id;
///    2. the view's records without an order or a version;
///    3. new rows, by id;
///    4. rows that others have made instead: without waiting.
pub(super) struct Transaction {
    lease: Lease,
    pub(super) views: Views,
}

/// Which views there are, for as long as the transaction is open.
#[derive(Clone, Copy)]
pub(super) struct Views {
    pub(super) active: ViewId,
    pub(super) building: Option<ViewId>,
}

/// How the list of views is locked.
#[derive(Clone, Copy)]
pub(super) enum Lock {
    /// With others that write the same views.
    Shared,
    /// The same; and the commit does not wait for the disk. Should the server stop, what is lost is found missing before
    /// the swap, which is refused then; the swap's own commit waits for all before it.
    SharedUnsynced,
    /// Alone, once all of those are done. Queries go on.
    Alone,
}

impl Lock {
    /// One round trip. The lock is waited for before the views are read, so that none misses a swap.
    const fn begin(self) -> &'static str {
        match self {
            Self::Shared => {
                "BEGIN ISOLATION LEVEL READ COMMITTED; LOCK TABLE orders_views IN ROW SHARE MODE;
                 SELECT id, state = 'building' FROM orders_views"
            }
            Self::SharedUnsynced => {
                "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL synchronous_commit = off;
                 LOCK TABLE orders_views IN ROW SHARE MODE;
                 SELECT id, state = 'building' FROM orders_views"
            }
            Self::Alone => {
                "BEGIN ISOLATION LEVEL READ COMMITTED; LOCK TABLE orders_views IN EXCLUSIVE MODE;
                 SELECT id, state = 'building' FROM orders_views"
            }
        }
    }
}

impl Transaction {
    pub(super) async fn begin(connections: &Arc<Connections>, lock: Lock) -> Result<Self, Failed> {
        loop {
            let mut lease = connections.take().await?;
            match raw_sql(lock.begin()).fetch_all(&mut lease.connection).await {
                Ok(found) => return Ok(Self { lease, views: Views::of(&found)? }),
                Err(error) if lease.is_stale(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// On a connection that the caller goes on to use after it.
    pub(super) async fn begin_on(mut lease: Lease, lock: Lock) -> Result<Self, Failed> {
        let found = raw_sql(lock.begin()).fetch_all(&mut lease.connection).await?;
        Ok(Self { lease, views: Views::of(&found)? })
    }

    pub(super) fn connection(&mut self) -> &mut PgConnection {
        &mut self.lease.connection
    }

    /// Commits what was done. When it was overtaken, rolls it back and keeps the connection; after any other failure the
    /// connection is closed.
    pub(super) async fn end<T>(mut self, done: Result<T, Failed>) -> Result<T, Failed> {
        let end = match &done {
            Ok(_) => "COMMIT",
            Err(Failed::Overtaken) => "ROLLBACK",
            Err(_) => return done,
        };
        raw_sql(end).execute(&mut self.lease.connection).await?;
        self.lease.give_back();
        done
    }

    /// Commits on a connection that is not handed on.
    pub(super) async fn commit_on(mut self) -> Result<Lease, Failed> {
        raw_sql("COMMIT").execute(&mut self.lease.connection).await?;
        Ok(self.lease)
    }

    /// Refuses a view that is not being built.
    pub(super) fn check_building(&self, view: ViewId) -> Result<(), ReadStoreError> {
        if self.views.building == Some(view) { Ok(()) } else { Err(ReadStoreError::NotBuilding(view)) }
    }
}

impl Views {
    fn of(found: &[PgRow]) -> Result<Self, Failed> {
        let (mut active, mut building) = (None, None);
        for row in found {
            let id = ViewId(row.try_get(0)?);
            if row.try_get(1)? { building = Some(id) } else { active = Some(id) }
        }
        let active = active.ok_or_else(no_active_view)?;
        Ok(Self { active, building })
    }

    /// The older one first.
    pub(super) fn all(self) -> impl Iterator<Item = ViewId> {
        std::iter::once(self.active).chain(self.building)
    }
}

pub(super) fn no_active_view() -> ReadStoreError {
    ReadStoreError::Corrupt("no active view".to_owned())
}
