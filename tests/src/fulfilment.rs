//! A fulfilment service: HTTP on a port of its own, in the test's process. It honours `Idempotency-Key`: a key that was fulfilled
//! or refused once gets the same reply again.

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

/// The service's reply to a call.
#[derive(Clone, Debug)]
pub enum Reply {
    /// The order is fulfilled.
    Fulfilled,
    /// The order will never be fulfilled: this status, with this body.
    Refused(u16, String),
    /// Not now: this status.
    NotNow(u16),
    /// Not now: 503, and a `Retry-After` of so many seconds.
    Later(u64),
    /// No reply, for as long as the caller waits.
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
    /// The number of calls under this key, this one included.
    pub times: usize,
    /// The time of the call.
    pub at: Instant,
}

/// A rule for replies. It refuses one order in five at its first start, and most starts of hot orders (see [`crate::clients`]).
/// So these orders can be started again.
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

/// The service's effect under a key, however many calls there were.
#[derive(Clone, Debug)]
pub struct Effect {
    /// The key.
    pub key: String,
    /// `{"order","name","version"}`.
    pub body: Value,
    /// The reply.
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

    /// The service's URL.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns every call so far.
    ///
    /// # Panics
    /// When the rule has panicked.
    #[must_use]
    pub fn asked(&self) -> Vec<Asked> {
        self.state.lock().expect("the rule did not panic").clone()
    }

    /// Returns the number of calls.
    ///
    /// # Panics
    /// When the rule has panicked.
    #[must_use]
    pub fn calls(&self) -> usize {
        self.state.lock().expect("the rule did not panic").len()
    }

    /// Returns all effects, one for each key.
    ///
    /// # Panics
    /// When the rule has panicked.
    #[must_use]
    pub fn effects(&self) -> Vec<Effect> {
        self.decided.lock().expect("the rule did not panic").values().cloned().collect()
    }

    /// Returns the calls so far about this order.
    #[must_use]
    pub fn asked_about(&self, order: &str) -> Vec<Asked> {
        self.asked().into_iter().filter(|asked| asked.body["order"] == order).collect()
    }

    /// Waits for the first call, and returns it.
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
