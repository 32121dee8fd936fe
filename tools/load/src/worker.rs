//! One client of a load. It makes the calls for each order that it takes, and repeats them until they are answered or given up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, StatusCode};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use runtime::Backoff;

use crate::call::{Call, Kind};
use crate::check::{Acknowledgement, CheckFile};
use crate::client::{Answer, Client, HttpCall};
use crate::plan::Plan;
use crate::report::Tally;
use crate::schedule::Schedule;
use crate::stop::{Ending, Stop};

/// The state that the clients of a load share.
pub(crate) struct Load {
    pub(crate) plan: Plan,
    pub(crate) schedule: Schedule,
    pub(crate) check: Option<CheckFile>,
    pub(crate) stop: Stop,
    /// Calls that have ended, for the progress bar.
    pub(crate) answered: AtomicU64,
}

pub(crate) struct Worker {
    client: Client,
    load: Arc<Load>,
    tally: Tally,
    random: SmallRng,
}

/// The reason why a call got no final answer.
enum NoAnswer {
    /// The last try got no answer.
    Gone(String),
    /// The last answer still had a status that means "later". `says_when` is true if it had a `Retry-After`.
    Overloaded { status: StatusCode, says_when: bool },
    /// The load was stopped.
    Stopped,
}

impl Worker {
    /// Creates a client. Its `number` makes its delays differ from those of the load's other clients.
    pub(crate) fn new(number: u64, client: Client, load: Arc<Load>) -> anyhow::Result<Self> {
        let tally = Tally::new(load.plan.kinds())?;
        let random = SmallRng::seed_from_u64(load.plan.seed.wrapping_add(number));
        Ok(Self { client, load, tally, random })
    }

    /// Takes orders until there are none, or the load is stopped.
    pub(crate) async fn run(mut self) -> Tally {
        let load = Arc::clone(&self.load);
        while !load.stop.is_over() {
            let slot = tokio::select! {
                // The branches are polled in this order, so that an order that is there is taken without a wait.
                biased;
                slot = load.schedule.next() => slot,
                () = load.stop.stopped() => None,
            };
            let Some(slot) = slot else { break };
            self.order(slot.number, slot.due).await;
        }
        self.tally
    }

    /// Makes the calls for an order. The latency of the first call counts from when the order was due. The latency of each other
    /// call counts from the answer before, or from the end of the watch after it.
    async fn order(&mut self, number: u64, due: Instant) {
        let load = Arc::clone(&self.load);
        let id = format!("{}-{number}", load.plan.prefix);
        let watched = load.plan.queryable_every.is_some_and(|every| number.is_multiple_of(every));
        let mut version = None;
        let mut since = due;
        for call in &load.plan.calls {
            let http = http_call(*call, &id, version);
            let sent = since;
            let Some(answer) = self.measured(*call, &http, sent).await else { return };
            since = Instant::now();
            let Some(answered) = answer.version else { continue };
            version = Some(answered);
            if let Some(key) = &http.key {
                self.log(&Acknowledgement::new(*call, &id, answered, key));
                if watched {
                    self.watch(&id, answered, sent).await;
                    since = Instant::now();
                }
            }
        }
    }

    /// Makes a call, repeats it as needed, and counts its outcome. Returns `None` if the order's other calls make no sense.
    async fn measured(&mut self, call: Call, http: &HttpCall, since: Instant) -> Option<Answer> {
        let outcome = self.insist(http).await;
        self.load.answered.fetch_add(1, Ordering::Relaxed);
        match outcome {
            Ok(answer) if answer.status.is_success() && (http.key.is_none() || answer.version.is_some()) => {
                if let Some(kind) = call.kind() {
                    self.tally.answered(kind, since.elapsed());
                }
                return Some(answer);
            }
            Ok(answer) if answer.status.is_success() => self.tally.failed(call, "no version in the ETag", ""),
            Ok(answer) => {
                self.tally.failed(call, answer.status.as_str(), &String::from_utf8_lossy(&answer.body));
            }
            Err(lost @ NoAnswer::Overloaded { .. }) => self.tally.failed(call, &lost.to_string(), "given up"),
            Err(NoAnswer::Stopped) => self.tally.failed(call, "interrupted", ""),
            Err(NoAnswer::Gone(failure)) => {
                self.tally.failed(call, "no answer", &failure);
                self.load.stop.now(Ending::ServerGone);
            }
        }
        None
    }

    /// Makes a call and repeats it, under the same key, until it is answered or given up. The first repeat after a broken
    /// connection has no delay: the server may only have closed the connection while it was idle.
    async fn insist(&mut self, http: &HttpCall) -> Result<Answer, NoAnswer> {
        let give_up = Instant::now() + self.load.plan.patience;
        for repeated in 0.. {
            let (lost, delay) = match self.client.call(http).await {
                Ok(answer) if !is_for_later(answer.status) => return Ok(answer),
                Ok(answer) => {
                    let (status, asked) = (answer.status, answer.retry_after);
                    let delay =
                        self.delay(repeated + 1).max(asked.unwrap_or_default().min(LONGEST_ASKED_DELAY));
                    (NoAnswer::Overloaded { status, says_when: asked.is_some() }, delay)
                }
                Err(failure) => (NoAnswer::Gone(failure.to_string()), self.delay(repeated)),
            };
            if repeated >= self.load.plan.repeats || Instant::now() + delay >= give_up {
                return Err(lost);
            }
            self.tally.repeated(&lost.to_string());
            self.client.next_replica();
            self.load.stop.sleep(delay).await.map_err(|_| NoAnswer::Stopped)?;
        }
        Err(NoAnswer::Stopped)
    }

    /// The delay before a repeat. In the first round over the replicas it is zero. After that it doubles from 50 ms to 1 s, and
    /// is shortened at random, so that the clients don't all come back at once.
    fn delay(&mut self, repeated: u32) -> Duration {
        DELAYS.with_jitter(repeated / self.client.replicas(), self.random.random())
    }

    fn log(&self, acknowledged: &Acknowledgement<'_>) {
        if let Some(check) = &self.load.check
            && check.append(acknowledged).is_err()
        {
            // The check file keeps the error. The load makes no sense without the file, so it ends.
            self.load.stop.now(Ending::Interrupted);
        }
    }

    /// Reads the order until a read shows at least the acknowledged version. The first reads have no pause between them. Later
    /// each pause is an eighth of the time that has passed. So the measured time is exact to an eighth, and the reads are no load
    /// of their own.
    async fn watch(&mut self, id: &str, version: u64, sent: Instant) {
        let get = HttpCall::get(format!("/{id}"));
        while sent.elapsed() < self.load.plan.queryable_within && !self.load.stop.is_over() {
            if let Ok(answer) = self.client.call(&get).await
                && answer.version >= Some(version)
            {
                return self.tally.answered(Kind::Queryable, sent.elapsed());
            }
            let pause = sent.elapsed() / 8;
            if pause >= SHORTEST_PAUSE && self.load.stop.sleep(pause).await.is_err() {
                break;
            }
        }
        self.tally.failed(Call::Get, "not queryable in time", id);
    }
}

/// The shortest pause between two reads, because the timer counts in milliseconds. Shorter pauses are left out.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);

const DELAYS: Backoff = Backoff { first: Duration::from_millis(50), longest: Duration::from_secs(1) };
const LONGEST_ASKED_DELAY: Duration = Duration::from_secs(5);

impl std::fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Gone(_) => f.write_str("no answer"),
            Self::Overloaded { status, says_when: true } => f.write_str(status.as_str()),
            Self::Overloaded { status, says_when: false } => {
                write!(f, "{} without Retry-After", status.as_str())
            }
            Self::Stopped => f.write_str("interrupted"),
        }
    }
}

fn is_for_later(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 429 | 502 | 503 | 504)
}

/// The HTTP call. `version` is the last version of this order that an answer had.
fn http_call(call: Call, id: &str, version: Option<u64>) -> HttpCall {
    match call {
        Call::Create => HttpCall {
            method: Method::POST,
            path: "/".into(),
            key: Some(format!("{id}:create")),
            body: Bytes::from(format!(r#"{{"id":"{id}","name":"{id}","status":"new"}}"#)),
        },
        Call::Process => HttpCall {
            method: Method::POST,
            path: format!("/{id}"),
            key: Some(format!("{id}:process")),
            body: Bytes::new(),
        },
        Call::Get | Call::All => HttpCall::get(match version {
            Some(version) => format!("/{id}?min_version={version}"),
            None => format!("/{id}"),
        }),
    }
}
