//! `GET /{id}`: an order by its id, no older than the caller asks.

use std::time::{Duration, Instant};

use tests::poll::until;
use tests::system::System;

#[tokio::test]
async fn a_client_reads_its_own_writes() {
    let system = System::start().await;
    for number in 0..20 {
        let id = format!("a{number}");
        let created = system.create(&id).await;
        let read = system.get(&format!("/{id}?min_version={}", created.version())).await.with_status(200);
        assert_eq!(read.json(), created.json());
        let started = system.process(&id).await;
        let read = system.get(&format!("/{id}?min_version={}", started.version())).await.with_status(200);
        assert!(read.version() >= started.version());
        assert_ne!(read.json()["status"], "new");
        let processed = system.get(&format!("/{id}?min_version=3")).await.with_status(200);
        assert_eq!((processed.json()["status"].as_str(), processed.version()), (Some("processed"), 3));
    }
}

#[tokio::test]
async fn a_version_that_the_view_does_not_have_in_time_is_503_with_retry_after() {
    let system = System::start().await;
    system.create("a").await;
    for (path, wait) in [("/a?min_version=2", 0), ("/a?min_version=2", 1), ("/nobody?min_version=1", 1)] {
        let asked = Instant::now();
        let answer = system.get(path).header("prefer", &format!("wait={wait}")).await;
        let took = asked.elapsed();
        assert_eq!(answer.header("preference-applied"), format!("wait={wait}"));
        let problem = answer.problem(503, "view-behind");
        assert_eq!((problem.field.as_str(), answer.header("retry-after")), ("min_version", "1"));
        assert!(took >= Duration::from_secs(wait), "{took:?}");
        assert!(took < Duration::from_secs(wait + 5), "{took:?}");
    }
    system.get("/nobody?min_version=0").await.problem(404, "order-not-found");
}

#[tokio::test]
async fn who_waits_for_a_version_is_answered_when_it_comes() {
    let system = System::start().await;
    let waiting = system.get("/a?min_version=1").header("prefer", "respond-async, wait=20");
    let asked = Instant::now();
    let (order, created) = tokio::join!(async { waiting.await.with_status(200).json() }, async {
        // The waiting query was sent before this one. This one is answered, so the create comes later.
        system.get("/a?min_version=1").header("prefer", "wait=0").await.problem(503, "view-behind");
        system.create("a").await.json()
    });
    assert_eq!(order, created);
    assert!(asked.elapsed() < Duration::from_secs(10), "it came in {:?}", asked.elapsed());
}

#[tokio::test]
async fn an_order_that_the_client_has_is_304_without_a_body() {
    let system = System::start().await;
    let processed = system.create_and_process("a").await;
    let full = system.get("/a").await.with_status(200);
    assert_eq!((full.json(), full.header("cache-control")), (processed, "no-cache"));
    for tag in [full.header("etag"), "W/\"3\"", "\"1\", \"3\"", "*"] {
        let answer = system.get("/a").header("if-none-match", tag).await.with_status(304);
        assert_eq!((answer.header("etag"), answer.body.len()), ("\"3\"", 0), "{tag}");
    }
    for tag in ["\"2\"", "\"33\"", "3", "\"x\""] {
        system.get("/a").header("if-none-match", tag).await.with_status(200);
    }
}

#[tokio::test]
async fn the_view_follows_without_being_asked() {
    let system = System::start().await;
    system.create_and_process("a").await;
    let metrics = until("the projector's count", async || {
        let metrics = system.metrics().await;
        (metrics.sum("orders_projected_events_total", &[("result", "applied")]) >= 3.0).then_some(metrics)
    })
    .await;
    assert_eq!(metrics.sum("orders_projected_events_total", &[("result", "held")]), 0.0);
}
