//! More load than the system can bear: too many requests, too many connections, slow clients, and invalid requests.

mod hostile;
mod idle;
mod shedding;
mod slow;

use tests::poll::until;
use tests::system::System;

/// Waits until so many connections are counted as timed out. Each is counted once it is closed.
async fn until_timed_out(system: &System, connections: usize) {
    let labels = [("reason", "timed-out")];
    until(&format!("{connections} connections to be counted"), async || {
        let timed_out = system.metrics().await.sum("orders_http_bad_connections_total", &labels);
        (timed_out >= connections as f64).then_some(())
    })
    .await;
}
