//! A second load program, by other hands: Go's net/http with nothing of ours in it. How much of a server's work a client lets it show
//! depends on what the client itself costs, for both share the processors.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use tempfile::TempDir;
use tokio::process::Command;

/// Its sources.
const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/plain-client");

/// The client, compiled. Gone when this is dropped.
pub(crate) struct PlainClient {
    binary: PathBuf,
    _folder: TempDir,
}

impl PlainClient {
    /// Compiles it; `None`, and a line that says so, where there is no Go.
    pub(crate) async fn build() -> anyhow::Result<Option<Self>> {
        let folder = tempfile::tempdir()?;
        let binary = folder.path().join("plain-client");
        let mut go = Command::new("go");
        go.args(["build", "-o"]).arg(&binary).arg(".").current_dir(SOURCES).kill_on_drop(true);
        let built = match go.output().await {
            Ok(built) => built,
            Err(error) => {
                eprintln!("NOT RUN: the plain Go client: go: {error}");
                return Ok(None);
            }
        };
        if !built.status.success() {
            bail!("go build: {}\n{}", built.status, String::from_utf8_lossy(&built.stderr));
        }
        Ok(Some(Self { binary, _folder: folder }))
    }

    /// Creates orders; how many a second were acknowledged.
    pub(crate) async fn create(
        &self,
        url: &str,
        orders: u64,
        clients: u32,
        prefix: &str,
    ) -> anyhow::Result<f64> {
        let binary: &Path = &self.binary;
        let (orders, clients) = (orders.to_string(), clients.to_string());
        let mut command = Command::new(binary);
        command.args(["-url", url, "-orders", &orders, "-clients", &clients, "-prefix", prefix]);
        let said = command.kill_on_drop(true).output().await.context("the plain client")?;
        let text = String::from_utf8_lossy(&said.stdout);
        if !said.status.success() {
            bail!("the plain client: {}\n{}", said.status, String::from_utf8_lossy(&said.stderr));
        }
        text.trim().parse().with_context(|| format!("the plain client says {text}"))
    }
}
