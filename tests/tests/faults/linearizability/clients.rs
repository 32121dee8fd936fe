//! Clients that call one order at the same time, and the history of their calls.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::future::join_all;
use http::Method;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use tests::http::Http;
use tokio::sync::Barrier;

use super::checker::{Call, linearize};
use super::model::{Answer, Asked, IfMatch, OneOrder, Operation, Shown, What, told};

/// A call with the client that made it.
#[derive(Clone, Debug)]
pub(super) struct Made {
    client: usize,
    call: Call<Operation, Answer>,
}

/// A logical clock, which puts the beginnings and ends of calls in order.
#[derive(Clone, Debug, Default)]
pub(super) struct Clock(Arc<AtomicU64>);

impl Clock {
    fn tick(&self) -> u64 {
        self.0.fetch_add(1, Ordering::SeqCst)
    }

    /// Returns how many beginnings and ends of calls there were.
    pub(super) fn passed(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// The calls of one order's clients so far. The seed decides what they ask, but not when.
pub(super) struct History {
    seed: u64,
    order: String,
    clock: Clock,
    calls: Vec<Made>,
}

impl History {
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, order: format!("seed-{seed}"), clock: Clock::default(), calls: vec![] }
    }

    /// Lets so many clients work at the same time, each with so many calls one after the other. Each call goes to any of the
    /// servers. A client that gets no answer stops.
    pub(super) async fn go_on(&mut self, servers: &[Http], clients: usize, calls: usize) {
        let barrier = Arc::new(Barrier::new(clients));
        let so_far = self.calls.len();
        let clients = (0..clients).map(|client| {
            // These clients are new, with new seeds, because calls of earlier clients may be unanswered and still take effect.
            let seed = self.seed << 16 | ((so_far + client) as u64) << 8;
            let client = Client {
                number: so_far + client,
                random: StdRng::seed_from_u64(seed),
                order: self.order.clone(),
                servers: servers.to_vec(),
                clock: self.clock.clone(),
            };
            tokio::spawn(client.make(calls, Arc::clone(&barrier)))
        });
        for made in join_all(clients).await {
            self.calls.extend(made.expect("a client does not panic"));
        }
    }

    pub(super) fn seed(&self) -> u64 {
        self.seed
    }

    pub(super) fn clock(&self) -> Clock {
        self.clock.clone()
    }

    pub(super) fn calls(&self) -> usize {
        self.calls.len()
    }

    pub(super) fn unanswered(&self) -> usize {
        self.calls.iter().filter(|made| made.call.answered.is_none()).count()
    }

    /// Returns how many calls overlapped with another call.
    pub(super) fn concurrent(&self) -> usize {
        let end = |made: &Made| made.call.answered.as_ref().map_or(u64::MAX, |(ended, _)| *ended);
        let with_others = |one: &&Made| {
            let together = |other: &&Made| other.call.began < end(one) && one.call.began < end(other);
            self.calls.iter().filter(together).count() > 1
        };
        self.calls.iter().filter(with_others).count()
    }

    /// Checks that one order of the calls explains the answers.
    ///
    /// # Panics
    /// With the whole history, when they can't.
    pub(super) fn expect_linearizable(&self, model: &OneOrder) {
        let calls: Vec<_> = self.calls.iter().map(|made| made.call.clone()).collect();
        assert!(linearize(model, &calls).is_some(), "not linearizable, seed {}:\n{}", self.seed, self.told());
    }

    fn told(&self) -> String {
        let mut calls = self.calls.clone();
        calls.sort_by_key(|made| made.call.began);
        let mut text = String::new();
        for Made { client, call: Call { operation, began, answered } } in calls {
            let (ended, answer) = match answered {
                Some((ended, answer)) => (ended.to_string(), answer.to_string()),
                None => ("…".to_owned(), "no answer".to_owned()),
            };
            writeln!(text, "{began:>4} to {ended:>4}  client {client}: {operation} → {answer}")
                .expect("memory");
        }
        text
    }
}

struct Client {
    number: usize,
    random: StdRng,
    order: String,
    servers: Vec<Http>,
    clock: Clock,
}

impl Client {
    async fn make(mut self, calls: usize, begin: Arc<Barrier>) -> Vec<Made> {
        let mut made = vec![];
        begin.wait().await;
        for call in 0..calls {
            let operation = self.operation(call == 0);
            let server = self.random.random_range(0..self.servers.len());
            let began = self.clock.tick();
            let answer = self.ask(&self.servers[server], &operation).await;
            let answered = answer.map(|answer| (self.clock.tick(), answer));
            let silent = answered.is_none();
            made.push(Made { client: self.number, call: Call { operation, began, answered } });
            if silent {
                break;
            }
        }
        made
    }

    /// Returns the next operation. Many clients begin with a create, because other calls can do little without an order.
    fn operation(&mut self, first: bool) -> Operation {
        let random = &mut self.random;
        let what = match random.random_range(0..if first { 5 } else { 10 }) {
            0..3 => What::Create(["a lamp", "a chair"][usize::from(random.random_bool(0.2))].to_owned()),
            3..6 => What::Process,
            6..8 => What::Cancel(["too late", "too dear"][usize::from(random.random_bool(0.3))].to_owned()),
            _ => return Operation::Events,
        };
        // There are few keys, so that they are used again: for the same command, and for others.
        let key = random.random_bool(0.5).then(|| format!("key-{}", random.random_range(0..4)));
        let if_match = random.random_bool(0.3).then(|| match random.random_range(0..6) {
            5 => IfMatch::Any,
            version => IfMatch::Version(version),
        });
        Operation::Command(Asked { what, key, if_match })
    }

    /// Makes the call. Returns `None` when it is not known whether the command took place.
    async fn ask(&self, server: &Http, operation: &Operation) -> Option<Answer> {
        let path = format!("/{}", self.order);
        let Operation::Command(Asked { what, key, if_match }) = operation else {
            let answer = server.get(&format!("{path}/events")).attempt().await.ok()?;
            return (answer.status != 503).then(|| events(&answer));
        };
        let mut call = match what {
            What::Create(name) => server.post("/").json(&json!({"id": self.order, "name": name})),
            What::Process => server.post(&path),
            What::Cancel(reason) => server.call(Method::DELETE, &path).json(&json!({"reason": reason})),
        };
        if let Some(key) = key {
            call = call.key(key);
        }
        if let Some(if_match) = if_match {
            let text = match if_match {
                IfMatch::Any => "*".to_owned(),
                IfMatch::Version(version) => format!("\"{version}\""),
            };
            call = call.header("if-match", &text);
        }
        let answer = call.attempt().await.ok()?;
        (answer.status != 503).then(|| order(&answer))
    }
}

fn order(answer: &tests::http::Answer) -> Answer {
    let body = answer.json();
    if answer.status >= 400 {
        return problem(answer.status, &body);
    }
    let text = |name: &str| body[name].as_str().expect("a text").to_owned();
    let version = answer.version() as usize;
    assert_eq!(body["version"], version, "{body}");
    let reason = body["reason"].as_str().map(str::to_owned);
    Answer::Order(answer.status, Shown { version, status: text("status"), name: text("name"), reason })
}

fn events(answer: &tests::http::Answer) -> Answer {
    let body = answer.json();
    if answer.status >= 400 {
        return problem(answer.status, &body);
    }
    let events = body.as_array().expect("a list").iter();
    Answer::Events(
        events.map(|event| told(event["type"].as_str().expect("a type"), &event["data"])).collect(),
    )
}

fn problem(status: u16, body: &Value) -> Answer {
    let kind = body["type"].as_str().and_then(|kind| kind.strip_prefix("urn:problem:"));
    Answer::Problem(status, kind.expect("a problem").to_owned())
}
