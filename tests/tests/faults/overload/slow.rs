//! Clients that send their heads and bodies a byte at a time: they are in nobody's way, and are cut off.

use futures_util::future::join_all;
use serde_json::json;
use tests::poll::until;
use tests::raw::{connections, said_to_slow, statuses};
use tests::report;
use tests::system::System;

use super::until_timed_out;

const CLIENTS: usize = 300;
/// Fewer than there are slow clients of either kind.
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
        until("slow bodies to be turned away", async || {
            let shed = system.metrics().await.sum("orders_http_requests_total", &[("status", "shed")]);
            (shed > 0.0).then_some(())
        })
        .await;
        // Few clients, whom no pause of the machine makes so many that they would be turned away.
        let load = ["--clients", "8", "--rate", "100", "--orders", "250", "--retries", "0", "--json"];
        system.load(&load).run().await.with_code(0).json()
    };
    let (heads, bodies, report) = tokio::join!(join_all(heads), join_all(bodies), others);

    // No answer to what never became a request.
    assert!(heads.iter().all(|said| statuses(said).is_empty()), "{heads:?}");
    let answered = |status| bodies.iter().filter(|said| statuses(said) == [status]).count();
    let (cut_off, turned_away) = (answered(408), answered(503));
    assert_eq!(cut_off + turned_away, CLIENTS, "{bodies:?}");
    // As many at a time; a few more where the machine let some come only when others had been cut off.
    assert!(cut_off >= MOST && turned_away > 0, "{cut_off}");
    assert!(bodies.iter().filter(|said| statuses(said) == [503]).all(|said| said.contains("retry-after: 1")));
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
