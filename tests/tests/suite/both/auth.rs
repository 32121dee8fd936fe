//! Bearer tokens: they let callers in, and tell apart whose commits are whose.

use std::fs;
use std::path::Path;

use http::Method;
use serde_json::json;
use tests::stores::Stores;
use tests::system::{Setup, System};

const ADA: &str = "0123456789abcdef";
const BOB: &str = "fedcba9876543210";

async fn guarded(folder: &Path) -> System {
    let file = folder.join("tokens");
    fs::write(&file, format!("# who is let in\nada {ADA}\n\nbob  {BOB}\n")).unwrap();
    Setup::on(Stores::fresh()).with(&["--auth-token-file", file.to_str().unwrap()]).start().await
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

#[tokio::test]
async fn without_a_token_that_is_let_in_every_route_is_401_and_says_how() {
    let folder = tempfile::tempdir().unwrap();
    let system = guarded(folder.path()).await;
    let routes = [
        (Method::GET, "/"),
        (Method::HEAD, "/"),
        (Method::POST, "/"),
        (Method::GET, "/a"),
        (Method::POST, "/a"),
        (Method::DELETE, "/a"),
        (Method::GET, "/a/events"),
        (Method::GET, "/a/versions/1"),
    ];
    for (method, path) in routes {
        let call = || system.api().call(method.clone(), path);
        let none = call().await.with_status(401);
        assert_eq!(none.header("www-authenticate"), "Bearer realm=\"orders\"");
        let basic = format!("Basic {ADA}");
        for sent in
            [&bearer("0123456789abcdeF"), &bearer(""), &bearer(&format!("{ADA}0")), "Bearer", &basic, ADA]
        {
            let wrong = call().header("authorization", sent).await.with_status(401);
            assert_eq!(wrong.header("www-authenticate"), "Bearer realm=\"orders\", error=\"invalid_token\"");
            if method != Method::HEAD {
                wrong.problem(401, "unauthorized");
                assert!(!wrong.text().contains(ADA));
            }
        }
    }
    let preflight =
        system.api().call(Method::OPTIONS, "/a").header("access-control-request-method", "POST").await;
    assert_eq!(preflight.status, 200, "a browser asks without a token");
    system.admin().get("/healthz").await.with_status(200);
}

#[tokio::test]
async fn whose_token_it_was_is_recorded_with_the_command() {
    let folder = tempfile::tempdir().unwrap();
    let system = guarded(folder.path()).await;
    let create =
        system.post("/").header("authorization", &bearer(ADA)).json(&json!({"id": "a", "name": "a lamp"}));
    create.await.with_status(201);
    // The scheme's name may be written in any way (RFC 9110).
    system.delete("/a").header("authorization", &format!("bearer {BOB}")).await.with_status(200);
    let events = system.get("/a/events").header("authorization", &bearer(ADA)).await.with_status(200).json();
    assert_eq!((&events[0]["actor"], &events[1]["actor"]), (&"ada".into(), &"bob".into()));
}

#[tokio::test]
async fn the_same_key_of_two_callers_is_two_commands() {
    let folder = tempfile::tempdir().unwrap();
    let system = guarded(folder.path()).await;
    let create = |token, body| system.post("/").header("authorization", &bearer(token)).key("k").json(&body);
    let unnamed = || json!({"name": "a lamp"});
    let adas = create(ADA, unnamed()).await.with_status(201).json();
    let bobs = create(BOB, unnamed()).await.with_status(201).json();
    assert_ne!(adas["id"], bobs["id"], "two callers have one order");
    for (token, order) in [(ADA, &adas), (BOB, &bobs)] {
        assert_eq!(create(token, unnamed()).await.with_status(201).json(), *order);
    }
    // The same holds on one order: the second caller's command is decided for itself.
    create(ADA, json!({"id": "a", "name": "a lamp"})).await.with_status(201);
    create(BOB, json!({"id": "a", "name": "a chair"})).await.problem(409, "id-taken");
    create(BOB, json!({"id": "a", "name": "a lamp"})).await.with_status(200);
    create(ADA, json!({"id": "a", "name": "a chair"})).await.problem(422, "idempotency-key-reused");
}

#[tokio::test]
async fn a_load_sends_the_first_token_of_a_file_as_a_server_reads_it() {
    let folder = tempfile::tempdir().unwrap();
    let system = guarded(folder.path()).await;
    let file = folder.path().join("token");
    fs::write(&file, format!("# mine\nada {ADA}\n")).unwrap();
    let words = ["--orders", "3", "--clients", "2", "--json"];
    let report = system.load(&[&words[..], &["--token-file", file.to_str().unwrap()]].concat()).run().await;
    assert_eq!(report.with_code(0).json()["answered"], 6);
    let refused = system.load(&words).run().await.with_code(1);
    assert_eq!(refused.json()["errors"], json!({"create 401": 3}));
}
