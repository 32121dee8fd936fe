//! A load of mixed commands on few hot orders and many cold ones. Every command has an `Idempotency-Key` and is sent until it is
//! answered, whatever happens to the servers meanwhile. Every answer is noted.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;
use tokio::task::JoinSet;

use crate::checker::ledger::{Ledger, Said, Wanted};
use crate::http::{Answer, Call, Http};

/// The number of hot orders, which all clients use at the same time.
const HOT: usize = 6;

/// The number of commands after which another order replaces a hot one.
const HOT_FOR: u64 = 150;

/// The number of orders, and of answers, that are remembered for later commands.
const RECENT: usize = 400;

/// The time limit for a command's answer: the command may be in hand at every kill.
const PATIENCE: Duration = Duration::from_secs(120);

/// The pause between two tries, because servers that are down refuse at once.
const PAUSE: Duration = Duration::from_millis(5);

/// The clients of one system.
pub struct Clients {
    apis: Vec<Http>,
    ledger: Arc<Ledger>,
    next: AtomicU64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    hot: Vec<(String, u64)>,
    cold: VecDeque<String>,
    acknowledged: VecDeque<(String, Said)>,
}

/// Clients that are at work.
pub struct Load {
    over: Arc<AtomicBool>,
    clients: JoinSet<()>,
}

impl Load {
    /// Stops the clients, after each got the answer that it waits for.
    ///
    /// # Panics
    /// When a client has panicked.
    pub async fn stop(mut self) {
        self.over.store(true, Ordering::Relaxed);
        while let Some(client) = self.clients.join_next().await {
            client.expect("a client goes on to its end");
        }
    }
}

impl Clients {
    /// Returns clients of these servers, which share their stores.
    #[must_use]
    pub fn of(apis: Vec<Http>, ledger: Arc<Ledger>) -> Arc<Self> {
        Arc::new(Self { apis, ledger, next: AtomicU64::new(0), state: Mutex::default() })
    }

    /// Starts so many clients that send commands, and one that only reads.
    pub fn start(self: &Arc<Self>, clients: u64, seed: u64) -> Load {
        let over = Arc::new(AtomicBool::new(false));
        let mut load = JoinSet::new();
        for client in 0..clients {
            let (this, over) = (Arc::clone(self), Arc::clone(&over));
            let mut random = StdRng::seed_from_u64(seed.wrapping_mul(1_000).wrapping_add(client));
            load.spawn(async move {
                while !over.load(Ordering::Relaxed) {
                    this.one_command(&mut random).await;
                }
            });
        }
        load.spawn(Arc::clone(self).look(Arc::clone(&over)));
        Load { over, clients: load }
    }

    /// Sends a command under a key of its own until it is answered, and notes the answer.
    pub async fn command(&self, order: &str, wanted: Wanted) -> Said {
        let key = self.fresh("k");
        let said = self.send(order, &wanted, &key).await;
        self.ledger.note(order, said.clone());
        said
    }

    async fn one_command(&self, random: &mut StdRng) {
        match random.random_range(0..100) {
            0..40 => self.create(random).await,
            40..65 => self.on_a_cold_order(random).await,
            65..85 => self.on_a_hot_order(random).await,
            85..95 => self.repeat(random).await,
            _ => self.twice_at_once(random).await,
        }
    }

    async fn create(&self, random: &mut StdRng) {
        let order = self.fresh("cold-");
        let said = self.done(&order, Wanted::Create { name: name(random) }).await;
        if said.is_done() {
            remember(&mut self.state().cold, order);
        }
    }

    async fn on_a_cold_order(&self, random: &mut StdRng) {
        let Some(order) = pick(&self.state().cold, random).cloned() else { return };
        let wanted = wanted(random, 30);
        self.done(&order, wanted).await;
    }

    async fn on_a_hot_order(&self, random: &mut StdRng) {
        let place = random.random_range(0..HOT);
        let hot = {
            let mut state = self.state();
            match state.hot.get_mut(place) {
                Some((order, commands)) if *commands < HOT_FOR => {
                    *commands += 1;
                    Some(order.clone())
                }
                _ => None,
            }
        };
        let Some(order) = hot else {
            let order = self.fresh("hot-");
            if self.done(&order, Wanted::Create { name: name(random) }).await.is_done() {
                let mut state = self.state();
                if place < state.hot.len() {
                    state.hot[place] = (order, 0)
                } else {
                    state.hot.push((order, 0))
                }
            }
            return;
        };
        let wanted = wanted(random, 2);
        self.done(&order, wanted).await;
    }

    /// Repeats a command that was acknowledged some time ago.
    async fn repeat(&self, random: &mut StdRng) {
        let Some((order, first)) = pick(&self.state().acknowledged, random).cloned() else { return };
        let again = self.send(&order, &first.wanted, &first.key).await;
        self.ledger.note_again(&order, &first, &again);
    }

    /// Sends the same command in two requests at the same time.
    async fn twice_at_once(&self, random: &mut StdRng) {
        let Some(order) = pick(&self.state().cold, random).cloned() else { return };
        let (wanted, key) = (wanted(random, 30), self.fresh("k"));
        let (one, other) = tokio::join!(self.send(&order, &wanted, &key), self.send(&order, &wanted, &key));
        // One may have been refused before the other was accepted, because refusals are not stored.
        let first = if one.is_done() { &one } else { &other };
        self.ledger.note(&order, first.clone());
        if one.is_done() && other.is_done() {
            self.ledger.note_again(&order, &one, &other);
        }
    }

    async fn done(&self, order: &str, wanted: Wanted) -> Said {
        let said = self.command(order, wanted).await;
        if said.is_done() {
            remember(&mut self.state().acknowledged, (order.to_owned(), said.clone()));
        }
        said
    }

    async fn send(&self, order: &str, wanted: &Wanted, key: &str) -> Said {
        let began = Instant::now();
        let answer = loop {
            match self.call(order, wanted).key(key).attempt().await {
                Ok(answer) if !matches!(answer.status, 429 | 503) => break answer,
                _ => assert!(began.elapsed() < PATIENCE, "{wanted:?} of {order} was not answered"),
            }
            tokio::time::sleep(PAUSE).await;
        };
        let (version, body) = read(&answer);
        Said { key: key.to_owned(), wanted: wanted.clone(), status: answer.status, version, body }
    }

    fn call(&self, order: &str, wanted: &Wanted) -> Call {
        let api = self.any_api();
        let path = format!("/{order}");
        match wanted {
            Wanted::Create { name } => api.post("/").json(&json!({"id": order, "name": name})),
            Wanted::Process => api.post(&path),
            Wanted::Cancel { reason } => api.delete(&path).json(&json!({"reason": reason})),
        }
    }

    /// Reads hot orders again and again. None may go back in version or disappear.
    async fn look(self: Arc<Self>, over: Arc<AtomicBool>) {
        let mut seen: BTreeMap<String, u64> = BTreeMap::new();
        while !over.load(Ordering::Relaxed) {
            let hot: Vec<String> = self.state().hot.iter().map(|(order, _)| order.clone()).collect();
            for order in hot {
                let Ok(answer) = self.any_api().get(&format!("/{order}")).attempt().await else { continue };
                let (version, body) = read(&answer);
                let before = seen.get(&order).copied().unwrap_or_default();
                let is_well = match answer.status {
                    200 => version >= before,
                    404 => before == 0,
                    status => status == 503,
                };
                if !is_well {
                    let status = answer.status;
                    self.ledger
                        .note_wrong(format!("{order} was seen at {before}, and then: {status} {body}"));
                }
                seen.insert(order, version.max(before));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn any_api(&self) -> &Http {
        &self.apis[rand::random_range(0..self.apis.len())]
    }

    fn fresh(&self, what: &str) -> String {
        format!("{what}{}", self.next.fetch_add(1, Ordering::Relaxed))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

fn read(answer: &Answer) -> (u64, serde_json::Value) {
    let version = answer.header("etag").trim_matches('"').parse().unwrap_or_default();
    (version, serde_json::from_slice(&answer.body).unwrap_or_default())
}

/// Returns a `Cancel` in `cancels` of 100 cases, else a `Process`.
fn wanted(random: &mut StdRng, cancels: u32) -> Wanted {
    if random.random_range(0..100) < cancels {
        Wanted::Cancel { reason: format!("reason {}", random.random_range(0..10)) }
    } else {
        Wanted::Process
    }
}

fn name(random: &mut StdRng) -> String {
    format!("lamp {} “é”", random.random_range(0..1000))
}

fn pick<'a, T>(recent: &'a VecDeque<T>, random: &mut StdRng) -> Option<&'a T> {
    if recent.is_empty() { None } else { recent.get(random.random_range(0..recent.len())) }
}

fn remember<T>(recent: &mut VecDeque<T>, new: T) {
    if recent.len() == RECENT {
        recent.pop_front();
    }
    recent.push_back(new);
}
