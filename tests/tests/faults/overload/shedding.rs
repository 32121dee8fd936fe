//! Far more clients than may be in hand: the others are told to come again, and it is over when they are gone.
//!
//! That commands keep their latency is asserted as what does not depend on the machine, which all those callers need too: whoever is
//! taken waits behind no more than may be in hand, and is answered sooner than where just as many call and all are taken.

use serde_json::json;
use tests::load::{acknowledged, expect_nothing_lost};
use tests::poll::until;
use tests::process::Finished;
use tests::report;
use tests::stores::Stores;
use tests::system::System;

/// How many commands may be in hand. 32 times as many clients call.
const MOST: &str = "16";
const IN_HAND: f64 = 16.0;
const TOO_MANY: &str = "512";

/// As many as call, and more.
const ALL: &str = "10000";

/// Waves of too many, and how many there are at most: something else may keep the machine from its work during some.
const WAVES: usize = 3;
const MOST_WAVES: usize = 10;

/// How much the server may grow, in KiB, from one wave to the next.
const FLAT: u64 = 64 * 1024;

/// What waves of too many clients came to.
#[derive(Default)]
struct Waves {
    shed: u64,
    seconds: f64,
    /// The mean latency of what was taken, in seconds, by wave; and where just as many called and all were taken.
    taken: Vec<f64>,
    all_taken: Vec<f64>,
    memory: Vec<u64>,
}

impl Waves {
    async fn one_more(&mut self, system: &mut System, check: &str) {
        let before = sum_and_count(system).await;
        let words = ["--clients", TOO_MANY, "--orders", "8000", "--check", check];
        let report = wave(system, &words).await.json();
        // Nothing else goes wrong.
        let errors = report["errors"].as_object().unwrap();
        assert_eq!(errors.keys().collect::<Vec<_>>(), ["create 503"], "{report}");
        self.shed += report["errors"]["create 503"].as_u64().unwrap();
        self.seconds += report["seconds"].as_f64().unwrap();
        self.taken.push(mean_latency(system, before).await);
        self.memory.push(system.server().memory());
        // At once: nothing has queued up.
        let after = system.post("/").json(&json!({"name": "after"})).await;
        assert_eq!(after.status, 201, "{}", after.text());
    }

    async fn one_of_all(&mut self, system: &System) {
        let before = sum_and_count(system).await;
        wave(system, &["--clients", TOO_MANY, "--orders", "2000"]).await.with_code(0);
        self.all_taken.push(mean_latency(system, before).await);
    }

    /// The best of either: what was in the way of one wave is nobody's fault.
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
    // Servers share the machine with the callers, who leave them little of it: how long they take says nothing then.
    let is_alone = matches!(system.stores(), Stores::Embedded);
    while waves.taken.len() < WAVES
        || (is_alone && !waves.keep_their_latency() && waves.taken.len() < MOST_WAVES)
    {
        waves.one_of_all(&takes_all).await;
        waves.one_more(&mut system, &file).await;
    }
    // What was waited for in each second: by Little's law, how many were in hand on average.
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
    // A connection may take its time: so many at once are more than the kernel keeps for a server that is busy.
    let load = ["--only", "create", "--retries", "0", "--timeout", "60", "--json"];
    system.load(&[&load, words].concat()).run().await
}

/// How long the server took for a command, in seconds, on average since then.
async fn mean_latency(system: &System, since: [f64; 2]) -> f64 {
    let [sum, count] = sum_and_count(system).await;
    (sum - since[0]) / (count - since[1])
}

async fn sum_and_count(system: &System) -> [f64; 2] {
    let metrics = system.metrics().await;
    ["sum", "count"]
        .map(|what| metrics.sum(&format!("orders_command_duration_seconds_{what}"), &[("command", "create")]))
}
