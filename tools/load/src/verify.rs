//! Reads the acknowledged orders back. An order that is not yet as expected is read again until the time is over. That is needed
//! because the view follows the event store, and because a system that was killed goes on where it was.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use domain::Status;
use http::StatusCode;
use parking_lot::Mutex;
use runtime::Backoff;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use crate::check::Expected;
use crate::client::{Answer, Client, HttpCall};

/// The delays between the reads of an order.
const DELAYS: Backoff = Backoff { first: Duration::from_millis(5), longest: Duration::from_millis(250) };

/// How many missed orders the result names.
const NAMED: usize = 20;

/// The result of reading the acknowledged orders back.
#[derive(Clone, Debug, Default, Serialize)]
pub struct VerifyReport {
    /// How many orders were acknowledged.
    pub orders: u64,
    /// How many of them are not as acknowledged.
    pub missed: u64,
    /// The number of the others, by status.
    pub found: BTreeMap<&'static str, u64>,
    /// The first missed orders.
    pub examples: Vec<Mismatch>,
}

/// An order that is not as it was acknowledged.
#[derive(Clone, Debug, Serialize)]
pub struct Mismatch {
    /// Its id.
    pub id: String,
    /// The version that was acknowledged.
    pub version: u64,
    /// The problem that was found instead.
    pub problem: String,
}

impl VerifyReport {
    /// Returns `true` if every order is as it was acknowledged.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.missed == 0
    }
}

impl fmt::Display for VerifyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} orders acknowledged, {} missed", self.orders, self.missed)?;
        for (status, count) in &self.found {
            write!(f, "\n{status}: {count}")?;
        }
        for Mismatch { id, version, problem } in &self.examples {
            write!(f, "\nmissed: {id} at version {version}: {problem}")?;
        }
        Ok(())
    }
}

/// The state that the clients of a verification share.
pub(crate) struct Verification {
    orders: Vec<(String, Expected)>,
    next: AtomicUsize,
    done: AtomicU64,
    deadline: Instant,
    found: Mutex<VerifyReport>,
}

impl Verification {
    pub(crate) fn new(expected: HashMap<String, Expected>, within: Duration) -> Self {
        let orders: Vec<_> = expected.into_iter().collect();
        let found = VerifyReport { orders: orders.len() as u64, ..VerifyReport::default() };
        Self {
            orders,
            next: AtomicUsize::new(0),
            done: AtomicU64::new(0),
            deadline: Instant::now() + within,
            found: Mutex::new(found),
        }
    }

    pub(crate) fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    fn take(&self) -> Option<&(String, Expected)> {
        self.orders.get(self.next.fetch_add(1, Ordering::Relaxed))
    }

    fn note(&self, id: &str, expected: Expected, outcome: Result<Status, String>) {
        self.done.fetch_add(1, Ordering::Relaxed);
        let mut found = self.found.lock();
        match outcome {
            Ok(status) => *found.found.entry(status.into()).or_default() += 1,
            Err(problem) => {
                found.missed += 1;
                if found.examples.len() < NAMED {
                    found.examples.push(Mismatch { id: id.to_owned(), version: expected.version, problem });
                }
            }
        }
    }
}

pub(crate) async fn run(
    verification: Arc<Verification>,
    clients: Vec<Client>,
) -> anyhow::Result<VerifyReport> {
    let mut readers = JoinSet::new();
    for mut client in clients {
        let verification = Arc::clone(&verification);
        readers.spawn(async move {
            while let Some((id, expected)) = verification.take() {
                let outcome = settled(&mut client, id, *expected, verification.deadline).await;
                verification.note(id, *expected, outcome);
            }
        });
    }
    while let Some(joined) = readers.join_next().await {
        joined.context("a client panicked")?;
    }
    Ok(verification.found.lock().clone())
}

/// Reads an order until it is as expected, and at least once. If the deadline comes first, it fails with the problem of the last
/// read.
async fn settled(
    client: &mut Client,
    id: &str,
    expected: Expected,
    deadline: Instant,
) -> Result<Status, String> {
    let get = HttpCall::get(format!("/{id}"));
    let mut tries = 0;
    loop {
        let problem = match client.call(&get).await {
            Ok(answer) => match judge(&answer, expected) {
                Ok(status) => return Ok(status),
                Err(problem) => problem,
            },
            Err(failure) => {
                client.next_replica();
                failure.to_string()
            }
        };
        tries += 1;
        let delay = DELAYS.after(tries);
        if Instant::now() + delay >= deadline {
            return Err(problem);
        }
        tokio::time::sleep(delay).await;
    }
}

#[derive(Deserialize)]
struct OrderBody {
    status: String,
    version: u64,
}

fn judge(answer: &Answer, expected: Expected) -> Result<Status, String> {
    if answer.status != StatusCode::OK {
        return Err(format!("GET answers {}", answer.status));
    }
    let no_order = |error: &dyn fmt::Display| format!("GET does not show an order: {error}");
    let shown: OrderBody = serde_json::from_slice(&answer.body).map_err(|error| no_order(&error))?;
    let status: Status = shown.status.parse().map_err(|error| no_order(&error))?;
    if shown.version < expected.version {
        return Err(format!("is at version {}", shown.version));
    }
    if expected.processed && matches!(status, Status::New | Status::Processing) {
        return Err(format!("is still {status}"));
    }
    Ok(status)
}
