//! Waits for Kafka before a mapping starts, and tells the user in one line what is missing.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use event_channel::EventChannel;
use futures_util::future::select_ok;
use parking_lot::Mutex;
use runtime::Backoff;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time;

/// The time in which a broker must accept a connection. After it, a line reports that none does.
const CONNECTING: Duration = Duration::from_millis(800);
/// The waits between tries. The longest is the same as in the channel.
const WAITS: Backoff = Backoff { first: Duration::from_millis(200), longest: Duration::from_secs(2) };

/// The lists of brokers that were reported as unreachable. Each is reported once, for any number of mappings that read from it.
#[derive(Clone, Default)]
pub(crate) struct UnreachableBrokers(Arc<Mutex<BTreeSet<String>>>);

impl UnreachableBrokers {
    /// Waits until a broker accepts a connection and the topic exists. A lasting problem is reported once. Returns `false` if the
    /// program must stop before that.
    pub(crate) async fn wait_for(
        &self,
        servers: &str,
        channel: &EventChannel,
        mut stopped: watch::Receiver<bool>,
    ) -> bool {
        let is_ready = async {
            self.wait_for_a_broker(servers).await;
            let mut failures = 0;
            // The channel logs the reason for each failure.
            while channel.prepare().await.is_err() {
                failures += 1;
                time::sleep(WAITS.after(failures)).await;
            }
        };
        tokio::select! {
            biased;
            // An error means that the sender is gone.
            _ = stopped.wait_for(|stop| *stop) => false,
            () = is_ready => true,
        }
    }

    async fn wait_for_a_broker(&self, servers: &str) {
        let mut failures = 0;
        while let Err(error) = connect(servers).await {
            if self.0.lock().insert(servers.to_owned()) {
                eprintln!("kafka-trigger: no broker takes a connection at {servers}: {error}; trying again");
            }
            failures += 1;
            time::sleep(WAITS.after(failures)).await;
        }
        if self.0.lock().remove(servers) {
            eprintln!("kafka-trigger: a broker takes connections at {servers} now");
        }
    }
}

/// Connects to any of the brokers.
///
/// # Errors
/// When no broker accepts a connection in time.
async fn connect(servers: &str) -> io::Result<()> {
    let connections = servers.split(',').map(|server| Box::pin(TcpStream::connect(server.trim().to_owned())));
    match time::timeout(CONNECTING, select_ok(connections)).await {
        Ok(connected) => connected.map(drop),
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "no answer")),
    }
}
