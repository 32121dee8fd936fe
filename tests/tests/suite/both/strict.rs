//! HTTP as strict clients and proxies read it: RFC 9110, 9112 and 7240.

use serde_json::json;
use tests::raw::{header, request, said_to, statuses};
use tests::system::System;

/// Sends a request without a body, after which the connection is closed, and returns the whole answer.
async fn said(address: std::net::SocketAddr, line: &str, headers: &str) -> String {
    said_to(address, format!("{line}\r\n{headers}connection: close\r\n\r\n").as_bytes()).await
}

#[tokio::test]
async fn an_answer_without_a_body_never_says_that_what_it_stands_for_has_none() {
    let system = System::start().await;
    system.create("a").await;
    system.until_version("a", 1).await;
    let (api, admin) = (system.api().address(), system.admin().address());
    let page = "origin: https://shop.example\r\n";
    for headers in ["host: x\r\n", &format!("host: x\r\n{page}")] {
        for (address, path) in [
            (api, "/"),
            (api, "/a"),
            (api, "/a/events"),
            (api, "/a/versions/1"),
            (api, "/nobody"),
            (api, "/?limit=0"),
            (api, "/a/b/c"),
            (admin, "/healthz"),
            (admin, "/readyz"),
            (admin, "/nothing"),
        ] {
            let get = said(address, &format!("GET {path} HTTP/1.1"), headers).await;
            let head = said(address, &format!("HEAD {path} HTTP/1.1"), headers).await;
            assert_eq!(statuses(&head), statuses(&get), "{path}");
            assert!(head.ends_with("\r\n\r\n"), "{path}: {head}");
            assert_eq!(header(&head, "content-length"), header(&get, "content-length"), "{path}: {head}");
            assert_ne!(header(&head, "content-length"), "0", "{path}: {head}");
        }
        let put = said(api, "PUT /a HTTP/1.1", headers).await;
        assert_eq!((statuses(&put), header(&put, "allow").is_empty()), (vec![405], false), "{put}");
        for method in ["GET", "HEAD"] {
            let has = format!("{headers}if-none-match: \"1\"\r\n");
            let unchanged = said(api, &format!("{method} /a HTTP/1.1"), &has).await;
            assert_eq!(statuses(&unchanged), [304], "{unchanged}");
            assert_eq!(header(&unchanged, "content-length"), "", "{unchanged}");
            assert_eq!(header(&unchanged, "transfer-encoding"), "", "{unchanged}");
        }
    }
    // The connection goes on behind each answer.
    let all = "HEAD /nobody HTTP/1.1\r\nhost: x\r\n\r\nGET /a HTTP/1.1\r\nhost: x\r\nif-none-match: \"1\"\r\n\r\n\
               HEAD / HTTP/1.1\r\nhost: x\r\n\r\nGET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    assert_eq!(statuses(&said_to(api, all.as_bytes()).await), [404, 304, 200, 404]);
}

#[tokio::test]
async fn a_request_has_one_host() {
    let system = System::start().await;
    for address in [system.api().address(), system.admin().address()] {
        for headers in ["", "host: x\r\nhost: x\r\n", "host: a b\r\n", "host: me@x\r\n", "host: x/y\r\n"] {
            let said = said(address, "GET /healthz HTTP/1.1", headers).await;
            assert_eq!(statuses(&said), [400], "{headers:?}: {said}");
            assert!(said.contains("urn:problem:malformed-request"), "{said}");
        }
        for headers in ["host: x\r\n", "host: x:80\r\n", "host: [::1]:8080\r\n", "host:\r\n"] {
            assert_ne!(
                statuses(&said(address, "GET /healthz HTTP/1.1", headers).await),
                [400],
                "{headers:?}"
            );
        }
        let old = said(address, "GET /healthz HTTP/1.0", "").await;
        assert!(!old.contains(" 400 "), "{old}");
    }
}

#[tokio::test]
async fn a_preference_is_understood_however_it_is_written() {
    let system = System::start().await;
    for lines in [
        &["wait=0"][..],
        &["Wait = 0"],
        &["respond-async", "WAIT=0"],
        &["foo=\"a, wait=9\"; bar, wait=\"0\""],
        &["wait=0, wait=9"],
    ] {
        let call = system.get("/nobody?min_version=1");
        let call = lines.iter().fold(call, |call, line| call.header("prefer", line));
        let asked = std::time::Instant::now();
        call.await.problem(503, "view-behind");
        assert!(
            asked.elapsed() < std::time::Duration::from_millis(1_900),
            "{lines:?}: {:?}",
            asked.elapsed()
        );
    }
}

#[tokio::test]
async fn a_body_that_is_coded_is_refused_and_not_taken_as_it_is() {
    let system = System::start().await;
    let address = system.api().address();
    system.create("a").await;
    for (method, path) in [("POST", "/"), ("POST", "/a"), ("DELETE", "/a")] {
        let call = system.api().call(method.parse().unwrap(), path).header("content-encoding", "gzip");
        let answer = call.body("{}").await;
        answer.problem(415, "compressed-body");
        assert_eq!(answer.header("accept-encoding"), "identity");
    }
    let order = |id: &str| format!("{{\"id\":\"{id}\",\"name\":\"b\"}}");
    let plain = system.post("/").header("content-encoding", "identity").body(order("plain")).await;
    assert_eq!(plain.status, 201, "{}", plain.text());
    for coding in
        ["gzip, chunked", "gzip\r\ntransfer-encoding: chunked", "identity, chunked", "chunked, chunked"]
    {
        let head =
            format!("POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: {coding}\r\nconnection: close\r\n\r\n");
        let order = order("coded");
        let said =
            said_to(address, format!("{head}{:x}\r\n{order}\r\n0\r\n\r\n", order.len()).as_bytes()).await;
        assert_eq!(statuses(&said), [501], "{coding}: {said}");
    }
    system.get("/coded/events").await.with_status(404);
}

#[tokio::test]
async fn what_is_sent_twice_and_may_be_sent_once_is_refused() {
    let system = System::start().await;
    for other in ["application/json", "text/plain"] {
        let call = system.post("/").header("content-type", "application/json").header("content-type", other);
        let problem = call.body("{\"name\":\"a\"}").await.problem(400, "malformed-request");
        assert_eq!(problem.field, "content-type");
    }
    assert_eq!(system.get("/").await.json(), json!([]));
}

#[tokio::test]
async fn an_array_is_no_order_and_a_tag_is_written_in_one_way() {
    let system = System::start().await;
    for body in [r#"["a","a lamp",null]"#, r#" ["a", "a lamp", "new"]"#] {
        system.post("/").body(body).await.problem(422, "invalid-field");
    }
    system.create("b").await;
    system.delete("/b").body(r#"["no longer wanted"]"#).await.problem(422, "invalid-field");
    for tag in ["\"01\"", "\"+1\"", "\"001\""] {
        system.post("/b").header("if-match", tag).await.problem(400, "malformed-request");
    }
    assert_eq!(system.event_types("b").await, ["OrderCreated"]);
}

#[tokio::test]
async fn a_name_or_a_reason_that_nobody_can_see_is_refused() {
    let system = System::start().await;
    system.create("a").await;
    let unseen = [
        "\u{200b}",
        " ",
        "\u{202e}\u{2066}",
        "\u{3164}",
        "\u{2800}\u{ad}",
        "\u{feff}",
        "\u{e0041}",
        "\u{a0}",
    ];
    for text in unseen {
        let problem = system.post("/").json(&json!({"name": text})).await.problem(422, "invalid-field");
        assert_eq!(problem.field, "name", "{text:?}");
        let problem = system.delete("/a").json(&json!({"reason": text})).await.problem(422, "invalid-field");
        assert_eq!(problem.field, "reason", "{text:?}");
    }
    for (id, text) in [("b", "a\u{200b}"), ("c", "é"), ("d", "✓"), ("e", "—"), ("f", "\u{202b}שלום")]
    {
        system.post("/").json(&json!({"id": id, "name": text})).await.with_status(201);
    }
}

#[tokio::test]
async fn no_answer_is_taken_for_another_type_than_it_says() {
    let system = System::start().await;
    system.create("a").await;
    let answers = [
        system.get("/").await,
        system.get("/nobody").await,
        system.post("/").body("[").await,
        system.get("/").header("origin", "https://shop.example").await,
        system.admin().get("/healthz").await,
        system.admin().get("/metrics").await,
    ];
    for answer in answers {
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{answer:?}");
    }
    let said = said_to(system.api().address(), &request("PUT /a", "connection: close\r\n", "x")).await;
    assert_eq!(header(&said, "x-content-type-options"), "nosniff");
}
