//! Invalid requests, and requests that can be read in two ways. Each is refused and counted, and no second request comes of it.

use serde_json::json;
use tests::poll::until;
use tests::raw::{said_to, statuses};
use tests::report;
use tests::system::System;

/// The number of times that each is sent.
const ROUNDS: usize = 20;

/// The memory, in KiB, by which all of them may make the server grow.
const CHEAP: u64 = 64 * 1024;

/// A request behind another one. It would be answered if anybody took it for a request.
const BEHIND: &str = "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 33\r\nconnection: close\r\n\r\n{\"id\":\"smuggled\",\"name\":\"a lamp\"}";

fn with_headers(headers: &str) -> Vec<u8> {
    format!("POST / HTTP/1.1\r\nhost: x\r\n{headers}\r\n").into_bytes()
}

/// Returns requests that can't be read, and the status of each answer.
fn unreadable() -> Vec<(Vec<u8>, u16)> {
    let headers: String = (0..150).map(|number| format!("x-{number}: 1\r\n")).collect();
    let too_large = [
        with_headers(&format!("x: {}\r\n", "a".repeat(20_000))),
        with_headers(&headers),
        format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "a".repeat(20_000)).into_bytes(),
    ];
    let malformed = [
        "content-length: 2\r\ncontent-length: 3\r\n",
        "content-length: 2, 2\r\n",
        "content-length: +2\r\n",
        "content-length: -2\r\n",
        "content-length: 0x2\r\n",
        "content-length: 99999999999999999999\r\n",
        "content-length : 2\r\n",
        "transfer-encoding: identity\r\n",
        "transfer-encoding: chunked, identity\r\n",
        "transfer-encoding: xchunked\r\n",
        "transfer-encoding : chunked\r\n",
        "transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n",
        // A header that goes on in the next line.
        "x: a\r\n b: c\r\n",
        " x: a\r\n",
        "x: a\rb\r\n",
        "x: a\0b\r\n",
        "x\r\n",
        ": x\r\n",
    ];
    let malformed = malformed.map(with_headers).into_iter().chain([
        b"POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n".to_vec(),
        b"POST / HTTP/9.9\r\nhost: x\r\n\r\n".to_vec(),
        b"POST /a b HTTP/1.1\r\nhost: x\r\n\r\n".to_vec(),
        b"GET\0 / HTTP/1.1\r\nhost: x\r\n\r\n".to_vec(),
        b"GET / HTTP/1.1\nhost\n\n".to_vec(),
        // The beginning of TLS.
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n".to_vec(),
    ]);
    too_large.into_iter().map(|bytes| (bytes, 431)).chain(malformed.map(|bytes| (bytes, 400))).collect()
}

/// Returns requests with heads that can be read, and bodies that can't. Of two lengths the chunks count, and nothing is read
/// behind them.
fn with_two_ends() -> Vec<Vec<u8>> {
    let both = |first: &str, second: &str, body: &str| {
        [with_headers(&format!("{first}\r\n{second}\r\n")), body.as_bytes().to_vec()].concat()
    };
    let (length, chunked) = (format!("content-length: {}", BEHIND.len() + 5), "transfer-encoding: chunked");
    let chunk = format!("{:x}\r\n{BEHIND}\r\n0\r\n\r\n", BEHIND.len());
    vec![
        both(&length, chunked, "0\r\n\r\n"),
        both(chunked, &length, "0\r\n\r\n"),
        both("content-length: 4", chunked, &chunk),
        both(chunked, "content-length: 4", &chunk),
        [with_headers("transfer-encoding: chunked\r\n"), b"zz\r\n".to_vec()].concat(),
        [with_headers("transfer-encoding: chunked\r\n"), b"ffffffffffffffffff\r\n".to_vec()].concat(),
        [with_headers("transfer-encoding: chunked\r\n"), b"2\n{}\n0\n\n".to_vec()].concat(),
        [with_headers("transfer-encoding: chunked\r\n"), b"2\r\n{}X0\r\n\r\n".to_vec()].concat(),
        [with_headers("transfer-encoding: chunked\r\n"), b"-2\r\n{}\r\n".to_vec()].concat(),
    ]
}

#[tokio::test]
async fn requests_that_are_none_are_refused_counted_and_cheap() {
    let mut system = System::start().await;
    let address = system.api().address();
    let mut memory = vec![];
    let mut unreadable_sent = 0;
    for _ in 0..ROUNDS {
        for (bytes, status) in unreadable() {
            let said = said_to(address, &[&bytes, BEHIND.as_bytes()].concat()).await;
            assert_eq!(statuses(&said), [status], "{}", String::from_utf8_lossy(&bytes));
            unreadable_sent += 1;
        }
        for bytes in with_two_ends() {
            let said = said_to(address, &[&bytes, BEHIND.as_bytes()].concat()).await;
            assert_eq!(statuses(&said), [400], "{}", String::from_utf8_lossy(&bytes));
        }
        memory.push(system.server().memory());
    }
    system.get("/smuggled/events").await.problem(404, "order-not-found");
    assert_eq!(system.get("/").await.json(), json!([]));

    // Each is counted once its connection is closed.
    until("each of them to be counted", async || {
        let metrics = system.metrics().await;
        let bad = |reason| metrics.sum("orders_http_bad_connections_total", &[("reason", reason)]);
        let too_large = bad("too-large") >= (3 * ROUNDS) as f64;
        (too_large && bad("malformed") + bad("too-large") >= unreadable_sent as f64).then_some(())
    })
    .await;
    let unread = (with_two_ends().len() * ROUNDS) as f64;
    assert!(refused(&system).await >= unread);
    let (first, last) = (memory[0], memory[ROUNDS - 1]);
    assert!(last < first + CHEAP, "{memory:?}");
    let figures = json!({"refused": unreadable_sent + unread as usize, "memory_kb": [first, last]});
    report::note("hostile requests", system.stores().name(), &figures);
}

/// Returns the number of requests that were answered as the client's fault.
async fn refused(system: &System) -> f64 {
    system.metrics().await.sum("orders_http_requests_total", &[("status", "4xx")])
}

#[tokio::test]
async fn bodies_that_no_parser_likes_are_refused_and_counted() {
    let mut system = System::start().await;
    let deep = |open: &str, close: &str| {
        let times = 60_000 / (open.len() + close.len());
        [open.repeat(times), close.repeat(times)].concat()
    };
    let bodies = [
        deep("[", "]").into_bytes(),
        deep("[", "").into_bytes(),
        deep("{\"name\":", "}").into_bytes(),
        format!("{{\"name\":{}}}", deep("[", "]")).into_bytes(),
        b"{\"name\":\"\xff\"}".to_vec(),
        b"{\"name\":\"\\ud800\"}".to_vec(),
        b"{\"na\xc3\":\"a\"}".to_vec(),
        format!("{{\"name\":1{}}}", "0".repeat(60_000)).into_bytes(),
        format!("{{{}\"name\":\"a\"}}", "\"name\":\"a\",".repeat(5_000)).into_bytes(),
        vec![0; 60_000],
        b"\xef\xbb\xbf{\"name\":\"a\"}".to_vec(),
    ];
    let before = system.server().memory();
    let (sent, refused_before) = ((bodies.len() * ROUNDS) as f64, refused(&system).await);
    for _ in 0..ROUNDS {
        for body in &bodies {
            let answer = system.post("/").body(body.clone()).await;
            assert!(matches!(answer.status, 400 | 422), "{}", answer.text());
        }
    }
    assert!(system.server().memory() < before + CHEAP);
    assert_eq!(system.get("/").await.json(), json!([]));
    let counted = async || (refused(&system).await == refused_before + sent).then_some(());
    until("each of them to be counted", counted).await;
}
