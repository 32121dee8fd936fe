//! Waits for Kafka before a mapping begins, so that a newcomer is told in one line what is missing.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use event_channel::EventChannel;
use futures_util::future::select_ok;
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time;

/// How long a broker has to take a connection, before it is said that none does.
const CONNECTING: Duration = Duration::from_millis(800);
/// How long is waited before the next try; the longest wait is that of the channel too.
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// The brokers of which was said that none takes a connection: once, for whatever many mappings read from them.
#[derive(Clone, Default)]
pub(crate) struct Unreachable(Arc<Mutex<BTreeSet<String>>>);

impl Unreachable {
    /// Waits until a broker takes a connection and the topic is there. What lasts is said once. `false` when it is to stop before.
    pub(crate) async fn wait_for(
        &self,
        servers: &str,
        channel: &EventChannel,
        mut stopped: watch::Receiver<bool>,
    ) -> bool {
        let is_ready = async {
            self.wait_for_a_broker(servers).await;
            let mut wait = FIRST_WAIT;
            // The channel logs why it is not.
            while channel.prepare().await.is_err() {
                time::sleep(wait).await;
                wait = (wait * 2).min(LONGEST_WAIT);
            }
        };
        tokio::select! {
            biased;
            // An error says that the sender is gone.
            _ = stopped.wait_for(|stop| *stop) => false,
            () = is_ready => true,
        }
    }

    async fn wait_for_a_broker(&self, servers: &str) {
        let mut wait = FIRST_WAIT;
        while let Err(error) = connect(servers).await {
            if self.0.lock().insert(servers.to_owned()) {
                eprintln!("kafka-trigger: no broker takes a connection at {servers}: {error}; trying again");
            }
            time::sleep(wait).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
        if self.0.lock().remove(servers) {
            eprintln!("kafka-trigger: a broker takes connections at {servers} now");
        }
    }
}

/// Whether any of the brokers takes a connection.
async fn connect(servers: &str) -> io::Result<()> {
    let connections = servers.split(',').map(|server| Box::pin(TcpStream::connect(server.trim().to_owned())));
    match time::timeout(CONNECTING, select_ok(connections)).await {
        Ok(connected) => connected.map(drop),
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "no answer")),
    }
}
