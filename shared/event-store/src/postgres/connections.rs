//! The connections of a process to its server: few, opened when they are needed, each used by one statement at a time.
//!
//! Each statement is a transaction of its own, so no lock outlives it, and a frozen process holds none. No round trip is spent on
//! checking that a connection is still alive. A statement that meets a dead one takes a new one.

use std::future::Future;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use runtime::SecretUrl;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgRow};
use sqlx::query::Query;
use sqlx::{ConnectOptions, PgConnection, Postgres};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::failure::{self, Failed};
use super::schema;
use crate::OpenError;

/// How long a server may take to accept a connection and its user.
const CONNECT: Duration = Duration::from_secs(3);
/// How long a new connection may take until the tables are checked, or made.
const PREPARE: Duration = Duration::from_secs(30);
/// How long a call waits for a connection while all are busy.
const ACQUIRE: Duration = Duration::from_secs(5);
/// How long a statement may take.
const ANSWER: Duration = Duration::from_secs(5);
/// The time after which an unused connection is not trusted any more: routers and proxies drop silent ones.
const IDLE: Duration = Duration::from_secs(60);
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

/// The pool of connections to the server.
pub(super) struct Connections {
    options: PgConnectOptions,
    permits: Arc<Semaphore>,
    idle: Mutex<Vec<Idle>>,
}

struct Idle {
    connection: PgConnection,
    since: Instant,
}

/// A connection that a call has taken. Dropping it closes the connection.
struct Lease {
    connection: PgConnection,
    reused: bool,
    _permit: OwnedSemaphorePermit,
}

impl Connections {
    /// A pool of at most `size` connections. It opens the first one when it is needed.
    pub(super) fn new(url: &SecretUrl, size: usize) -> Result<Self, OpenError> {
        let refused =
            |problem: &str| OpenError::Refused(format!("not a URL of a PostgreSQL database: {problem}"));
        url.check().map_err(refused)?;
        let options = PgConnectOptions::from_str(&with_known_options(url.expose()))
            .map_err(|error| refused(&url.scrub(&error.to_string())))?;
        Ok(Self {
            options: options.disable_statement_logging(),
            permits: Arc::new(Semaphore::new(size)),
            idle: Mutex::new(Vec::with_capacity(size)),
        })
    }

    /// Runs a statement and returns its rows. If the connection breaks that it was sent on, and had been idle before, the
    /// statement is sent again. The first may have been done then. So each statement here leads to the same rows when it is done
    /// twice, or its second answer is a conflict, after which the caller looks for what the first has written.
    pub(super) async fn rows<'q>(
        &self,
        statement: impl Fn() -> Query<'q, Postgres, PgArguments>,
    ) -> Result<Vec<PgRow>, Failed> {
        let mut deadlocks = 0;
        loop {
            let mut lease = self.take().await?;
            let run = async { Ok(statement().fetch_all(&mut lease.connection).await?) };
            match within(ANSWER, run).await {
                Ok(rows) => {
                    self.give_back(lease);
                    return Ok(rows);
                }
                Err(Failed::Sql(error)) if failure::is_cut(&error) => {
                    // The other idle connections will have died with it.
                    self.forget_idle();
                    if !lease.reused {
                        return Err(error.into());
                    }
                }
                Err(Failed::Sql(error)) if failure::needs_a_check(&error) => {
                    self.forget_idle();
                    return Err(error.into());
                }
                Err(Failed::Sql(error)) if failure::is_deadlock(&error) && deadlocks < DEADLOCKS => {
                    deadlocks += 1;
                    self.give_back(lease);
                }
                Err(Failed::Refused(why)) => {
                    self.give_back(lease);
                    return Err(Failed::Refused(why));
                }
                Err(failed) => return Err(failed),
            }
        }
    }

    /// Runs a statement that returns exactly one row.
    pub(super) async fn row<'q>(
        &self,
        statement: impl Fn() -> Query<'q, Postgres, PgArguments>,
    ) -> Result<PgRow, Failed> {
        let rows = self.rows(statement).await?;
        rows.into_iter().next().ok_or_else(|| Failed::unavailable("an answer without rows"))
    }

    /// Takes a connection that is ready for work, or opens one.
    async fn take(&self) -> Result<Lease, Failed> {
        let permit = timeout(ACQUIRE, Arc::clone(&self.permits).acquire_owned()).await;
        let Ok(Ok(permit)) = permit else {
            return Err(Failed::unavailable("all its connections are busy"));
        };
        let (connection, reused) = match self.reuse() {
            Some(connection) => (connection, true),
            None => (self.connect().await?, false),
        };
        Ok(Lease { connection, reused, _permit: permit })
    }

    fn give_back(&self, lease: Lease) {
        self.idle.lock().push(Idle { connection: lease.connection, since: Instant::now() });
    }

    fn reuse(&self) -> Option<PgConnection> {
        let mut idle = self.idle.lock();
        idle.retain(|idle| idle.since.elapsed() < IDLE);
        idle.pop().map(|idle| idle.connection)
    }

    fn forget_idle(&self) {
        self.idle.lock().clear();
    }

    /// Opens a connection, and makes sure that the tables are there.
    ///
    /// It connects on a thread of its own. The problem: the driver hashes the password in 4096 rounds and gives way to every
    /// other task at each fifth. On a runtime that is busy with other tasks, that takes longer than [`CONNECT`], time and again.
    async fn connect(&self) -> Result<PgConnection, Failed> {
        let (options, runtime) = (self.options.clone(), Handle::current());
        let connecting = async move { Ok(options.connect().await?) };
        let connected = spawn_blocking(move || runtime.block_on(within(CONNECT, connecting))).await;
        let mut connection =
            connected.unwrap_or_else(|_| Err(Failed::unavailable("connecting was broken off")))?;
        within(PREPARE, schema::prepare(&mut connection, SESSION)).await?;
        Ok(connection)
    }
}

/// The options that sqlx knows, beside settings of a session (`options[NAME]`).
const KNOWN_OPTIONS: &str = "sslmode ssl-mode sslrootcert ssl-root-cert ssl-ca sslcert ssl-cert sslkey ssl-key statement-cache-capacity \
                             host hostaddr port dbname user password application_name options";

/// Removes the options that sqlx does not know: it would log them with their values, such as that of `sslpassword`.
fn with_known_options(url: &str) -> String {
    let Some((place, options)) = url.split_once('?') else { return url.to_owned() };
    let is_known = |option: &&str| {
        let name = option.split('=').next().unwrap_or_default();
        KNOWN_OPTIONS.split(' ').any(|known| known == name)
            || name.starts_with("options[")
            || name.starts_with("options%5")
    };
    let (known, unknown): (Vec<&str>, Vec<&str>) =
        options.split('&').filter(|option| !option.is_empty()).partition(is_known);
    if !unknown.is_empty() {
        let unknown = unknown.len();
        tracing::warn!(
            unknown,
            "options of the event store's URL are not known and passed over; known: {KNOWN_OPTIONS}"
        );
    }
    format!("{place}?{}", known.join("&"))
}

/// Runs the work, and fails if it takes longer than the limit.
async fn within<T>(limit: Duration, work: impl Future<Output = Result<T, Failed>>) -> Result<T, Failed> {
    let none = || Failed::unavailable(&format!("no answer within {} s", limit.as_secs()));
    timeout(limit, work).await.unwrap_or_else(|_| Err(none()))
}
