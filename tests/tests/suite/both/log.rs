//! The log: nobody waits for it, and clients' faults do not get into it.

use futures_util::future::join_all;
use tests::poll::until;
use tests::process::Invocation;
use tests::raw::{Leaving, send_and_leave};
use tests::stores::Stores;
use tests::system::{Setup, System};

#[tokio::test]
async fn a_log_that_nobody_reads_stops_nothing_and_what_is_lost_is_counted() {
    let setup = Setup::on(Stores::fresh()).with(&["--log", "debug"]);
    let mut system = setup.with_server(Invocation::with_unread_log).start().await;
    until("lines to be lost", async || {
        join_all((0..100).map(|_| async { system.get("/nobody").await.with_status(404) })).await;
        (system.metrics().await.sum("orders_log_lines_lost_total", &[]) > 0.0).then_some(())
    })
    .await;
    system.admin().get("/healthz").await.with_status(200);
    system.create_and_process("a").await;
    system.stop().await;
}

#[tokio::test]
async fn what_clients_do_wrong_is_counted_and_not_logged() {
    let mut system = System::start().await;
    let before = system.server().stderr();
    for _ in 0..3 {
        let cut = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{\"name\":";
        let clients = (0..100).map(|_| send_and_leave(system.api().address(), cut, Leaving::Closing));
        join_all(clients).await;
    }
    system.get("/nobody?min_version=1").header("prefer", "wait=0").await.problem(503, "view-behind");
    system.post("/").body("{").await.problem(400, "malformed-request");
    until("each of them to be counted", async || {
        let metrics = system.metrics().await;
        let bad = metrics.sum("orders_http_requests_total", &[("method", "POST"), ("status", "4xx")]);
        (bad == 301.0).then_some(())
    })
    .await;
    system.stop().await.stderr.strip_prefix(&before).map_or_else(
        || panic!("the log has changed"),
        |log| {
            let lines: Vec<_> =
                log.lines().filter(|line| line.contains("WARN") || line.contains("ERROR")).collect();
            assert!(lines.is_empty(), "{lines:?}");
        },
    );
}
