//! Clients that send their heads and bodies a byte at a time, or read no answers. They disturb no other client, and are cut off.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use tests::poll::{until, until_within};
use tests::raw::{connections, said_to_slow, statuses};
use tests::report;
use tests::system::System;

use tokio::io::AsyncWriteExt;

use super::until_timed_out;

const CLIENTS: usize = 300;
/// The number of requests that may be in hand, fewer than there are slow clients of either kind.
const MOST: usize = 64;

#[tokio::test]
async fn slow_clients_take_nobodys_place_and_are_cut_off() {
    let system = System::start_with(&["--max-in-flight", &MOST.to_string()]).await;
    let address = system.api().address();
    let endless = [b'x'; 2000];
    let head = b"POST / HTTP/1.1\r\nhost: x\r\n";
    let heads = connections(address, CLIENTS).await.into_iter();
    let heads = heads.map(|stream| said_to_slow(stream, head, &endless));
    let body = b"POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 60000\r\n\r\n";
    let bodies = connections(address, CLIENTS).await.into_iter();
    let bodies = bodies.map(|stream| said_to_slow(stream, body, &endless));

    let others = async {
        // There are so few clients that none is turned away, even if the machine pauses.
        let load = ["--clients", "8", "--rate", "100", "--orders", "250", "--retries", "0", "--json"];
        system.load(&load).run().await.with_code(0).json()
    };
    let (heads, bodies, report) = tokio::join!(join_all(heads), join_all(bodies), others);

    // Bytes that never became a request get no answer.
    assert!(heads.iter().all(|said| statuses(said).is_empty()), "{heads:?}");
    // Each body had a place of its own, and its time limit.
    assert!(bodies.iter().all(|said| statuses(said) == [408]), "{bodies:?}");
    until_timed_out(&system, CLIENTS).await;
    report::note(
        "slow clients",
        system.stores().name(),
        &json!({
            "slow_heads": CLIENTS,
            "slow_bodies": CLIENTS,
            "commands_meanwhile": report["answered"],
            "failed": report["not_acknowledged"],
            "latency_ms": report["calls"]["create"]["latency_ms"],
        }),
    );
}

/// The number of clients that read nothing, and how often each asks for a page of large orders.
const DEAF: usize = 300;
const PIPELINE: usize = 50;

/// The memory, in KiB, that unsent answers to all of them may take, including answers that are being made.
const UNSENT: u64 = 128 * 1024;

/// The time limit for giving them up: a client may read nothing for 30 s.
const GIVEN_UP_WITHIN: Duration = Duration::from_secs(90);

#[tokio::test]
async fn clients_that_read_no_answers_cost_little_and_are_cut_off() {
    let mut system = System::start().await;
    let name = "“".repeat(255);
    let orders =
        (0..500).map(|_| async { system.post("/").json(&json!({"name": name})).await.with_status(201) });
    join_all(orders).await;
    let page = async || Some(system.get("/?limit=500").await).filter(|page| page.body.len() > 400_000);
    let page = until("a large page", page).await.body.len();
    // Memory that a busy server takes only once is not part of their cost.
    join_all((0..20).map(|_| async { system.get("/?limit=500").await.with_status(200) })).await;
    let before = system.server().memory();

    let mut deaf = connections(system.api().address(), DEAF).await;
    let pipeline = b"GET /?limit=500 HTTP/1.1\r\nhost: x\r\n\r\n".repeat(PIPELINE);
    join_all(deaf.iter_mut().map(|stream| stream.write_all(&pipeline))).await;
    let mut most = 0;
    let given_up = async || {
        most = most.max(system.server().memory());
        // A client that reads is answered beside them.
        system.get("/?limit=1").await.with_status(200);
        let metrics = system.metrics().await;
        // Some answers found no room beside the others'. Those clients were told to come again, and closed.
        let given_up = ["stalled", "crowded-out"]
            .map(|reason| metrics.sum("orders_http_bad_connections_total", &[("reason", reason)]));
        (given_up.iter().sum::<f64>() >= DEAF as f64).then_some(())
    };
    until_within(GIVEN_UP_WITHIN, "each of them to be given up", given_up).await;
    assert!(most < before + UNSENT, "{before} KiB before, {most} beside them");
    let figures = json!({"deaf": DEAF, "page_bytes": page, "memory_kb": [before, most]});
    report::note("clients that read nothing", system.stores().name(), &figures);
}
