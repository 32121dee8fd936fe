//! Strangers: their attempts cost those who have a token nothing.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use futures_util::future::join_all;
use serde_json::json;
use tests::poll::until;
use tests::raw::{connections, request, said_to, statuses};
use tests::stores::Stores;
use tests::system::{Setup, System};

use super::shutdown::HalfSent;

const ADA: &str = "0123456789abcdef";
const BOB: &str = "fedcba9876543210";

fn tokens(folder: &Path, text: &str) -> PathBuf {
    let file = folder.join("tokens");
    fs::write(&file, text).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    file
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

async fn guarded(file: &Path, flags: &[&str]) -> System {
    let file = ["--auth-token-file", file.to_str().unwrap()];
    Setup::on(Stores::fresh()).with(&[&file, flags].concat()).start().await
}

#[tokio::test]
async fn bodies_of_strangers_take_no_place_and_those_of_a_caller_only_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let file = tokens(folder.path(), &format!("ada {ADA}\nbob {BOB}\n"));
    let system = guarded(&file, &["--max-in-flight", "1"]).await;
    let address = system.api().address();
    // Each request is answered after its head, while its body is on its way.
    let begun = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 90\r\nconnection: close\r\n\r\n{";
    let strangers = join_all((0..30).map(|_| said_to(address, begun)));
    let callers = async {
        let of_ada = format!("authorization: {}\r\n", bearer(ADA));
        let hers = HalfSent::create_with(&system, "ada", &of_ada);
        // It is the only body of hers that may be on its way.
        let another = format!("POST / HTTP/1.1\r\nhost: x\r\n{of_ada}content-length: 9\r\n\r\n{{");
        let another = said_to(address, another.as_bytes()).await;
        assert!(statuses(&another) == [503] && another.contains("retry-after: 1"), "{another}");
        let order = json!({"id": "bob", "name": "a lamp"});
        system.post("/").header("authorization", &bearer(BOB)).json(&order).await.with_status(201);
        let said = hers.finish();
        assert!(said.starts_with("HTTP/1.1 201 "), "{said}");
    };
    let (said, ()) = tokio::join!(strangers, callers);
    assert!(said.iter().all(|said| statuses(said) == [401]), "{said:?}");
}

#[tokio::test]
async fn a_stranger_is_not_asked_for_its_body() {
    let folder = tempfile::tempdir().unwrap();
    let system = guarded(&tokens(folder.path(), &format!("ada {ADA}\n")), &[]).await;
    let head = b"POST / HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 30\r\n\r\n";
    let said = said_to(system.api().address(), head).await;
    assert_eq!(statuses(&said), [401], "{said}");
    // A stranger that sends its body unasked reads its answer all the same.
    let body = "x".repeat(200_000);
    let said = said_to(system.api().address(), &request("POST /", "connection: close\r\n", &body)).await;
    assert_eq!(statuses(&said), [401], "{said}");
}

#[tokio::test]
async fn wrong_tokens_are_counted_apart_and_logged_now_and_then() {
    let folder = tempfile::tempdir().unwrap();
    let mut system = guarded(&tokens(folder.path(), &format!("ada {ADA}\n")), &[]).await;
    for _ in 0..200 {
        system.get("/").header("authorization", &bearer("a-token-of-nobody")).await.with_status(401);
    }
    system.get("/?limit=0").header("authorization", &bearer(ADA)).await.with_status(422);
    let counted =
        async |status| system.metrics().await.sum("orders_http_requests_total", &[("status", status)]);
    assert_eq!((counted("unauthorized").await, counted("4xx").await), (200.0, 1.0));
    let log = system.stop().await.stderr;
    let lines = log.lines().filter(|line| line.contains("wrong token")).count();
    assert!((1..20).contains(&lines) && !log.contains("nobody"), "{log}");
}

#[tokio::test]
async fn two_tokens_in_one_request_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let system = guarded(&tokens(folder.path(), &format!("ada {ADA}\n")), &[]).await;
    let twice = system.get("/").header("authorization", &bearer(ADA)).header("authorization", &bearer(ADA));
    twice.await.problem(400, "malformed-request");
}

#[tokio::test]
async fn what_the_file_of_tokens_says_is_so_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let file = tokens(folder.path(), &format!("ada {ADA}\nbob {BOB}\n"));
    let mut system = guarded(&file, &[]).await;
    let status = async |system: &System, token: &str| {
        system.get("/").header("authorization", &bearer(token)).await.status
    };
    assert_eq!((status(&system, ADA).await, status(&system, BOB).await), (200, 200));

    tokens(folder.path(), &format!("ada {ADA}\n"));
    until("bob to be shut out", async || (status(&system, BOB).await == 401).then_some(())).await;
    assert_eq!(status(&system, ADA).await, 200);

    // A file that can't be read changes nothing.
    tokens(folder.path(), "ada short\n");
    system.server().signal("HUP");
    let said = "the tokens stay as they were";
    until("that to be logged", async || system.server().stderr().contains(said).then_some(())).await;
    assert_eq!(status(&system, ADA).await, 200);

    // The file changes in the same second and keeps its length, so the signal alone tells of the change.
    tokens(folder.path(), &format!("bob {BOB}\n"));
    system.server().signal("HUP");
    until("bob to be let in", async || (status(&system, BOB).await == 200).then_some(())).await;
    assert_eq!(status(&system, ADA).await, 401);
    let log = system.stop().await.stderr;
    assert!(!log.contains(ADA) && !log.contains(BOB) && !log.contains("can read"), "{log}");
}

#[tokio::test]
async fn a_file_of_tokens_that_everybody_can_read_is_warned_of() {
    let folder = tempfile::tempdir().unwrap();
    let file = tokens(folder.path(), &format!("ada {ADA}\n"));
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let mut system = guarded(&file, &[]).await;
    let warning = system.stop().await.stderr;
    assert!(warning.contains("everybody on this machine can read the tokens"), "{warning}");
}

#[tokio::test]
async fn beyond_this_machine_metrics_take_a_token_and_readiness_none() {
    let folder = tempfile::tempdir().unwrap();
    let file = tokens(folder.path(), &format!("ada {ADA}\n"));
    let flags = ["--auth-token-file", file.to_str().unwrap()];
    let anywhere = "0.0.0.0:0".parse().unwrap();
    let everywhere =
        || Setup::on(Stores::fresh()).listening_at(anywhere).with_admin_at(anywhere).with(&flags);
    let system = everywhere().start().await;
    system.admin().get("/healthz").await.with_status(200);
    system.admin().get("/readyz").await.with_status(200);
    system.admin().get("/metrics").await.with_status(401).problem(401, "unauthorized");
    system.admin().get("/metrics").header("authorization", &bearer(ADA)).await.with_status(200);
    system.get("/").await.with_status(401);
    // Each listener has its own switch: this one does not open the API.
    let system = everywhere().with(&["--admin-allow-unauthenticated"]).start().await;
    system.admin().get("/metrics").await.with_status(200);
    system.get("/").await.with_status(401);
}

#[tokio::test]
async fn idle_connections_leave_room_for_requests_and_for_readiness() {
    let setup = Setup::on(Stores::fresh()).with_server(|server| server.with_files(256));
    let system = setup.start().await;
    let address = system.api().address();
    let idle = connections(address, 90).await;
    for _ in 0..4 {
        drop(connections(address, 60).await);
        system.admin().get("/readyz").await.with_status(200);
    }
    let crowd = connections(address, 90).await;
    system.admin().get("/readyz").await.with_status(200);
    system.create_and_process("a").await;
    let crowded_out = [("reason", "crowded-out")];
    let counted = async || {
        (system.metrics().await.sum("orders_http_bad_connections_total", &crowded_out) >= 80.0).then_some(())
    };
    until("the oldest to be closed", counted).await;
    let closed = |stream: &&tokio::net::TcpStream| matches!(stream.try_read(&mut [0]), Ok(0));
    let (of_idle, of_crowd) = (idle.iter().filter(closed).count(), crowd.iter().filter(closed).count());
    assert!(of_idle > of_crowd, "{of_idle} of those that were first, {of_crowd} of those that were last");
}
