//! More than the system can take: the caller is told when to come again.

use tests::system::System;

use super::shutdown::HalfSent;

#[tokio::test]
async fn a_request_too_many_is_503_with_retry_after_and_the_one_in_hand_is_answered() {
    let system = System::start_with(&["--max-in-flight", "1"]).await;
    let in_hand = HalfSent::create(&system, "a");
    let answer = system.get("/").await;
    answer.problem(503, "unavailable");
    assert_eq!(answer.header("retry-after"), "1");
    assert!(in_hand.finish().starts_with("HTTP/1.1 201 "));
    system.get("/").await.with_status(200);
    let metrics = system.metrics().await;
    assert_eq!(metrics.sum("orders_http_requests_total", &[("status", "shed")]), 1.0);
}
