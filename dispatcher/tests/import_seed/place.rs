//! The place of the events, and the processes that bring them there.

use std::io::{Write as _, stderr};
use std::process::{Child, Command, Stdio};
use std::sync::Once;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use tempfile::TempDir;

/// The longest wait for a condition. After it the condition counts as one that does not come true.
const PATIENCE: Duration = Duration::from_secs(60);

/// An event store, and a data folder.
pub(crate) struct Place {
    folder: TempDir,
    /// The URL of the event store, if it is not in the folder.
    url: Option<String>,
}

impl Place {
    pub(crate) fn sqlite() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), url: None }
    }

    pub(crate) fn mongodb(url: String) -> Self {
        Self { url: Some(url), ..Self::sqlite() }
    }

    pub(crate) fn folder(&self) -> &str {
        self.folder.path().to_str().unwrap()
    }

    pub(crate) fn url(&self) -> String {
        self.url.clone().unwrap_or_else(|| format!("sqlite:{}/events.db", self.folder()))
    }

    pub(crate) fn flags(&self) -> Vec<&str> {
        let mut flags = vec!["--data", self.folder()];
        flags.extend(self.url.iter().flat_map(|url| ["--event-store", url]));
        flags
    }
}

/// A process that ends with the test.
pub(crate) struct Running(Child);

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        Self(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }

    /// Kills the process by `kill -9`. It must still run.
    pub(crate) fn kill(&mut self) {
        assert_eq!(self.0.try_wait().unwrap(), None, "it has ended before it was killed");
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits until the condition is true.
pub(crate) async fn until(what: &str, is_so: impl AsyncFn() -> bool) {
    let began = Instant::now();
    while !is_so().await {
        assert!(began.elapsed() < PATIENCE, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// A topic for one test alone.
pub(crate) struct Topic {
    brokers: String,
    name: String,
}

impl Topic {
    /// A topic that is not there yet. Without a broker it returns `None` and says that the test did not run.
    pub(crate) fn fresh() -> Option<Self> {
        static SAID: Once = Once::new();
        let Ok(url) = std::env::var("TEST_KAFKA") else {
            let line = "NOT RUN: orders import-seed with a real broker, for TEST_KAFKA names none\n";
            SAID.call_once(|| stderr().write_all(line.as_bytes()).unwrap());
            return None;
        };
        let brokers = url.strip_prefix("kafka://").unwrap().split('/').next().unwrap().to_owned();
        Some(Self { brokers, name: format!("test.import-seed.{:016x}", rand::random::<u64>()) })
    }

    pub(crate) fn url(&self) -> String {
        format!("kafka://{}/{}", self.brokers, self.name)
    }

    pub(crate) async fn delete(self) {
        let mut config = ClientConfig::new();
        let admin: AdminClient<DefaultClientContext> =
            config.set("bootstrap.servers", &self.brokers).create().unwrap();
        let deleted = admin.delete_topics(&[&self.name], &AdminOptions::new()).await.unwrap();
        assert!(deleted.iter().all(Result::is_ok), "{deleted:?}");
    }
}
