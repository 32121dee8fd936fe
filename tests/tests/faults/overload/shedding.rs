//! Far more clients call than may be in hand. The others are told to come again, and the overload is over when they are gone.
//!
//! Taken commands keep their latency. All those callers need the machine too, so the test asserts only relations that do not
//! depend on it. A taken command waits behind no more commands than may be in hand. And it is answered sooner than when just as
//! many clients call and all are taken.

use serde_json::json;
use tests::load::{acknowledged, expect_nothing_lost};
use tests::poll::until;
use tests::process::Finished;
use tests::report;
use tests::stores::Stores;
use tests::system::System;

/// The number of commands that may be in hand. 32 times as many clients call.
const MOST: &str = "16";
const IN_HAND: f64 = 16.0;
const TOO_MANY: &str = "512";

/// A limit above the number of callers.
const ALL: &str = "10000";

/// The number of waves of too many clients.
const WAVES: usize = 3;
/// The largest number of waves: something else may keep the machine from its work during some.
const MOST_WAVES: usize = 10;

/// The memory, in KiB, by which the server may grow from the first wave to the last.
const FLAT: u64 = 64 * 1024;

/// The results of waves of too many clients.
#[derive(Default)]
struct Waves {
    shed: u64,
    seconds: f64,
    /// The mean latency of taken commands, in seconds, by wave.
    taken: Vec<f64>,
    /// The same when just as many clients call and all are taken.
    all_taken: Vec<f64>,
    memory: Vec<u64>,
}

impl Waves {
    async fn one_more(&mut self, system: &mut System, check: &str) {
        let before = sum_and_count(system).await;
        let words = ["--clients", TOO_MANY, "--orders", "8000", "--check", check];
        let report = wave(system, &words).await.json();
        // No other errors occur.
        let errors = report["errors"].as_object().unwrap();
        assert_eq!(errors.keys().collect::<Vec<_>>(), ["create 503"], "{report}");
        self.shed += report["errors"]["create 503"].as_u64().unwrap();
        self.seconds += report["seconds"].as_f64().unwrap();
        self.taken.push(mean_latency(system, before).await);
        self.memory.push(system.server().memory());
        // The next command is answered at once: nothing has queued up.
        let after = system.post("/").json(&json!({"name": "after"})).await;
        assert_eq!(after.status, 201, "{}", after.text());
    }

    async fn one_of_all(&mut self, system: &System) {
        let before = sum_and_count(system).await;
        wave(system, &["--clients", TOO_MANY, "--orders", "2000"]).await.with_code(0);
        self.all_taken.push(mean_latency(system, before).await);
    }

    /// Returns the best mean of either kind, because something else may have disturbed a wave.
    fn best(&self) -> [f64; 2] {
        [&self.taken, &self.all_taken].map(|means| means.iter().copied().fold(f64::INFINITY, f64::min))
    }

    fn keep_their_latency(&self) -> bool {
        let [taken, all_taken] = self.best();
        taken < all_taken
    }
}

#[tokio::test]
async fn beyond_capacity_commands_are_shed_and_those_that_are_taken_keep_their_latency() {
    let takes_all = System::start_with(&["--max-in-flight", ALL]).await;
    let mut system = System::start_with(&["--max-in-flight", MOST]).await;
    let check = system.path("acknowledged");
    let file = check.to_str().unwrap().to_owned();
    wave(&system, &["--clients", MOST, "--orders", "2000", "--check", &file]).await.with_code(0);
    let usual = mean_latency(&system, [0.0, 0.0]).await;

    let before = sum_and_count(&system).await;
    let mut waves = Waves::default();
    // Real servers share the machine with the callers, which leave them little of it. Then their latency says nothing.
    let is_alone = matches!(system.stores(), Stores::Embedded);
    while waves.taken.len() < WAVES
        || (is_alone && !waves.keep_their_latency() && waves.taken.len() < MOST_WAVES)
    {
        waves.one_of_all(&takes_all).await;
        waves.one_more(&mut system, &file).await;
    }
    // The time that commands have waited in each second is, by Little's law, the mean number of commands in hand.
    let in_hand = (sum_and_count(&system).await[0] - before[0]) / waves.seconds;
    let metrics = system.metrics().await;
    assert!(metrics.sum("orders_http_requests_total", &[("status", "shed")]) >= waves.shed as f64);
    let figures = json!({
        "accepted": acknowledged(&check).len(),
        "shed": waves.shed,
        "usual_mean_ms": usual * 1e3,
        "pressed_mean_ms": waves.best()[0] * 1e3,
        "all_taken_mean_ms": waves.best()[1] * 1e3,
        "in_hand_mean": in_hand,
        "memory_kb": waves.memory,
    });
    assert!(in_hand <= IN_HAND, "{figures}");
    assert!(!is_alone || waves.keep_their_latency(), "{figures}");
    assert!(waves.memory.last() < waves.memory.first().map(|first| first + FLAT).as_ref(), "{figures}");
    until("everything to be published", async || {
        (system.metrics().await.sum("orders_unpublished_commits", &[]) == 0.0).then_some(())
    })
    .await;
    expect_nothing_lost(&system, &check).await;
    report::note("overload is shed", system.stores().name(), &figures);
}

async fn wave(system: &System, words: &[&str]) -> Finished {
    // Connecting may take long: so many connections at once are more than the kernel queues for a busy server.
    let load = ["--only", "create", "--retries", "0", "--timeout", "60", "--json"];
    system.load(&[&load, words].concat()).run().await
}

/// Returns the mean time that the server has taken for a command since then, in seconds.
async fn mean_latency(system: &System, since: [f64; 2]) -> f64 {
    let [sum, count] = sum_and_count(system).await;
    (sum - since[0]) / (count - since[1])
}

async fn sum_and_count(system: &System) -> [f64; 2] {
    let metrics = system.metrics().await;
    ["sum", "count"]
        .map(|what| metrics.sum(&format!("orders_command_duration_seconds_{what}"), &[("command", "create")]))
}
