//! Ctrl-C and SIGTERM: running requests are finished, and everything is there again at the next start.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::json;
use tests::poll::{PATIENCE, until};
use tests::system::System;

use super::processor::with_fulfilment_under_way;

/// A create whose body has not come yet. The server has surely read its head: it said that it waits for the body.
pub(crate) struct HalfSent {
    stream: TcpStream,
    body: String,
}

impl HalfSent {
    pub(crate) fn create(system: &System, id: &str) -> Self {
        Self::create_with(system, id, "")
    }

    /// Sends the head with these headers added.
    pub(crate) fn create_with(system: &System, id: &str, headers: &str) -> Self {
        let body = json!({"id": id, "name": "a lamp"}).to_string();
        let mut stream = TcpStream::connect(system.api().address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let head = format!(
            "POST / HTTP/1.1\r\nhost: x\r\n{headers}expect: 100-continue\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut go_on = [0; 25];
        stream.read_exact(&mut go_on).unwrap();
        assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
        Self { stream, body }
    }

    /// Sends the body, and returns the whole answer.
    pub(crate) fn finish(mut self) -> String {
        self.stream.write_all(self.body.as_bytes()).unwrap();
        let mut answer = String::new();
        while !answer.ends_with('}') {
            let mut part = [0; 4096];
            let read = self.stream.read(&mut part).unwrap();
            assert_ne!(read, 0, "the server broke off: {answer:?}");
            answer.push_str(std::str::from_utf8(&part[..read]).unwrap());
        }
        answer
    }
}

async fn until_no_connection_is_taken(system: &System) {
    until("connections to be refused", async || TcpStream::connect(system.api().address()).err()).await;
}

#[tokio::test]
async fn a_signal_lets_running_requests_finish_takes_no_more_and_ends_with_0() {
    for signal in ["TERM", "INT"] {
        let mut system = System::start().await;
        system.create_and_process("before").await;
        let running = HalfSent::create(&system, "running");
        system.server().signal(signal);
        until_no_connection_is_taken(&system).await;
        assert!(running.finish().starts_with("HTTP/1.1 201 "), "{signal}");
        let since = Instant::now();
        system.take_server().end().await.with_code(0);
        assert!(since.elapsed() < Duration::from_secs(10), "{signal}: {:?}", since.elapsed());

        system.start_again().await;
        system.until_status("before", "processed").await;
        system.until_status("running", "new").await;
        system.expect_verified().await;
    }
}

#[tokio::test]
async fn a_client_that_keeps_its_request_open_holds_the_end_up_no_longer_than_10_seconds() {
    let mut system = System::start().await;
    let _open = HalfSent::create(&system, "never");
    system.stop().await;
    system.start_again().await;
    system.get("/never/events").await.problem(404, "order-not-found");
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let mut system = System::start().await;
    system.create("a").await;
    let _open = HalfSent::create(&system, "never");
    system.server().signal("TERM");
    until_no_connection_is_taken(&system).await;
    let since = Instant::now();
    system.server().signal("TERM");
    system.take_server().end().await.with_code(1);
    assert!(since.elapsed() < Duration::from_secs(3), "{:?}", since.elapsed());
    system.start_again().await;
    system.until_status("a", "new").await;
}

#[tokio::test]
async fn a_fulfilment_that_does_not_end_in_time_is_taken_up_at_the_next_start() {
    let (mut system, _service) = with_fulfilment_under_way().await;
    system.stop().await;
    system.start_again().await;
    system.until_status("a", "processed").await;
    assert_eq!(system.event_types("a").await, ["OrderCreated", "ProcessingStarted", "OrderProcessed"]);
}

#[tokio::test]
async fn everything_is_as_it_was_after_a_restart() {
    let mut system = System::start_with(&["--fulfilment", "mock:?failure_rate=0.5"]).await;
    for number in 0..10 {
        system.create(&format!("a{number}")).await;
        if number > 2 {
            system.process(&format!("a{number}")).await;
        }
    }
    system.delete("/a0").await.with_status(200);
    let at_rest = async |system: &System| {
        until("every order to be at rest", async || {
            let orders = system.get("/").await.json();
            let rests = |order: &serde_json::Value| match order["id"].as_str().unwrap() {
                "a0" => order["version"] == 2,
                "a1" | "a2" => order["version"] == 1,
                _ => order["version"] == 3,
            };
            let whole = orders.as_array().unwrap();
            (whole.len() == 10 && whole.iter().all(rests)).then_some(orders)
        })
        .await
    };
    let before = at_rest(&system).await;
    let events = system.events("a5").await;
    for _ in 0..2 {
        system.stop().await;
        system.start_again().await;
        assert_eq!(system.get("/").await.json(), before);
        assert_eq!(system.events("a5").await, events);
    }
    // The orders go on from where they were.
    system.process("a1").await;
    system.until_version("a1", 3).await;
}
