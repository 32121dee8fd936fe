//! Connections to a PostgreSQL server: few, opened when they are needed, each used by one task at a time.
//!
//! No round trip is spent on checking that a connection is still alive. A task that meets a dead one with its first statement
//! takes a new one. A connection on which work failed is closed, so no half transaction is ever handed on.

mod error;
mod schema;

use std::future::Future;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, PgConnection};
use thiserror::Error as ThisError;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

pub use self::error::{Error, READ_ONLY, code, describe, is_cut, is_deadlock, refusal};
pub use self::schema::{Schema, Tables};
use crate::SecretUrl;

/// How long a server may take to accept a connection and its user.
const CONNECT: Duration = Duration::from_secs(3);
/// How long a call waits for a connection while all are busy.
pub const ACQUIRE: Duration = Duration::from_secs(5);
/// The time after which an unused connection is not trusted any more: routers and proxies drop silent ones.
const IDLE: Duration = Duration::from_secs(60);

/// The pool of connections to one database.
pub struct Pool {
    options: PgConnectOptions,
    permits: Arc<Semaphore>,
    idle: Mutex<Vec<IdleConnection>>,
}

struct IdleConnection {
    connection: PgConnection,
    since: Instant,
}

/// A connection that a task has taken. Dropping it closes the connection.
pub struct Lease {
    /// The connection.
    pub connection: PgConnection,
    pool: Arc<Pool>,
    reused: bool,
    _permit: OwnedSemaphorePermit,
}

/// The URL can't be used. The message is one line, without the password.
#[derive(Debug, ThisError)]
#[error("not a URL of a PostgreSQL database: {0}")]
pub struct UrlRefused(String);

impl Pool {
    /// A pool of at most `size` connections. It opens the first one when it is needed.
    ///
    /// # Errors
    /// [`UrlRefused`] when the URL can't be used.
    pub fn new(url: &SecretUrl, size: usize) -> Result<Arc<Self>, UrlRefused> {
        url.check().map_err(|problem| UrlRefused(problem.to_owned()))?;
        let options = PgConnectOptions::from_str(&with_known_options(url.expose()))
            .map_err(|error| UrlRefused(url.scrub(&error.to_string())))?;
        Ok(Arc::new(Self {
            options: options.disable_statement_logging(),
            permits: Arc::new(Semaphore::new(size)),
            idle: Mutex::new(Vec::with_capacity(size)),
        }))
    }

    /// Takes a connection, or opens one. An opened one [is new](Lease::is_new), and has yet to be prepared for its work.
    ///
    /// # Errors
    /// When no connection is free or can be opened in time.
    pub async fn take(self: &Arc<Self>) -> Result<Lease, Error> {
        let permit = timeout(ACQUIRE, Arc::clone(&self.permits).acquire_owned()).await;
        let Ok(Ok(permit)) = permit else { return Err(Error::Busy) };
        let (connection, reused) = match self.reuse() {
            Some(connection) => (connection, true),
            None => (self.connect().await?, false),
        };
        Ok(Lease { connection, pool: Arc::clone(self), reused, _permit: permit })
    }

    /// Opens a connection that is not counted, and does not go to the pool.
    ///
    /// It connects on a thread of its own. The problem: the driver hashes the password in 4096 rounds and gives way to every
    /// other task at each fifth. On a runtime that is busy with other tasks, that takes longer than it may, time and again.
    /// Measured: a process under a load of 64 clients could not connect in three seconds.
    ///
    /// # Errors
    /// When the server refuses, does not answer or can't be reached.
    pub async fn connect(&self) -> Result<PgConnection, Error> {
        let (options, runtime) = (self.options.clone(), Handle::current());
        let connecting = async move { Ok(options.connect().await?) };
        let connected = spawn_blocking(move || runtime.block_on(within(CONNECT, connecting))).await;
        connected.unwrap_or(Err(Error::BrokenOff))
    }

    /// Closes all idle connections.
    pub fn close_idle(&self) {
        self.idle.lock().clear();
    }

    fn reuse(&self) -> Option<PgConnection> {
        let mut idle = self.idle.lock();
        idle.retain(|idle| idle.since.elapsed() < IDLE);
        idle.pop().map(|idle| idle.connection)
    }
}

impl Lease {
    /// Returns true if this connection was opened for this lease, so that nobody has prepared it.
    #[must_use]
    pub const fn is_new(&self) -> bool {
        !self.reused
    }

    /// Returns the connection to the pool. Only when no transaction is open and no answer is outstanding.
    pub fn give_back(self) {
        let Self { connection, pool, .. } = self;
        pool.idle.lock().push(IdleConnection { connection, since: Instant::now() });
    }

    /// Returns true if this connection had died before it was taken: then the same may be done with another one. If it was cut,
    /// closes the idle connections, because they will have died with it.
    #[must_use]
    pub fn is_stale(&self, error: &sqlx::Error) -> bool {
        let cut = is_cut(error);
        if cut {
            self.pool.close_idle();
        }
        cut && self.reused
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
            "options of a PostgreSQL URL are not known and passed over; known: {KNOWN_OPTIONS}"
        );
    }
    format!("{place}?{}", known.join("&"))
}

/// Runs the work, and fails if it takes longer than the limit.
///
/// # Errors
/// Those of the work, and [`Error::NoAnswer`].
pub async fn within<T, E: From<Error>>(
    limit: Duration,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    timeout(limit, work).await.unwrap_or_else(|_| Err(Error::NoAnswer(limit).into()))
}
