//! More load than the system can take: the caller is told when to come again.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tests::http::Answer;
use tests::poll::until;
use tests::system::System;

use super::shutdown::HalfSent;

fn is_turned_away(answer: &Answer) -> bool {
    answer.status == 503 && answer.json()["type"] == "urn:problem:unavailable"
}

async fn shed(system: &System) -> f64 {
    system.metrics().await.sum("orders_http_requests_total", &[("status", "shed")])
}

#[tokio::test]
async fn a_query_too_many_is_503_with_retry_after_and_commands_go_on() {
    let system = System::start_with(&["--max-in-flight", "1"]).await;
    system.create("a").await;
    system.until_version("a", 1).await;
    let turned_away = until("a query to be turned away", async || {
        let crowd = join_all((0..32).map(|_| async { system.get("/").await })).await;
        crowd.into_iter().find(is_turned_away)
    })
    .await;
    assert_eq!(turned_away.header("retry-after"), "1");
    system.create("b").await;
    system.get("/a/events").await.with_status(200);
    system.get("/a").await.with_status(200);
    assert!(shed(&system).await > 0.0);
}

#[tokio::test]
async fn queries_that_wait_take_no_querys_place_and_one_that_finds_no_place_to_wait_is_told_at_once() {
    let system = System::start_with(&["--max-in-flight", "1"]).await;
    system.create("a").await;
    system.until_version("a", 1).await;
    // If another query has the only place, this one is told at once, and asks again.
    let waiting = async {
        loop {
            let asked = Instant::now();
            let answer = system.get("/a?min_version=2").header("prefer", "wait=20").await;
            if answer.status == 200 || asked.elapsed() >= Duration::from_secs(2) {
                return answer;
            }
        }
    };
    let beside = async {
        // If the place is free, this query waits itself. A query that is told at once has found the place taken.
        until("nobody else to be let wait", async || {
            let asked = Instant::now();
            system.get("/a?min_version=2").header("prefer", "wait=3").await.problem(503, "view-behind");
            (asked.elapsed() < Duration::from_secs(2)).then_some(())
        })
        .await;
        system.get("/a").await.with_status(200);
        system.get("/").await.with_status(200);
        // A query for a version that is there needs no place to wait.
        system.get("/a?min_version=1").await.with_status(200);
        system.process("a").await;
    };
    let (answer, ()) = tokio::join!(waiting, beside);
    assert!(matches!(answer.status, 200 | 503), "{}", answer.text());
}

#[tokio::test]
async fn requests_that_are_on_their_way_take_nobodys_place() {
    let system = System::start_with(&["--max-in-flight", "1"]).await;
    let on_their_way: Vec<_> =
        (0..20).map(|number| HalfSent::create(&system, &format!("a{number}"))).collect();
    system.get("/").await.with_status(200);
    system.create("b").await;
    for half_sent in on_their_way {
        assert!(half_sent.finish().starts_with("HTTP/1.1 201 "));
    }
    assert_eq!(shed(&system).await, 0.0);
}
