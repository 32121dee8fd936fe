//! A transaction that writes views.

use std::sync::Arc;

use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgConnection, Row, raw_sql};

use super::connections::{Connections, Lease};
use super::failure::Failed;
use crate::shape::{Shape, Table};
use crate::{ReadStoreError, ViewId};

/// An open transaction. Dropped, it is rolled back, for its connection is closed then.
///
/// # Locks
/// Everybody takes them in this order, so nobody waits in a circle:
/// 1. the list of views, shared or alone;
/// 2. view by view, the older one first:
///    1. rows that are there, by id;
///    2. the view's records without a stream or a version;
///    3. new rows, by id;
///    4. rows that others have made instead: without waiting.
pub(super) struct Transaction {
    lease: Lease,
    pub(super) views: Views,
}

/// Which views there are, for as long as the transaction is open.
#[derive(Clone, Copy)]
pub(super) struct Views {
    pub(super) active: Table,
    pub(super) building: Option<Table>,
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
    fn begin(self, shape: Shape) -> String {
        let (setting, mode) = match self {
            Self::Shared => ("", "ROW SHARE"),
            Self::SharedUnsynced => ("SET LOCAL synchronous_commit = off; ", "ROW SHARE"),
            Self::Alone => ("", "EXCLUSIVE"),
        };
        format!(
            "BEGIN ISOLATION LEVEL READ COMMITTED; {setting}LOCK TABLE read_store_views IN {mode} MODE;
             SELECT id, state = 'building' FROM read_store_views WHERE shape = '{}'",
            shape.key()
        )
    }
}

impl Transaction {
    pub(super) async fn begin(connections: &Arc<Connections>, lock: Lock) -> Result<Self, Failed> {
        let shape = connections.shape;
        let begin = lock.begin(shape);
        loop {
            let mut lease = connections.take().await?;
            match raw_sql(AssertSqlSafe(begin.as_str())).fetch_all(&mut lease.connection).await {
                Ok(found) => return Ok(Self { lease, views: Views::of(&found, shape)? }),
                Err(error) if lease.is_stale(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// On a connection that the caller goes on to use after it.
    pub(super) async fn begin_on(mut lease: Lease, lock: Lock) -> Result<Self, Failed> {
        let shape = lease.shape();
        let found = raw_sql(AssertSqlSafe(lock.begin(shape))).fetch_all(&mut lease.connection).await?;
        Ok(Self { lease, views: Views::of(&found, shape)? })
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

    /// The table of a view that is being built, and of no other.
    pub(super) fn building(&self, view: ViewId) -> Result<Table, ReadStoreError> {
        self.views.building.filter(|table| table.id == view).ok_or(ReadStoreError::NotBuilding(view))
    }
}

impl Views {
    fn of(found: &[PgRow], shape: Shape) -> Result<Self, Failed> {
        let (mut active, mut building) = (None, None);
        for row in found {
            let table = shape.table(ViewId(row.try_get(0)?));
            if row.try_get(1)? { building = Some(table) } else { active = Some(table) }
        }
        let active = active.ok_or_else(no_active_view)?;
        Ok(Self { active, building })
    }

    /// The older one first.
    pub(super) fn all(self) -> impl Iterator<Item = Table> {
        std::iter::once(self.active).chain(self.building)
    }
}

pub(super) fn no_active_view() -> ReadStoreError {
    ReadStoreError::Corrupt("no active view".to_owned())
}
