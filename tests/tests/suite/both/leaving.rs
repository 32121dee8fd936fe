//! Clients that go away: their commands are done, whether they hear of it or not.

use futures_util::future::join_all;
use tests::poll::until;
use tests::raw::{Leaving, request, said_to_half_closed, send_and_leave};
use tests::stores::Stores;
use tests::system::{Setup, System};

/// With this age the relay leaves everything alone.
const NO_RELAY: [&str; 2] = ["--relay-min-age", "86400"];

const CLIENTS: usize = 60;

fn create(id: &str) -> Vec<u8> {
    request("POST /", "", &format!(r#"{{"id":"{id}","name":"a lamp"}}"#))
}

#[tokio::test]
async fn a_command_whose_client_goes_away_is_done_published_and_counted() {
    let system = Setup::on(Stores::fresh()).with(&NO_RELAY).start().await;
    for leaving in [Leaving::Closing, Leaving::Reset] {
        let address = system.api().address();
        let before = counted(&system).await;
        let clients = (0..CLIENTS).map(|number| async move {
            send_and_leave(address, &create(&format!("{leaving:?}-{number}")), leaving).await;
        });
        join_all(clients).await;
        // A client that resets its connection before the server has read anything has sent nothing.
        let enough = async || {
            let (requests, commands) = counted(&system).await;
            let (requests, commands) = (requests - before.0, commands - before.1);
            let is_all = commands == CLIENTS as f64 || leaving == Leaving::Reset;
            (requests == commands && commands > 0.0 && is_all).then_some(())
        };
        until("each command to be counted", enough).await;
    }
    // No command is done without being counted, and each that is done is shown.
    until("each command that was done to be counted and shown", async || {
        let in_store = async |id: String| system.get(&format!("/{id}/events")).await.status == 200;
        let of_reset = join_all((0..CLIENTS).map(|number| in_store(format!("Reset-{number}")))).await;
        let done = CLIENTS + of_reset.into_iter().filter(|is_there| *is_there).count();
        let shown = system.get("/").await.json().as_array().unwrap().len();
        (shown == done && counted(&system).await.1 == done as f64).then_some(())
    })
    .await;
}

/// Returns the number of creates, as requests and as commands.
async fn counted(system: &System) -> (f64, f64) {
    let metrics = system.metrics().await;
    let requests = [("method", "POST"), ("status", "2xx")];
    let commands = [("command", "create"), ("result", "done")];
    (metrics.sum("orders_http_requests_total", &requests), metrics.sum("orders_commands_total", &commands))
}

#[tokio::test]
async fn a_client_that_closes_its_own_side_behind_its_request_is_answered() {
    let system = System::start().await;
    let address = system.api().address();
    for number in 0..20 {
        let said = said_to_half_closed(address, &create(&format!("a{number}"))).await;
        assert!(said.starts_with("HTTP/1.1 201 "), "{said}");
    }
    system.until_version("a19", 1).await;
    let said = said_to_half_closed(address, b"GET /a19?min_version=1 HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(said.starts_with("HTTP/1.1 200 "), "{said}");
}
