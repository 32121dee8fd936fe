//! The connections of a process to its server, each used by one statement at a time.
//!
//! Each statement is a transaction of its own, so no lock outlives it, and a frozen process holds none.

use std::sync::Arc;
use std::time::Duration;

use runtime::SecretUrl;
use runtime::postgres::{Lease, Pool, Schema, is_deadlock, within};
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, PgConnection, Postgres};

use super::failure::{self, Failure};
use super::schema;
use crate::{Namespace, OpenError};

/// How long a new connection may take until the tables are checked, or made.
const PREPARE: Duration = Duration::from_secs(30);
/// How long a statement may take.
const ANSWER: Duration = Duration::from_secs(5);
/// How often a statement is sent again after the server has ended it to break a deadlock.
const DEADLOCKS: usize = 5;

/// The settings of a session.
///
/// - The server gives up a little before [`ANSWER`], so that locks do not outlive the call that wanted them.
/// - An answered write is on the disk, whatever the server's own setting. A setting that waits for standbys as well stays.
/// - Every statement here finds its rows by an index. The server keeps a plan that it made while a table was small, and that plan
///   must not be a scan. One plan serves all parameters, and none is worth being compiled.
const SESSION: &str = "
SET statement_timeout = '4500ms';
SET idle_in_transaction_session_timeout = '9s';
SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') IN ('off', 'local');
SET enable_seqscan = off;
SET enable_bitmapscan = off;
SET enable_hashjoin = off;
SET enable_mergejoin = off;
SET plan_cache_mode = force_generic_plan;
SET jit = off;
";

/// The connections to the server.
pub(super) struct Connections {
    pool: Arc<Pool>,
    namespace: Namespace,
    schema: Schema,
}

impl Connections {
    /// At most `size` connections. The first one is opened when it is needed.
    pub(super) fn new(url: &SecretUrl, size: usize, namespace: &Namespace) -> Result<Self, OpenError> {
        let pool = Pool::new(url, size).map_err(|error| OpenError::Refused(error.to_string()))?;
        Ok(Self { pool, namespace: namespace.clone(), schema: schema::of(namespace) })
    }

    /// Returns a statement of ours with the names of the namespace's tables. To put them in costs a few microseconds, and the
    /// statement far more.
    pub(super) fn sql(&self, statement: &'static str) -> AssertSqlSafe<String> {
        AssertSqlSafe(self.namespace.sql(statement))
    }

    /// Runs a statement and returns its rows. If the connection breaks that it was sent on, and had been idle before, the
    /// statement is sent again. The first may have been done then. So each statement here leads to the same rows when it is done
    /// twice, or its second answer is a conflict, after which the caller looks for what the first has written.
    pub(super) async fn rows<'q>(
        &self,
        statement: impl Fn() -> Query<'q, Postgres, PgArguments>,
    ) -> Result<Vec<PgRow>, Failure> {
        let mut deadlocks = 0;
        loop {
            let mut lease = self.take().await?;
            let run = async { Ok(statement().fetch_all(&mut lease.connection).await?) };
            match within(ANSWER, run).await {
                Ok(rows) => {
                    lease.give_back();
                    return Ok(rows);
                }
                Err(Failure::Sql(error)) if lease.is_stale(&error) => {}
                Err(Failure::Sql(error)) if failure::needs_a_check(&error) => {
                    self.pool.close_idle();
                    return Err(error.into());
                }
                Err(Failure::Sql(error)) if is_deadlock(&error) && deadlocks < DEADLOCKS => {
                    deadlocks += 1;
                    lease.give_back();
                }
                Err(refusal @ (Failure::Refused(_) | Failure::Taken)) => {
                    lease.give_back();
                    return Err(refusal);
                }
                Err(failed) => return Err(failed),
            }
        }
    }

    /// Runs a statement that returns exactly one row.
    pub(super) async fn row<'q>(
        &self,
        statement: impl Fn() -> Query<'q, Postgres, PgArguments>,
    ) -> Result<PgRow, Failure> {
        let rows = self.rows(statement).await?;
        rows.into_iter().next().ok_or_else(|| Failure::unavailable("an answer without rows"))
    }

    /// Opens a connection, if there is none.
    pub(super) async fn begin(&self) -> Result<(), Failure> {
        let lease = self.take().await?;
        lease.give_back();
        Ok(())
    }

    /// Takes a connection that is ready for work: one whose session is set up, to a server that has all tables.
    async fn take(&self) -> Result<Lease, Failure> {
        let mut lease = self.pool.take().await?;
        if lease.is_new() {
            within(PREPARE, schema::prepare(&self.schema, &mut lease.connection, SESSION)).await?;
        }
        Ok(lease)
    }

    /// Opens a connection that is ready for work and does not go to the pool.
    pub(super) async fn connect(&self) -> Result<PgConnection, Failure> {
        let mut connection = self.pool.connect().await?;
        within(PREPARE, schema::prepare(&self.schema, &mut connection, SESSION)).await?;
        Ok(connection)
    }
}
