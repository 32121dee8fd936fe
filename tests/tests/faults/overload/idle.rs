//! 10,000 connections on which nothing happens, and commands beside them.

use std::time::Duration;

use serde_json::{Value, json};
use tests::poll::{until, until_within};
use tests::raw::{connections, may_have};
use tests::report;
use tests::system::System;
use tokio::net::TcpStream;

use super::until_timed_out;

const CONNECTIONS: usize = 10_000;

/// The largest number of rounds that measure the latency, without the connections and beside them. The first round may be enough.
/// It is very unlikely that a machine is busy with something else in one half of every round.
const ROUNDS: usize = 8;

/// The time limit until they are closed: a connection may be idle for 30 s, and the machine may be busy.
const CLOSED_WITHIN: Duration = Duration::from_secs(90);

/// The factor by which the latency of commands may grow beside them. Each run of a load is short, so that even equal runs differ.
const USUAL: f64 = 2.0;

#[tokio::test]
async fn commands_have_their_usual_latency_beside_10_000_idle_connections() {
    if !may_have(CONNECTIONS as u64) {
        report::not_run(&format!(
            "{CONNECTIONS} idle connections; this process may not open so many (ulimit -Hn)"
        ));
        return;
    }
    let mut system = System::start().await;
    // The first load is not measured, because some work is slow only once.
    load(&system).await;
    let memory_before = system.server().memory();
    let few = system.server().open_files() + 100;
    let (mut before, mut beside) = (Best::of_none(), Best::of_none());
    let mut rounds = 0;
    let (idle, memory) = loop {
        rounds += 1;
        before.take(load(&system).await);
        let idle = connections(system.api().address(), CONNECTIONS).await;
        let report = load(&system).await;
        let memory = system.server().memory();
        // On a very slow machine they may be closed by now. Then the load did not run beside them.
        if !idle.iter().any(is_closed) {
            beside.take(report);
        }
        if beside.median <= before.median * USUAL {
            break (idle, memory);
        }
        assert!(rounds < ROUNDS, "before {}, beside {}", before.latency(), beside.latency());
        drop(idle);
        until("the server to be rid of them", async || (system.server().open_files() < few).then_some(()))
            .await;
    };

    // They are closed in the end, and each of them is counted.
    let closed = async || idle.iter().all(is_closed).then_some(());
    until_within(CLOSED_WITHIN, "idle connections to be closed", closed).await;
    until_timed_out(&system, CONNECTIONS).await;
    let figures = json!({
        "connections": CONNECTIONS,
        "commands": beside.report["answered"],
        "rounds": rounds,
        "before_ms": before.latency(),
        "beside_ms": beside.latency(),
        "memory_kb_each": memory.saturating_sub(memory_before) as f64 / CONNECTIONS as f64,
    });
    report::note("idle connections", system.stores().name(), &figures);
}

/// The load with the lowest median latency so far.
struct Best {
    /// In milliseconds; infinite when there was no load.
    median: f64,
    report: Value,
}

impl Best {
    const fn of_none() -> Self {
        Self { median: f64::INFINITY, report: Value::Null }
    }

    fn take(&mut self, report: Value) {
        let median = report["calls"]["create"]["latency_ms"]["p50"].as_f64().expect("a median");
        if median < self.median {
            *self = Self { median, report };
        }
    }

    fn latency(&self) -> &Value {
        &self.report["calls"]["create"]["latency_ms"]
    }
}

async fn load(system: &System) -> Value {
    let words =
        ["--clients", "8", "--rate", "50", "--orders", "150", "--only", "create", "--retries", "0", "--json"];
    system.load(&words).run().await.with_code(0).json()
}

fn is_closed(stream: &TcpStream) -> bool {
    matches!(stream.try_read(&mut [0]), Ok(0)) || stream.take_error().unwrap().is_some()
}
