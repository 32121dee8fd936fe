//! A transaction that writes views.

use runtime::postgres::Lease;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgConnection, Row, raw_sql};

use super::connections::Connections;
use super::failure::Failure;
use crate::shape::{Shape, Table};
use crate::{ReadStoreError, ViewId};

/// An open transaction. Dropping it rolls it back, because that closes its connection.
///
/// # Locks
/// Every transaction takes locks in this order, so that none waits in a circle:
/// 1. the list of views, shared or alone;
/// 2. view by view, the older one first:
///    1. existing rows, by id;
///    2. the view's records without a stream or a version;
///    3. new rows, by id;
///    4. rows that others have inserted instead: without waiting.
///
/// In a view whose key is not the stream, the versions of the streams take the place of the rows. They are all there and locked
/// before anything else, and the rows come last, by key. A batch that is taken in in parts locks its rows part by part; if two such
/// batches wait in a circle, the server ends one, and it is done again.
pub(super) struct Transaction {
    lease: Lease,
    pub(super) views: Views,
}

/// The views that there are, as long as the transaction is open.
#[derive(Clone, Copy)]
pub(super) struct Views {
    pub(super) active: Table,
    pub(super) building: Option<Table>,
}

/// How the list of views is locked.
#[derive(Clone, Copy)]
pub(super) enum Lock {
    /// Shared with other transactions that write the same views.
    Shared,
    /// Shared too, but the commit does not wait for the disk. If the server stops, the check before the swap finds the loss and
    /// refuses the swap. The swap's own commit waits for all commits before it.
    SharedUnsynced,
    /// Shared too, by a transaction that only reads and sees all views at one moment.
    Snapshot,
    /// Alone, after all shared transactions have ended. Queries go on.
    Alone,
}

impl Lock {
    /// The statements that begin the transaction, in one round trip. The lock is taken before the views are read, so that no
    /// transaction misses a swap.
    fn begin(self, shape: Shape) -> String {
        let (setting, mode) = match self {
            Self::Shared => ("", "ROW SHARE"),
            Self::SharedUnsynced => ("SET LOCAL synchronous_commit = off; ", "ROW SHARE"),
            Self::Snapshot => {
                ("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY; ", "ACCESS SHARE")
            }
            Self::Alone => ("", "EXCLUSIVE"),
        };
        format!(
            "BEGIN ISOLATION LEVEL READ COMMITTED; {setting}LOCK TABLE read_store_views IN {mode} MODE;
             SELECT id, state = 'building' FROM read_store_views WHERE shape = '{}'",
            shape.key
        )
    }
}

impl Transaction {
    pub(super) async fn begin(connections: &Connections, lock: Lock) -> Result<Self, Failure> {
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

    /// Begins on a connection that the caller uses again after the transaction.
    pub(super) async fn begin_on(mut lease: Lease, shape: Shape, lock: Lock) -> Result<Self, Failure> {
        let found = raw_sql(AssertSqlSafe(lock.begin(shape))).fetch_all(&mut lease.connection).await?;
        Ok(Self { lease, views: Views::of(&found, shape)? })
    }

    pub(super) fn connection(&mut self) -> &mut PgConnection {
        &mut self.lease.connection
    }

    /// Commits if the work was done. Rolls back if it was overtaken or a value was refused, and keeps the connection. After any other failure, closes
    /// the connection.
    pub(super) async fn end<T>(mut self, done: Result<T, Failure>) -> Result<T, Failure> {
        let end = match &done {
            Ok(_) => "COMMIT",
            Err(Failure::Overtaken | Failure::Refused(_)) => "ROLLBACK",
            Err(_) => return done,
        };
        raw_sql(end).execute(&mut self.lease.connection).await?;
        self.lease.give_back();
        done
    }

    /// Commits, and returns the connection to the caller and not to the pool.
    pub(super) async fn commit_on(mut self) -> Result<Lease, Failure> {
        raw_sql("COMMIT").execute(&mut self.lease.connection).await?;
        Ok(self.lease)
    }

    /// Returns the table of this view, if it is the one that is being built.
    pub(super) fn building(&self, view: ViewId) -> Result<Table, ReadStoreError> {
        self.views.building.filter(|table| table.id == view).ok_or(ReadStoreError::NotBuilding(view))
    }
}

impl Views {
    fn of(found: &[PgRow], shape: Shape) -> Result<Self, Failure> {
        let (mut active, mut building) = (None, None);
        for row in found {
            let table = shape.table(ViewId(row.try_get(0)?));
            if row.try_get(1)? { building = Some(table) } else { active = Some(table) }
        }
        let active = active.ok_or_else(no_active_view)?;
        Ok(Self { active, building })
    }

    /// All views, the older one first.
    pub(super) fn all(self) -> impl Iterator<Item = Table> {
        std::iter::once(self.active).chain(self.building)
    }
}

pub(super) fn no_active_view() -> ReadStoreError {
    ReadStoreError::Corrupt("no active view".to_owned())
}
