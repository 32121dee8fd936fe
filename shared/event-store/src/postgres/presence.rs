//! The presence of this process: a session on the server that holds an advisory lock for as long as the process lives.
//!
//! A commit in the outbox names the session of the process that appended it. So a relay leaves the young commits of a process that
//! lives to that process, and takes those of a dead one at once. Each session has a number of its own. After a broken session, the
//! commits that name it are everybody's: publishing one twice is harmless.

use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use runtime::postgres::within;
use sqlx::{Row, query};

use super::connections::Connections;
use super::failure::Failure;

/// How long the server may take to begin a session.
const BEGIN: Duration = Duration::from_secs(5);

/// How often the session is checked, and how long the server may take to answer. After a short hang of the server the session is
/// the same as before, so that others leave to this process what it has in hand.
const CHECK: Duration = Duration::from_secs(1);
const ANSWER: Duration = Duration::from_secs(20);

/// The wait before a new session is opened, after one was lost.
const AFTER_ERROR: Duration = Duration::from_secs(1);

/// Locks end with their session, in any way that a process or its machine may end. Those of other tables have another first number.
/// A shared lock waits for nobody, should two processes draw the same number.
const ENTER: &str =
    "SELECT pg_advisory_lock_shared(hashtext('{namespace}_outbox of ' || current_schema()), $1)";

const ALIVE: &str = "
    SELECT DISTINCT objid::int4 FROM pg_locks
    WHERE locktype = 'advisory' AND granted AND objsubid = 2
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND classid = hashtext('{namespace}_outbox of ' || current_schema())::oid";

/// The number that no session has.
const NONE: i32 = 0;

/// The number of this process's session.
#[derive(Default)]
pub(super) struct Presence {
    number: AtomicI32,
}

impl Presence {
    /// Returns the number of the session, if there is one.
    pub(super) fn number(&self) -> Option<i32> {
        Some(self.number.load(Ordering::Relaxed)).filter(|number| *number != NONE)
    }
}

/// Keeps a session until this future is dropped. It opens another one after each that is lost.
pub(super) async fn keep(connections: &Connections, presence: &Presence) {
    let mut problem = String::new();
    loop {
        let Err(error) = hold(connections, presence).await;
        presence.number.store(NONE, Ordering::Relaxed);
        // Each problem is logged once, however long it lasts.
        let now = crate::StoreError::from(error).to_string();
        if now != problem {
            tracing::warn!("others take this process for gone: {now}");
            problem = now;
        }
        tokio::time::sleep(AFTER_ERROR).await;
    }
}

/// Holds a session until it is lost.
async fn hold(connections: &Connections, presence: &Presence) -> Result<std::convert::Infallible, Failure> {
    let mut connection = connections.connect().await?;
    let number = rand::random_range(NONE + 1..i32::MAX);
    within(BEGIN, async {
        Ok::<_, Failure>(query(connections.sql(ENTER)).bind(number).execute(&mut connection).await?)
    })
    .await?;
    presence.number.store(number, Ordering::Relaxed);
    loop {
        tokio::time::sleep(CHECK).await;
        within(ANSWER, async { Ok::<_, Failure>(query("SELECT").execute(&mut connection).await?) }).await?;
    }
}

/// Returns the numbers of the sessions of all processes on these tables that live.
pub(super) async fn alive(connections: &Connections) -> Result<Vec<i32>, Failure> {
    let rows = connections.rows(|| query(connections.sql(ALIVE))).await?;
    Ok(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?)
}
