//! Pages in a browser: the origins that may write.

use http::Method;
use serde_json::json;
use tests::http::Call;
use tests::system::System;

const GOOD: &str = "https://good.example";
const OTHER: &str = "https://other.example";

fn writes(system: &System) -> Vec<Call> {
    vec![
        system.post("/").json(&json!({"id": "b", "name": "a lamp"})),
        system.post("/").body(r#"{"id":"b","name":"a lamp"}"#),
        system.post("/a"),
        system.delete("/a"),
    ]
}

#[tokio::test]
async fn where_origins_are_listed_pages_from_elsewhere_may_not_write() {
    let system = System::start_with(&["--cors-origin", GOOD]).await;
    system.create("a").await;
    for call in writes(&system) {
        call.header("origin", OTHER).await.problem(403, "origin-not-allowed");
    }
    for call in writes(&system) {
        call.header("origin", "null").await.problem(403, "origin-not-allowed");
    }
    for call in writes(&system) {
        call.header("sec-fetch-site", "cross-site").await.problem(403, "origin-not-allowed");
    }
    assert_eq!(system.event_types("a").await, ["OrderCreated"]);

    // A listed page is on another site than the API.
    let good = |call: Call| call.header("origin", GOOD).header("sec-fetch-site", "cross-site");
    let created = good(system.post("/").json(&json!({"id": "b", "name": "a lamp"}))).await.with_status(201);
    assert_eq!(created.header("access-control-allow-origin"), GOOD);
    good(system.post("/b")).await.with_status(200);
    // A client that is no browser says nothing of this.
    system.post("/a").await.with_status(200);
    // The browser keeps an answer to a read from other pages.
    let read = system.get("/").header("origin", OTHER).await.with_status(200);
    assert_eq!(read.header("access-control-allow-origin"), "");
}

#[tokio::test]
async fn where_none_are_listed_a_browser_writes_only_what_it_asks_about_first() {
    let system = System::start().await;
    system.create("a").await;
    for content_type in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"]
    {
        for path in ["/", "/a"] {
            let call = system.post(path).header("origin", OTHER).header("content-type", content_type);
            call.body("{}").await.problem(415, "not-json");
        }
    }
    system.post("/a").header("origin", OTHER).await.problem(415, "not-json");
    system.post("/a").header("sec-fetch-site", "cross-site").await.problem(415, "not-json");
    assert_eq!(system.event_types("a").await, ["OrderCreated"]);

    let create = system.post("/").header("origin", OTHER).json(&json!({"id": "b", "name": "a lamp"}));
    create.await.with_status(201);
    let process = system.post("/b").header("origin", OTHER).header("content-type", "application/json");
    process.await.with_status(200);
    system.delete("/a").header("origin", OTHER).await.with_status(200);
    // The clients of the original program send it like this.
    system.post("/").body(r#"{"id":"c","name":"a lamp"}"#).await.with_status(201);
    system.post("/c").await.with_status(200);
}

#[tokio::test]
async fn a_page_reads_why_it_was_refused() {
    let system = System::start().await;
    for answer in [
        system.post("/a").header("origin", OTHER).header("content-type", "application/json").await,
        system.get("/?limit=0").header("origin", OTHER).await,
        system
            .api()
            .call(Method::PUT, "/a")
            .header("origin", OTHER)
            .header("content-type", "application/json")
            .await,
    ] {
        assert!(answer.status >= 400, "{answer:?}");
        assert_eq!(answer.header("access-control-allow-origin"), "*", "{answer:?}");
    }
}
