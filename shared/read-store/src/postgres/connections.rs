//! The connections of a process to its server, with the settings of their sessions.

use std::sync::Arc;
use std::time::Duration;

use runtime::SecretUrl;
use runtime::postgres::{Lease, Pool, within};
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{Postgres, raw_sql};

use super::failure::{self, Failure};
use super::schema;
use crate::shape::Shape;
use crate::{OpenError, ReadStoreError};

/// How long a new connection may take until the tables are checked, or made.
const PREPARE: Duration = Duration::from_secs(3);
/// How long a transaction or a single statement may take.
pub(super) const ANSWER: Duration = Duration::from_secs(10);
/// How long a step of a rebuild may take.
pub(super) const MAINTENANCE: Duration = Duration::from_secs(3600);

/// The settings of a session.
///
/// - The server gives up a little before [`ANSWER`], so that locks do not outlive the task that wanted them. That also holds for
///   a process that was frozen in the middle, as a Lambda is.
/// - Every statement here finds its rows by an index, and pages come in the order of the index. The server keeps a plan that it
///   made while a table was small, and that plan must not be a scan. A page must not read and sort all the rows that its filter
///   lets through.
/// - So one plan serves all parameters. By default the server plans anew at each execution, because a list of ids is mostly
///   shorter than it assumes. To plan reads and the projector's statements each time took half of the time that it spent on us.
/// - No statement is worth being compiled. The server would compile those that have no index to go by, such as the one for the
///   views. It overestimates their cost, and compiling took 20 ms a transaction (measured).
const SESSION: &str = "
SET statement_timeout = '8s';
SET idle_in_transaction_session_timeout = '9s';
SET enable_seqscan = off;
SET enable_bitmapscan = off;
SET enable_hashjoin = off;
SET enable_mergejoin = off;
SET plan_cache_mode = force_generic_plan;
SET jit = off;
";

/// The settings of a session that reads and sorts whole tables. Its statements may take long, so the server must notice when the
/// client has died. Otherwise the locks that the session waits for or holds stop the next rebuild, and the projector with it.
/// Servers before version 14 do not know that setting, nor do servers on systems that can't notice it.
const FOR_MAINTENANCE: &str = "
SET statement_timeout = 0;
SET idle_in_transaction_session_timeout = '60s';
SET enable_seqscan = on;
SET enable_bitmapscan = on;
SET enable_hashjoin = on;
SET enable_mergejoin = on;
SET plan_cache_mode = auto;
SET maintenance_work_mem = '256MB';
SET work_mem = '64MB';
DO $$ BEGIN PERFORM set_config('client_connection_check_interval', '1s', false); EXCEPTION WHEN OTHERS THEN NULL; END $$;
";

/// The connections to the server.
pub(super) struct Connections {
    /// The shape of the view whose tables must exist.
    pub(super) shape: Shape,
    pool: Arc<Pool>,
}

impl Connections {
    /// At most `size` connections. The first one is opened when it is needed.
    pub(super) fn new(url: &SecretUrl, size: usize, shape: Shape) -> Result<Self, OpenError> {
        let pool = Pool::new(url, size).map_err(|error| OpenError::Refused(error.to_string()))?;
        Ok(Self { shape, pool })
    }

    /// Takes a connection that is ready for work: one whose session is set up, to a server that has the tables.
    pub(super) async fn take(&self) -> Result<Lease, Failure> {
        let mut lease = self.pool.take().await?;
        if lease.is_new() {
            let prepare = async {
                raw_sql(SESSION).execute(&mut lease.connection).await?;
                schema::check(&mut lease.connection, self.shape).await
            };
            within(PREPARE, prepare).await?;
        }
        Ok(lease)
    }

    /// Creates the tables that are missing, and has the others migrated, on a connection without our settings.
    pub(super) async fn migrate(&self) -> Result<(), ReadStoreError> {
        let migrating = async {
            let mut connection = self.pool.connect().await?;
            schema::migrate(&mut connection, self.shape).await
        };
        Ok(within(MAINTENANCE, migrating).await?)
    }

    /// Takes a connection for statements that may take long. It does not go back to the pool.
    pub(super) async fn take_for_maintenance(&self) -> Result<Lease, Failure> {
        let mut lease = self.take().await?;
        if let Err(error) = raw_sql(FOR_MAINTENANCE).execute(&mut lease.connection).await {
            if !lease.is_stale(&error) {
                return Err(error.into());
            }
            drop(lease);
            lease = self.take().await?;
            raw_sql(FOR_MAINTENANCE).execute(&mut lease.connection).await?;
        }
        Ok(lease)
    }

    /// Runs a statement and returns its rows. The statement should only read, because it is sent again if the connection had died
    /// before.
    pub(super) async fn rows<'q>(
        &self,
        statement: impl Fn() -> Query<'q, Postgres, PgArguments>,
    ) -> Result<Vec<PgRow>, Failure> {
        loop {
            let mut lease = self.take().await?;
            let read = async { Ok(statement().fetch_all(&mut lease.connection).await?) };
            match within(ANSWER, read).await {
                Ok(rows) => {
                    lease.give_back();
                    return Ok(rows);
                }
                Err(Failure::Sql(error)) if lease.is_stale(&error) => {}
                Err(Failure::Sql(error)) if failure::is_missing_table(&error) => {
                    // A swap deleted the table. The connection is as good as before, and many reads meet this at the same time.
                    lease.give_back();
                    return Err(Failure::Sql(error));
                }
                Err(failed) => return Err(failed),
            }
        }
    }
}
