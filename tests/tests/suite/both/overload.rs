//! More than the system can take: the caller is told when to come again.

use tests::http::Answer;
use tests::poll::until;
use tests::raw::{said_to, statuses};
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
    // It waits for a version that never comes; unless it is turned away itself, by one of those below.
    let in_hand = async {
        until("a query to be in hand", async || {
            let answer = system.get("/a?min_version=9").header("prefer", "wait=5").await;
            (!is_turned_away(&answer)).then_some(())
        })
        .await;
    };
    let beside = async {
        let turned_away =
            until("a query to be turned away", async || Some(system.get("/a").await).filter(is_turned_away))
                .await;
        assert_eq!(turned_away.header("retry-after"), "1");
        system.create("b").await;
        system.get("/a/events").await.with_status(200);
    };
    tokio::join!(in_hand, beside);
    system.get("/a").await.with_status(200);
    assert!(shed(&system).await > 0.0);
}

#[tokio::test]
async fn requests_that_are_on_their_way_take_the_place_of_no_other() {
    let system = System::start_with(&["--max-in-flight", "1"]).await;
    let on_its_way = HalfSent::create(&system, "a");
    system.get("/").await.with_status(200);
    system.create("b").await;
    let second =
        said_to(system.api().address(), b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n").await;
    assert!(statuses(&second) == [503] && second.contains("retry-after: 1"), "{second}");
    assert!(on_its_way.finish().starts_with("HTTP/1.1 201 "));
    assert_eq!(shed(&system).await, 1.0);
}
