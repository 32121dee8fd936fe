//! A second load program, with nothing of ours in it: Go's net/http. Client and server share the processors. So a client that
//! costs more lets the server show less of its work.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use tempfile::TempDir;
use tokio::process::Command;

/// The folder of its sources.
const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/plain-client");

/// The compiled client. It is deleted when this is dropped.
pub(crate) struct PlainClient {
    binary: PathBuf,
    _folder: TempDir,
}

impl PlainClient {
    /// Compiles it. Returns `None` and prints a line when there is no Go.
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

    /// Creates orders, and returns how many a second were acknowledged.
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
