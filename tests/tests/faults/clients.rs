//! Clients that leave in the middle, wait in vain, or try what they may not do; and their cost for the others.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use tests::poll::until;
use tests::raw::{Leaving, connections, request, said_to_slow, send_and_leave, statuses};
use tests::report;
use tests::stores::Stores;
use tests::system::{Setup, System};

/// How often a client leaves at each byte.
const ROUNDS: usize = 3;

/// The number of clients that leave at the same time.
const AT_A_TIME: usize = 16;

#[tokio::test]
async fn a_client_may_leave_at_any_byte_of_its_command() {
    // At this age the relay publishes nothing. Otherwise it would publish commits that the server had left, and hide a fault.
    let system = Setup::on(Stores::fresh()).with(&["--relay-min-age", "86400"]).start().await;
    let address = system.api().address();
    let create = |id: &str| {
        request(
            "POST /",
            &format!("idempotency-key: {id}\r\n"),
            &format!(r#"{{"id":"{id}","name":"a lamp"}}"#),
        )
    };
    let bytes = create("r0-c-000").len();
    let leavings = (0..ROUNDS).flat_map(|round| {
        let of_round = (1..=bytes).map(move |at| (format!("r{round}-c-{at:03}"), at, Leaving::Closing));
        // For a reset, all bytes were sent; the server may or may not have read them.
        of_round
            .chain((0..bytes).map(move |number| (format!("r{round}-r-{number:03}"), bytes, Leaving::Reset)))
    });
    let left = stream::iter(leavings).map(|(id, at, leaving)| async move {
        send_and_leave(address, &create(&id)[..at], leaving).await;
    });
    left.buffer_unordered(AT_A_TIME).collect::<()>().await;

    // In the end nothing is in hand, and each command that was done is counted and shown.
    let done = until("every command that was done to be counted and shown", async || {
        let metrics = system.metrics().await;
        let requests = metrics.sum("orders_http_requests_total", &[("method", "POST"), ("status", "2xx")]);
        let commands = metrics.sum("orders_commands_total", &[("command", "create"), ("result", "done")]);
        let shown = shown(&system).await;
        let whole = (0..ROUNDS).all(|round| shown.contains(&format!("r{round}-c-{bytes:03}")));
        (requests == commands && commands == shown.len() as f64 && whole).then_some(shown.len())
    })
    .await;
    for round in 0..ROUNDS {
        let broken_off = system.get(&format!("/r{round}-c-{:03}/events", bytes - 1)).await;
        assert_eq!(broken_off.status, 404, "a body that is not whole is no command");
    }
    // A client that comes again finds its command done, or gets it done.
    let again = (0..bytes).map(|number| async move { format!("r0-r-{number:03}") });
    let again: Vec<String> = join_all(again).await;
    for id in &again {
        let call = system.post("/").key(id).json(&json!({"id": id, "name": "a lamp"}));
        assert_eq!(call.await.status, 201, "{id}");
        assert_eq!(system.event_types(id).await, ["OrderCreated"]);
    }
    system.expect_verified().await;
    let left = ROUNDS * bytes * 2;
    let figures = json!({"left": left, "commands_done": done, "lost": 0, "repeated": again.len()});
    report::note("clients leave", system.stores().name(), &figures);
}

async fn shown(system: &System) -> BTreeSet<String> {
    let (mut all, mut page) = (BTreeSet::new(), Some("/?limit=500".to_owned()));
    while let Some(path) = page {
        let answer = system.get(&path).await.with_status(200);
        let orders = answer.json();
        let ids = orders.as_array().unwrap().iter().map(|order| order["id"].as_str().unwrap().to_owned());
        all.extend(ids);
        page = answer.next_page();
    }
    all
}

/// The number of clients that may wait, and that may query, at the same time.
const MOST: usize = 32;
/// The number of clients that try to wait.
const WAITERS: usize = 400;

#[tokio::test]
async fn clients_that_wait_for_what_never_comes_take_no_querys_place() {
    let system = System::start_with(&["--max-in-flight", &MOST.to_string()]).await;
    system.create("a").await;
    system.until_version("a", 1).await;
    let began = Instant::now();
    let waiters = (0..WAITERS).map(|_| async {
        let asked = Instant::now();
        system.get("/nobody?min_version=1").header("prefer", "wait=10").await;
        asked.elapsed()
    });
    let others = async {
        let mut latencies = vec![];
        for _ in 0..100 {
            let asked = Instant::now();
            system.get("/a").await.with_status(200);
            system.get("/?limit=1").await.with_status(200);
            system.get("/a?min_version=1").await.with_status(200);
            latencies.push(asked.elapsed().as_secs_f64() * 1e3);
        }
        assert!(began.elapsed() < Duration::from_secs(10), "they are still waiting");
        latencies.sort_by(f64::total_cmp);
        latencies[latencies.len() / 2]
    };
    let (waited, median) = tokio::join!(join_all(waiters), others);
    let waited = waited.iter().filter(|waited| **waited >= Duration::from_secs(9)).count();
    assert!((1..=MOST).contains(&waited), "{waited}");
    let figures = json!({"waiters": WAITERS, "waited": waited, "queries_beside": 300, "failed": 0, "median_ms": median});
    report::note("waiting clients", system.stores().name(), &figures);
}

/// The number of strangers that hold a body back. It is more than one caller may have on their way (1,024).
const STRANGERS: usize = 1_100;
const TOKEN: &str = "0123456789abcdef";

#[tokio::test]
async fn strangers_cost_those_who_have_a_token_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens");
    fs::write(&file, format!("ada {TOKEN}\n")).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let tokens = file.to_str().unwrap().to_owned();
    let mut system = Setup::on(Stores::fresh())
        .with(&["--auth-token-file", &tokens, "--max-in-flight", "1024"])
        .start()
        .await;
    let alone = load(&system, &tokens).await;
    let held_back = b"POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 60000\r\n\r\n{";
    let strangers = connections(system.api().address(), STRANGERS).await.into_iter();
    // Each sends a byte more now and then, until the server closes the connection.
    let strangers = strangers.map(|stream| said_to_slow(stream, held_back, &[b' '; 300]));
    let guesses = (0..20).map(|number| {
        let system = &system;
        async move {
            for guess in 0..100 {
                let token = format!("Bearer a-guess-{number}-{guess}-of-nobody");
                system.get("/").header("authorization", &token).await.with_status(401);
            }
        }
    });
    let (said, _, beside) = tokio::join!(join_all(strangers), join_all(guesses), load(&system, &tokens));
    assert!(said.iter().all(|said| statuses(said) == [401]), "each is answered by its head");
    for report in [&alone, &beside] {
        assert_eq!((&report["answered"], &report["not_acknowledged"]), (&json!(150), &json!(0)), "{report}");
    }
    let unauthorized = [("status", "unauthorized")];
    let counted = system.metrics().await.sum("orders_http_requests_total", &unauthorized);
    assert!(counted >= (STRANGERS + 2_000) as f64, "{counted}");
    let log = system.stop().await.stderr;
    assert!(log.len() < 20_000, "{} bytes of log", log.len());
    let figures = json!({
        "strangers": STRANGERS,
        "guesses": 2_000,
        "commands_beside": beside["answered"],
        "failed": beside["not_acknowledged"],
        "alone_ms": alone["calls"]["create"]["latency_ms"],
        "beside_ms": beside["calls"]["create"]["latency_ms"],
        "log_bytes": log.len(),
    });
    report::note("strangers", system.stores().name(), &figures);
}

async fn load(system: &System, tokens: &str) -> Value {
    let words =
        ["--clients", "8", "--rate", "50", "--orders", "150", "--only", "create", "--retries", "0", "--json"];
    system.load(&[&words[..], &["--token-file", tokens]].concat()).run().await.with_code(0).json()
}
