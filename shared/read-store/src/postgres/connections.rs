//! The connections of a process to its server: few, opened when they are needed, each used by one task at a time.
//!
//! No round trip is spent on checking that a connection is still alive. A task that meets a dead one with its first statement
//! takes a new one. A connection on which work failed is closed, so no half transaction is ever handed on.

use std::future::Future;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use runtime::SecretUrl;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgRow};
use sqlx::query::Query;
use sqlx::{ConnectOptions, PgConnection, Postgres, raw_sql};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::failure::{self, Failed};
use super::schema;
use crate::shape::Shape;
use crate::{OpenError, ReadStoreError};

/// How long a server may take to accept a connection and its user.
const CONNECT: Duration = Duration::from_secs(3);
/// How long a call waits for a connection while all are busy.
pub(super) const ACQUIRE: Duration = Duration::from_secs(5);
/// How long a transaction or a single statement may take.
pub(super) const ANSWER: Duration = Duration::from_secs(10);
/// How long a step of a rebuild may take.
pub(super) const MAINTENANCE: Duration = Duration::from_secs(3600);
/// The time after which an unused connection is not trusted any more: routers and proxies drop silent ones.
const IDLE: Duration = Duration::from_secs(60);

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

/// The pool of connections to the server.
pub(super) struct Connections {
    /// The shape of the view whose tables must exist.
    pub(super) shape: Shape,
    options: PgConnectOptions,
    permits: Arc<Semaphore>,
    idle: Mutex<Vec<Idle>>,
}

struct Idle {
    connection: PgConnection,
    since: Instant,
}

/// A connection that a task has taken. Dropping it closes the connection.
pub(super) struct Lease {
    pub(super) connection: PgConnection,
    home: Arc<Connections>,
    reused: bool,
    _permit: OwnedSemaphorePermit,
}

impl Connections {
    /// A pool of at most `size` connections. It opens the first one when it is needed.
    pub(super) fn new(url: &SecretUrl, size: usize, shape: Shape) -> Result<Arc<Self>, OpenError> {
        let refused =
            |problem: &str| OpenError::Refused(format!("not a URL of a PostgreSQL database: {problem}"));
        url.check().map_err(refused)?;
        let options = PgConnectOptions::from_str(&with_known_options(url.expose()))
            .map_err(|error| refused(&url.scrub(&error.to_string())))?;
        Ok(Arc::new(Self {
            shape,
            options: options.disable_statement_logging(),
            permits: Arc::new(Semaphore::new(size)),
            idle: Mutex::new(Vec::with_capacity(size)),
        }))
    }

    /// Takes a connection that is ready for work, or opens one.
    pub(super) async fn take(self: &Arc<Self>) -> Result<Lease, Failed> {
        let permit = timeout(ACQUIRE, Arc::clone(&self.permits).acquire_owned()).await;
        let Ok(Ok(permit)) = permit else {
            return Err(Failed::unavailable("all its connections are busy"));
        };
        let (connection, reused) = match self.reuse() {
            Some(connection) => (connection, true),
            None => (self.connect().await?, false),
        };
        Ok(Lease { connection, home: Arc::clone(self), reused, _permit: permit })
    }

    /// Takes a connection for statements that may take long. It does not go back to the pool.
    pub(super) async fn take_for_maintenance(self: &Arc<Self>) -> Result<Lease, Failed> {
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

    /// Opens a connection without our settings, to a database whose tables may not exist yet.
    ///
    /// It connects on a thread of its own. The problem: the driver hashes the password in 4096 rounds and gives way to every
    /// other task at each fifth. On a runtime that is busy with other tasks, that takes longer than [`CONNECT`], time and again.
    /// Measured: a process under a load of 64 clients could not connect in three seconds.
    pub(super) async fn connect_bare(&self) -> Result<PgConnection, Failed> {
        let (options, runtime) = (self.options.clone(), Handle::current());
        let connecting = async move { Ok(options.connect().await?) };
        let connected = spawn_blocking(move || runtime.block_on(within(CONNECT, connecting))).await;
        connected.unwrap_or_else(|_| Err(Failed::unavailable("connecting was broken off")))
    }

    /// Runs a statement and returns its rows. The statement should only read, because it is sent again if the connection had died
    /// before.
    pub(super) async fn rows<'q>(
        self: &Arc<Self>,
        statement: impl Fn() -> Query<'q, Postgres, PgArguments>,
    ) -> Result<Vec<PgRow>, Failed> {
        loop {
            let mut lease = self.take().await?;
            let read = async { Ok(statement().fetch_all(&mut lease.connection).await?) };
            match within(ANSWER, read).await {
                Ok(rows) => {
                    lease.give_back();
                    return Ok(rows);
                }
                Err(Failed::Sql(error)) if lease.is_stale(&error) => {}
                Err(Failed::Sql(error)) if failure::is_missing_table(&error) => {
                    // A swap deleted the table. The connection is as good as before, and many reads meet this at the same time.
                    lease.give_back();
                    return Err(Failed::Sql(error));
                }
                Err(failed) => return Err(failed),
            }
        }
    }

    async fn connect(&self) -> Result<PgConnection, Failed> {
        within(CONNECT, async {
            let mut connection = self.connect_bare().await?;
            raw_sql(SESSION).execute(&mut connection).await?;
            schema::check(&mut connection, self.shape).await?;
            Ok(connection)
        })
        .await
    }

    fn reuse(&self) -> Option<PgConnection> {
        let mut idle = self.idle.lock();
        idle.retain(|idle| idle.since.elapsed() < IDLE);
        idle.pop().map(|idle| idle.connection)
    }
}

impl Lease {
    /// The shape of the view.
    pub(super) fn shape(&self) -> Shape {
        self.home.shape
    }

    /// Returns the connection to the pool. Only when no transaction is open and no answer is outstanding.
    pub(super) fn give_back(self) {
        let Self { connection, home, .. } = self;
        home.idle.lock().push(Idle { connection, since: Instant::now() });
    }

    /// Returns true if this connection had died before it was taken: then the same may be done with another one. Forgets the
    /// other idle connections, because they will have died with it.
    pub(super) fn is_stale(&self, error: &sqlx::Error) -> bool {
        let stale = self.reused && failure::is_cut(error);
        if stale {
            self.home.idle.lock().clear();
        }
        stale
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
            "options of the read store's URL are not known and passed over; known: {KNOWN_OPTIONS}"
        );
    }
    format!("{place}?{}", known.join("&"))
}

/// Runs the work, and fails if it takes longer than the limit.
pub(super) async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, Failed>>,
) -> Result<T, Failed> {
    match timeout(limit, work).await {
        Ok(done) => done,
        Err(_) => {
            Err(Failed::Store(ReadStoreError::Unavailable(format!("no answer within {} s", limit.as_secs()))))
        }
    }
}
