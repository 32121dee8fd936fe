//! The command routes: their answers when all is well, and when the order does not allow the command.

use http::Method;
use serde_json::json;
use tests::system::System;

#[tokio::test]
async fn a_create_answers_201_with_the_order_its_version_and_its_place() {
    let system = System::start().await;
    let answer = system.create("a").await;
    let order = answer.json();
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!((answer.header("etag"), answer.header("location")), ("\"1\"", "/a"));
    let times = (&order["created_at"], &order["updated_at"]);
    assert_eq!(times.0, times.1);
    assert!(times.0.as_str().unwrap().ends_with('Z'), "{order}");
    let expected = json!({
        "id": "a", "name": "a lamp", "status": "new", "version": 1, "created_at": times.0, "updated_at": times.1
    });
    assert_eq!(order, expected);
}

#[tokio::test]
async fn a_create_without_an_id_makes_one_up_and_status_may_be_absent_or_new() {
    let system = System::start().await;
    let one = system.post("/").json(&json!({"name": "a lamp"})).await.with_status(201).json();
    let other =
        system.post("/").json(&json!({"name": "a lamp", "status": "new"})).await.with_status(201).json();
    assert_ne!(one["id"], other["id"]);
    let id = one["id"].as_str().unwrap();
    assert_eq!(system.get(&format!("/{id}?min_version=1")).await.with_status(200).json(), one);
}

#[tokio::test]
async fn a_create_repeated_with_the_same_name_is_200_with_the_order_as_it_is_and_409_with_another() {
    let system = System::start().await;
    let processed = system.create_and_process("a").await;
    let again = system.post("/").json(&json!({"id": "a", "name": "a lamp"})).await.with_status(200);
    assert_eq!((again.header("etag"), again.json()), ("\"3\"", processed));
    let other = system.post("/").json(&json!({"id": "a", "name": "a chair"})).await;
    assert_eq!(other.problem(409, "id-taken").field, "id");
}

#[tokio::test]
async fn the_first_clients_calls_are_taken_as_they_come() {
    let system = System::start().await;
    for (number, content_type) in
        ["application/json", "application/json; charset=utf-8", "Application/JSON;charset=UTF-8"]
            .iter()
            .enumerate()
    {
        let body = format!(r#"{{"id":"a{number}","name":"somename","status":"new"}}"#);
        let call = system.post("/").header("content-type", content_type).body(body);
        call.await.with_status(201);
    }
    let untyped = system.post("/").body(r#"{"id":"b","name":"somename"}"#);
    untyped.await.with_status(201);
    // These calls have no Content-Type and no body; a form's type, as curl -d '' sends it; an empty object; JSON's type and no
    // body.
    system.post("/a0").await.with_status(200);
    system.post("/a1").header("content-type", "application/x-www-form-urlencoded").await.with_status(200);
    system.post("/a2").json(&json!({})).await.with_status(200);
    system.post("/b").header("content-type", "application/json").await.with_status(200);
    for id in ["a0", "a1", "a2", "b"] {
        system.until_status(id, "processed").await;
    }
}

#[tokio::test]
async fn a_process_answers_with_the_order_processing_and_again_with_the_order_as_it_is() {
    let system = System::start().await;
    system.create("a").await;
    let answer = system.process("a").await;
    assert_eq!((answer.header("etag"), answer.header("location")), ("\"2\"", "/a"));
    assert_eq!(answer.json()["status"], "processing");
    let processed = system.until_status("a", "processed").await;
    assert_eq!(system.process("a").await.json(), processed);
    assert_eq!(system.event_types("a").await, ["OrderCreated", "ProcessingStarted", "OrderProcessed"]);
}

#[tokio::test]
async fn a_cancel_answers_with_the_order_cancelled_and_its_reason() {
    let system = System::start().await;
    system.create("a").await;
    let answer = system.delete("/a").json(&json!({"reason": "too late"})).await.with_status(200);
    let order = answer.json();
    assert_eq!((answer.header("etag"), answer.header("location")), ("\"2\"", "/a"));
    assert_eq!((&order["status"], &order["reason"]), (&"cancelled".into(), &"too late".into()));
    assert_eq!(system.until_version("a", 2).await, order);
    assert_eq!(system.delete("/a").await.with_status(200).json(), order, "already true");

    system.create("b").await;
    let order = system.delete("/b").await.with_status(200).json();
    assert_eq!((&order["status"], &order["reason"]), (&"cancelled".into(), &"no reason given".into()));
}

#[tokio::test]
async fn a_command_that_the_orders_state_does_not_allow_is_409_and_changes_nothing() {
    let system = System::start().await;
    let processed = system.create_and_process("done").await;
    let problem = system.delete("/done").await.problem(409, "not-allowed-in-state");
    assert!(problem.detail.contains("processed"), "{problem:?}");
    assert_eq!(system.get("/done").await.json(), processed);

    system.create("gone").await;
    let cancelled = system.delete("/gone").await.with_status(200).json();
    system.post("/gone").await.problem(409, "not-allowed-in-state");
    assert_eq!(system.until_version("gone", 2).await, cancelled);
    assert_eq!(system.event_types("gone").await, ["OrderCreated", "OrderCancelled"]);
}

#[tokio::test]
async fn a_failed_order_can_be_cancelled() {
    let system = System::start_with(&["--fulfilment", "mock:?failure_rate=1"]).await;
    system.create("a").await;
    system.process("a").await;
    system.until_status("a", "failed").await;
    let order = system.delete("/a").json(&json!({"reason": "never mind"})).await.with_status(200).json();
    assert_eq!((&order["status"], &order["version"]), (&"cancelled".into(), &4.into()));
}

#[tokio::test]
async fn if_match_lets_a_command_through_only_at_the_version_that_it_names() {
    let system = System::start().await;
    system.create("a").await;
    for stale in ["\"2\"", "\"0\""] {
        let problem = system.post("/a").header("if-match", stale).await.problem(412, "version-mismatch");
        assert_eq!(problem.field, "If-Match");
        assert!(problem.detail.contains('1'), "it says where the order is: {problem:?}");
        system.delete("/a").header("if-match", stale).await.problem(412, "version-mismatch");
    }
    let processing = system.post("/a").header("if-match", "\"1\"").await.with_status(200);
    assert_eq!(processing.version(), 2);
    system.until_status("a", "processed").await;
    system.post("/a").header("if-match", "\"1\"").await.problem(412, "version-mismatch");
    system.post("/a").header("if-match", "\"3\"").await.with_status(200);
    system.post("/a").header("if-match", "*").await.with_status(200);
}

#[tokio::test]
async fn if_match_on_a_create_names_the_order_that_is_there() {
    let system = System::start().await;
    let create = |tag| system.post("/").header("if-match", tag).json(&json!({"id": "a", "name": "a lamp"}));
    create("*").await.problem(412, "version-mismatch");
    create("\"1\"").await.problem(412, "version-mismatch");
    system.get("/a/events").await.problem(404, "order-not-found");
    system.create("a").await;
    create("\"1\"").await.with_status(200);
}

#[tokio::test]
async fn names_and_ids_of_every_allowed_kind_come_back_as_they_were_sent() {
    let system = System::start().await;
    let longest = "x".repeat(128);
    let name = "ü\u{1f4a1}".repeat(127) + "!";
    assert_eq!(name.chars().count(), 255);
    for (id, name) in
        [("A-z.0_9~", name.as_str()), (longest.as_str(), " \"quoted\" \\ <b> & 'so' "), ("...", "\u{202e}a")]
    {
        let order = system.post("/").json(&json!({"id": id, "name": name})).await.with_status(201).json();
        assert_eq!((&order["id"], &order["name"]), (&id.into(), &name.into()));
        assert_eq!(system.get(&format!("/{id}?min_version=1")).await.with_status(200).json(), order);
    }
}

#[tokio::test]
async fn options_says_what_is_allowed_and_lets_browsers_call() {
    let system = System::start().await;
    for (path, allowed) in [("/", "GET,HEAD,POST"), ("/a", "DELETE,GET,HEAD,POST"), ("/a/events", "GET,HEAD")]
    {
        let preflight = system
            .api()
            .call(Method::OPTIONS, path)
            .header("origin", "https://shop.example")
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "idempotency-key,if-match,content-type")
            .await;
        assert!(preflight.status == 200 || preflight.status == 204, "{preflight:?}");
        assert_eq!(preflight.header("access-control-allow-origin"), "*");
        assert_eq!(preflight.header("access-control-allow-methods"), "GET,HEAD,POST,DELETE,OPTIONS");
        let headers = preflight.header("access-control-allow-headers");
        for name in
            ["authorization", "content-type", "idempotency-key", "if-match", "if-none-match", "traceparent"]
        {
            assert!(headers.split(',').any(|allowed| allowed == name), "{name}: {headers}");
        }
        let mut allow: Vec<_> = preflight.header("allow").split(',').collect();
        allow.sort_unstable();
        assert_eq!(allow.join(","), allowed, "{path}");
    }
    let answer =
        system.post("/").header("origin", "https://shop.example").json(&json!({"name": "a lamp"})).await;
    assert_eq!(answer.header("access-control-allow-origin"), "*");
    for name in ["etag", "link", "location", "retry-after", "order-view"] {
        assert!(answer.header("access-control-expose-headers").contains(name), "{answer:?}");
    }
}

#[tokio::test]
async fn only_the_origins_that_are_named_may_call_from_a_browser() {
    let system = System::start_with(&["--cors-origin", "https://shop.example"]).await;
    let from = |origin| system.get("/").header("origin", origin);
    let answer = from("https://shop.example").await.with_status(200);
    assert_eq!(answer.header("access-control-allow-origin"), "https://shop.example");
    let answer = from("https://elsewhere.example").await.with_status(200);
    assert_eq!(answer.header("access-control-allow-origin"), "");
}
