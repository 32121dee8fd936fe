//! Signals to a process that is still starting, as the first process of a container. Such a process has no default action for any
//! signal.

use std::fs;
use std::process::Command;
use std::time::Duration;

use tests::poll::until;
use tests::process::{Invocation, Running, program};
use tests::report;
use tokio::net::TcpListener;

/// The time limit for an end at once. It is shorter than the time after which a start goes on without PostgreSQL.
const AT_ONCE: Duration = Duration::from_secs(4);

/// Returns a call of `orders` as process 1 of a namespace of its own. Returns `None` when that is not permitted, and prints it.
fn first_process(words: &[&str]) -> Option<Invocation> {
    let orders = program();
    let unshare = ["unshare", "--pid", "--fork", "--kill-child"];
    let tried = Command::new(unshare[0]).args(&unshare[1..]).arg("true").output();
    if !tried.is_ok_and(|tried| tried.status.success()) {
        report::not_run("orders as the first process of a container: unshare --pid is not allowed here");
        return None;
    }
    Some(Invocation::of("unshare".into(), &[&unshare[1..], &[orders.to_str().unwrap()], words].concat()))
}

/// Returns the id of the one process that this one started.
async fn child(of: &Running) -> String {
    let children = format!("/proc/{0}/task/{0}/children", of.pid());
    until("the first process", async || {
        let found = fs::read_to_string(&children).unwrap();
        found.split_whitespace().next().map(str::to_owned)
    })
    .await
}

/// Starts a server that takes connections and says nothing. Returns it and a URL for it.
async fn silent() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("postgres://127.0.0.1:{}/orders", listener.local_addr().unwrap().port());
    (listener, url)
}

#[tokio::test]
async fn a_signal_gives_up_a_start_that_waits_for_a_store() {
    let (postgres, url) = silent().await;
    for signal in ["TERM", "INT"] {
        let data = tempfile::tempdir().unwrap();
        let data = data.path().to_str().unwrap();
        let words = [
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--admin-listen",
            "127.0.0.1:0",
            "--data",
            data,
            "--read-store",
            &url,
        ];
        let Some(call) = first_process(&words) else { return };
        let running = call.start();
        let _connection = postgres.accept().await.unwrap();
        let sent = Command::new("kill").args(["-s", signal, &child(&running).await]).status();
        assert!(sent.unwrap().success());
        let finished = running.end_within(AT_ONCE).await.with_code(0);
        assert_eq!(finished.stdout, "", "nothing is promised");
    }
}

#[tokio::test]
async fn a_signal_ends_a_tool_that_waits_for_a_store() {
    let (postgres, url) = silent().await;
    let data = tempfile::tempdir().unwrap();
    let words = ["verify", "--data", data.path().to_str().unwrap(), "--read-store", &url];
    let Some(call) = first_process(&words) else { return };
    let running = call.start();
    let _connection = postgres.accept().await.unwrap();
    let sent = Command::new("kill").args(["-s", "TERM", &child(&running).await]).status();
    assert!(sent.unwrap().success());
    let finished = running.end_within(AT_ONCE).await.with_code(1);
    assert!(finished.stderr.contains("stopped by a signal"), "{finished:?}");
}
