//! A fulfilment service: HTTP on a port of its own, in the test's process. It honours `Idempotency-Key`: what it said once under
//! a key, it says again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::RETRY_AFTER;
use http::{HeaderMap, StatusCode};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::poll::until;

/// What the service says to a call.
#[derive(Clone, Debug)]
pub enum Reply {
    /// The order is fulfilled.
    Fulfilled,
    /// It never will be: this status, with this body.
    Refused(u16, String),
    /// Not now: this status.
    NotNow(u16),
    /// Not now: 503, and how many seconds to leave it in peace.
    Later(u64),
    /// Nothing at all, for as long as the caller waits.
    Silence,
}

/// A call that came in.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The `Idempotency-Key`.
    pub key: String,
    /// The `traceparent`; empty where there was none.
    pub traceparent: String,
    /// `{"order","name","version"}`.
    pub body: Value,
    /// How many calls there were under this key, this one included.
    pub times: usize,
    /// When the call came.
    pub at: Instant,
}

/// A rule: one order in five is refused at first, hot ones (see [`crate::clients`]) mostly, so that they can be asked for again.
#[must_use]
pub fn refuse_some(asked: &Asked) -> Reply {
    let version = asked.body["version"].as_u64().unwrap_or_default();
    let hot = asked.key.starts_with("hot-");
    let sum: u64 = asked.key.bytes().map(u64::from).sum();
    let refused = if hot { !sum.is_multiple_of(20) } else { version == 2 && sum.is_multiple_of(5) };
    if refused { Reply::Refused(422, format!("no lamps for {}", asked.key)) } else { Reply::Fulfilled }
}

/// The service; it stops when it is dropped.
#[derive(Debug)]
pub struct Service {
    url: String,
    state: Arc<Mutex<Vec<Asked>>>,
    decided: Arc<Mutex<HashMap<String, Effect>>>,
    server: JoinHandle<()>,
}

/// What the service has done under a key, however often it was asked.
#[derive(Clone, Debug)]
pub struct Effect {
    /// The key.
    pub key: String,
    /// `{"order","name","version"}`.
    pub body: Value,
    /// What it said.
    pub reply: Reply,
}

type Rule = Arc<dyn Fn(&Asked) -> Reply + Send + Sync>;

#[derive(Clone)]
struct Shared {
    asked: Arc<Mutex<Vec<Asked>>>,
    decided: Arc<Mutex<HashMap<String, Effect>>>,
    times: Arc<Mutex<HashMap<String, usize>>>,
    rule: Rule,
}

impl Service {
    /// Starts a service that answers by this rule.
    ///
    /// # Panics
    /// When there is no port.
    pub async fn start(rule: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/fulfil", listener.local_addr().expect("an address"));
        let state = Arc::new(Mutex::new(vec![]));
        let decided = Arc::default();
        let shared = Shared {
            asked: Arc::clone(&state),
            decided: Arc::clone(&decided),
            times: Arc::default(),
            rule: Arc::new(rule),
        };
        let router = Router::new().fallback(answer).with_state(shared);
        let server = tokio::spawn(async move { axum::serve(listener, router).await.expect("it serves") });
        Self { url, state, decided, server }
    }

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Every call so far.
    ///
    /// # Panics
    /// When the rule has panicked.
    #[must_use]
    pub fn asked(&self) -> Vec<Asked> {
        self.state.lock().expect("the rule did not panic").clone()
    }

    /// How many calls there were.
    ///
    /// # Panics
    /// When the rule has panicked.
    #[must_use]
    pub fn calls(&self) -> usize {
        self.state.lock().expect("the rule did not panic").len()
    }

    /// Everything that was done, once for each key.
    ///
    /// # Panics
    /// When the rule has panicked.
    #[must_use]
    pub fn effects(&self) -> Vec<Effect> {
        self.decided.lock().expect("the rule did not panic").values().cloned().collect()
    }

    /// The calls so far about this order.
    #[must_use]
    pub fn asked_about(&self, order: &str) -> Vec<Asked> {
        self.asked().into_iter().filter(|asked| asked.body["order"] == order).collect()
    }

    /// Waits for the first call.
    pub async fn until_asked(&self) -> Asked {
        until("the service to be asked", async || self.asked().first().cloned()).await
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn answer(State(shared): State<Shared>, headers: HeaderMap, body: Bytes) -> Response {
    let reply = shared.take(&headers, &body);
    let (status, text) = match reply {
        Reply::Fulfilled => (200, "{}".to_owned()),
        Reply::Refused(status, text) => (status, text),
        Reply::NotNow(status) => (status, String::new()),
        Reply::Later(seconds) => {
            return (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, seconds.to_string())]).into_response();
        }
        Reply::Silence => std::future::pending().await,
    };
    (StatusCode::from_u16(status).expect("a status"), text).into_response()
}

impl Shared {
    fn take(&self, headers: &HeaderMap, body: &[u8]) -> Reply {
        let header = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let (key, traceparent) = (header("idempotency-key").to_owned(), header("traceparent").to_owned());
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let times = {
            let mut times = self.times.lock().expect("the rule did not panic");
            let times = times.entry(key.clone()).or_default();
            *times += 1;
            *times
        };
        let asked = Asked { key: key.clone(), traceparent, body: body.clone(), times, at: Instant::now() };
        self.asked.lock().expect("the rule did not panic").push(asked.clone());
        let mut decided = self.decided.lock().expect("the rule did not panic");
        if let Some(effect) = decided.get(&key) {
            return effect.reply.clone();
        }
        let reply = (self.rule)(&asked);
        if matches!(reply, Reply::Fulfilled | Reply::Refused(..)) {
            decided.insert(key.clone(), Effect { key, body, reply: reply.clone() });
        }
        reply
    }
}
