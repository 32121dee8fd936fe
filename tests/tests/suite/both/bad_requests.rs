//! Bad input of every kind. Each is one problem, of its own type, which names the fault.

use http::Method;
use serde_json::json;
use tests::system::System;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

#[tokio::test]
async fn a_body_that_is_not_json_is_400() {
    let system = System::start().await;
    for body in
        ["", " ", "{", "nonsense", "{\"name\":\"a\"} x", "{\"name\":\"a\",}", "{'name':'a'}", "\u{feff}{}"]
    {
        for call in [system.post("/"), system.post("/").header("content-type", "application/json")] {
            call.body(body).await.problem(400, "malformed-request");
        }
    }
    system.post("/").body(&b"{\"name\":\"\xff\xfe\"}"[..]).await.problem(400, "malformed-request");
    system.create("a").await;
    system.delete("/a").body("{").await.problem(400, "malformed-request");
}

#[tokio::test]
async fn json_that_is_not_an_order_is_422_and_names_the_field() {
    let system = System::start().await;
    let too_long = "x".repeat(129);
    let long_name = "x".repeat(256);
    let cases = [
        (json!({}), "name"),
        (json!({"id": "a"}), "name"),
        (json!({"name": null}), "name"),
        (json!({"name": 7}), "name"),
        (json!({"name": ""}), "name"),
        (json!({"name": "a\nb"}), "name"),
        (json!({"name": "\u{7f}"}), "name"),
        (json!({"name": long_name}), "name"),
        (json!({"name": "a", "id": 7}), "id"),
        (json!({"name": "a", "id": ""}), "id"),
        (json!({"name": "a", "id": "."}), "id"),
        (json!({"name": "a", "id": ".."}), "id"),
        (json!({"name": "a", "id": "a b"}), "id"),
        (json!({"name": "a", "id": "a/b"}), "id"),
        (json!({"name": "a", "id": "ü"}), "id"),
        (json!({"name": "a", "id": "a\u{0}"}), "id"),
        (json!({"name": "a", "id": too_long}), "id"),
        (json!({"name": "a", "status": "processed"}), "status"),
        (json!({"name": "a", "status": "New"}), "status"),
        (json!({"name": "a", "status": true}), "status"),
        (json!({"name": "a", "colour": "red"}), "colour"),
        (json!({"name": "a", "Name": "b"}), "Name"),
    ];
    for (body, field) in cases {
        let problem = system.post("/").json(&body).await.problem(422, "invalid-field");
        assert_eq!(problem.field, field, "{body}: {problem:?}");
    }
    for (body, field) in [
        (r#"{"name":"a","name":"b"}"#, "name"),
        (r#"{"name":"a","id":"x","id":"x"}"#, "id"),
        (r#"{"name":"a","status":"new","status":"new"}"#, "status"),
    ] {
        assert_eq!(system.post("/").body(body).await.problem(422, "invalid-field").field, field, "{body}");
    }
    for body in ["[]", "7", "null", "\"a\""] {
        system.post("/").body(body).await.problem(422, "invalid-field");
    }
    assert_eq!(system.get("/").await.json(), json!([]), "nothing of it was taken");
}

#[tokio::test]
async fn a_refused_name_or_id_is_told_what_is_allowed() {
    let system = System::start().await;
    let detail = |answer: tests::http::Answer| answer.problem(422, "invalid-field").detail;
    let id = detail(system.post("/").json(&json!({"name": "a", "id": "a b"})).await);
    assert_eq!(id, "id has the character ' '; allowed: 1 to 128 of A-Z a-z 0-9 . _ ~ -, and not . or ..");
    let name = detail(system.post("/").json(&json!({"name": ""})).await);
    assert_eq!(name, "name is empty; allowed: 1 to 255 characters without control characters");
    let status = detail(system.post("/").json(&json!({"name": "a", "status": "done"})).await);
    assert_eq!(status, "status is \"done\"; allowed: \"new\", or no status");
}

#[tokio::test]
async fn bodies_of_process_and_cancel_are_checked_too() {
    let system = System::start().await;
    system.create("a").await;
    let problem = system.post("/a").body("[1]").await.problem(422, "invalid-field");
    assert_eq!(problem.field, "body");
    for (body, field) in [
        (json!({"reason": ""}), "reason"),
        (json!({"reason": 7}), "reason"),
        (json!({"reason": "x".repeat(256)}), "reason"),
        (json!({"cause": "x"}), "cause"),
    ] {
        let problem = system.delete("/a").json(&body).await.problem(422, "invalid-field");
        assert_eq!(problem.field, field, "{body}");
    }
    assert_eq!(system.event_types("a").await, ["OrderCreated"]);
}

#[tokio::test]
async fn an_id_in_the_path_that_can_be_no_orders_is_422_on_every_route() {
    let system = System::start().await;
    for id in ["a%20b", "a%2Fb", "%00", "%C3%BC", &"x".repeat(129), "a%27--"] {
        for (method, path) in [
            (Method::GET, format!("/{id}")),
            (Method::POST, format!("/{id}")),
            (Method::DELETE, format!("/{id}")),
            (Method::GET, format!("/{id}/events")),
            (Method::GET, format!("/{id}/versions/1")),
        ] {
            let problem = system.api().call(method, &path).await.problem(422, "invalid-field");
            assert_eq!(problem.field, "id", "{path}");
        }
    }
    system.get("/%ff").await.problem(400, "malformed-request");
}

#[tokio::test]
async fn an_unknown_order_is_404_for_every_command_and_query() {
    let system = System::start().await;
    for (method, path) in [
        (Method::GET, "/nobody"),
        (Method::POST, "/nobody"),
        (Method::DELETE, "/nobody"),
        (Method::GET, "/nobody/events"),
        (Method::GET, "/nobody/versions/1"),
    ] {
        system.api().call(method, path).await.problem(404, "order-not-found");
    }
}

#[tokio::test]
async fn an_unknown_path_is_404_and_not_an_order() {
    let system = System::start().await;
    for path in ["/a/b", "/a/events/1", "/a/versions", "/a/versions/1/2", "//", "/a//events", "/a/"] {
        system.get(path).await.problem(404, "unknown-route");
    }
}

#[tokio::test]
async fn another_method_is_405_and_says_which_are_allowed() {
    let system = System::start().await;
    for (method, path, allowed) in [
        ("PUT", "/", "GET,HEAD,POST"),
        ("DELETE", "/", "GET,HEAD,POST"),
        ("PUT", "/a", "DELETE,GET,HEAD,POST"),
        ("PATCH", "/a", "DELETE,GET,HEAD,POST"),
        ("BREW", "/a", "DELETE,GET,HEAD,POST"),
        ("POST", "/a/events", "GET,HEAD"),
        ("DELETE", "/a/versions/1", "GET,HEAD"),
    ] {
        let answer = system.api().call(method.parse().unwrap(), path).await;
        answer.problem(405, "method-not-allowed");
        let mut allow: Vec<_> = answer.header("allow").split(',').map(str::trim).collect();
        allow.sort_unstable();
        assert_eq!(allow.join(","), allowed, "{method} {path}");
    }
}

#[tokio::test]
async fn a_body_over_64_kib_is_413_on_every_command() {
    let system = System::start().await;
    system.create("a").await;
    let padded = |size: usize| {
        let order = r#"{"id":"b","name":"b"}"#;
        format!("{order}{}", " ".repeat(size - order.len()))
    };
    for size in [65_537, 200_000, 1_000_000] {
        let body = padded(size);
        system.post("/").body(body.clone()).await.problem(413, "body-too-large");
        system.post("/a").body(body.clone()).await.problem(413, "body-too-large");
        system.delete("/a").body(body).await.problem(413, "body-too-large");
    }
    system.post("/").body(padded(65_536)).await.with_status(201);
}

#[tokio::test]
async fn a_body_that_says_it_is_not_json_is_415() {
    let system = System::start().await;
    system.create("a").await;
    for content_type in
        ["text/plain", "application/xml", "application/json5", "application/x-www-form-urlencoded", "json"]
    {
        let call = system.post("/").header("content-type", content_type).body(r#"{"name":"a"}"#);
        let problem = call.await.problem(415, "not-json");
        assert!(problem.detail.contains(content_type), "{problem:?}");
        let call = system.delete("/a").header("content-type", content_type).body(r#"{"reason":"a"}"#);
        call.await.problem(415, "not-json");
    }
}

#[tokio::test]
async fn a_query_that_is_not_known_or_not_valid_is_422_and_names_the_parameter() {
    let system = System::start().await;
    system.create("a").await;
    for (path, field) in [
        ("/?status=done", "status"),
        ("/?status=", "status"),
        ("/?name=", "name"),
        ("/?name=a%0Ab", "name"),
        ("/?limit=0", "limit"),
        ("/?limit=501", "limit"),
        ("/?limit=-1", "limit"),
        ("/?limit=ten", "limit"),
        ("/?after=a%20b", "after"),
        ("/?colour=red", "colour"),
        ("/?limit=1&limit=2", "limit"),
        ("/a?version=1", "version"),
        ("/a?min_version=-1", "min_version"),
        ("/a?min_version=x", "min_version"),
        ("/a?min_version=9223372036854775808", "min_version"),
        ("/a/events?limit=0", "limit"),
        ("/a/events?after=x", "after"),
        ("/a/events?since=1", "since"),
        ("/a/versions/x", "version"),
        ("/a/versions/-1", "version"),
    ] {
        let problem = system.get(path).await.problem(422, "invalid-field");
        assert_eq!(problem.field, field, "{path}: {problem:?}");
    }
}

#[tokio::test]
async fn a_header_that_is_not_valid_is_refused_by_name() {
    let system = System::start().await;
    system.create("a").await;
    for tag in ["1", "\"x\"", "\"1\", \"2\"", "W/\"1\"", "\"\""] {
        let problem = system.post("/a").header("if-match", tag).await.problem(400, "malformed-request");
        assert_eq!(problem.field, "If-Match", "{tag}");
    }
    for key in ["", "a b", &"x".repeat(256)] {
        let problem = system.post("/a").key(key).await.problem(422, "invalid-field");
        assert_eq!(problem.field, "Idempotency-Key", "{key}");
    }
    let twice = system.post("/a").key("one").key("two").await.problem(400, "malformed-request");
    assert_eq!(twice.field, "idempotency-key");
    let prefer = system.get("/a?min_version=1").header("prefer", "wait=long").await;
    assert_eq!(prefer.problem(400, "malformed-request").field, "Prefer");
    assert_eq!(system.event_types("a").await, ["OrderCreated"]);
}

#[tokio::test]
async fn a_problem_has_the_trace_id_of_the_callers_traceparent_or_one_of_its_own() {
    let system = System::start().await;
    let traced =
        system.get("/nobody").header("traceparent", &format!("00-{TRACE}-00f067aa0ba902b7-01")).await;
    assert_eq!(traced.problem(404, "order-not-found").trace_id, TRACE);
    let mut own = vec![];
    for bad in [
        "",
        "nonsense",
        &format!("01-{TRACE}-00f067aa0ba902b7-01"),
        &format!("00-{TRACE}-0000000000000000-01"),
    ] {
        own.push(
            system.get("/nobody").header("traceparent", bad).await.problem(404, "order-not-found").trace_id,
        );
    }
    own.sort_unstable();
    own.dedup();
    assert!(own.len() == 4 && !own.contains(&TRACE.to_owned()), "{own:?}");
}

#[tokio::test]
async fn head_answers_as_get_does_without_a_body() {
    let system = System::start().await;
    system.create("a").await;
    system.until_version("a", 1).await;
    for (path, status) in [
        ("/", 200),
        ("/a", 200),
        ("/a/events", 200),
        ("/a/versions/1", 200),
        ("/nobody", 404),
        ("/?limit=0", 422),
    ] {
        let get = system.get(path).await.with_status(status);
        let head = system.api().call(Method::HEAD, path).await.with_status(status);
        assert!(head.body.is_empty() && !get.body.is_empty(), "{path}");
        for name in ["content-type", "etag", "cache-control"] {
            assert_eq!(head.header(name), get.header(name), "{path}: {name}");
        }
    }
}
