//! Runs `orders load`: the same program against every server.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Output;

use anyhow::{Context, bail};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::process::Command;

/// The output of `orders load --json`, as far as it is used here.
#[derive(Deserialize)]
pub(crate) struct Load {
    /// Calls a second.
    pub(crate) per_second: f64,
    calls: BTreeMap<String, Series>,
}

#[derive(Deserialize)]
struct Series {
    latency_ms: Latency,
}

/// Latencies in milliseconds.
#[derive(Clone, Copy, Deserialize)]
pub(crate) struct Latency {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

impl Load {
    /// Returns the latency of one kind of call.
    pub(crate) fn latency(&self, call: &str) -> anyhow::Result<Latency> {
        Ok(self.calls.get(call).with_context(|| format!("the load made no {call}"))?.latency_ms)
    }
}

/// The output of `orders load --verify --json`.
#[derive(Deserialize)]
pub(crate) struct VerifyReport {
    pub(crate) orders: u64,
    pub(crate) missed: u64,
}

/// The `orders` binary as a client.
pub(crate) struct Orders {
    pub(crate) binary: PathBuf,
}

impl Orders {
    /// Puts a load on a server; every call must be answered with success.
    pub(crate) async fn load(
        &self,
        url: &str,
        orders: u64,
        clients: u32,
        more: &[&str],
    ) -> anyhow::Result<Load> {
        let (orders, clients) = (orders.to_string(), clients.to_string());
        let words = ["load", "--json", "--url", url, "--orders", &orders, "--clients", &clients];
        self.json(&[&words, more].concat()).await
    }

    /// Reads back the orders that a load noted.
    pub(crate) async fn read_back(&self, url: &str, file: &Path) -> anyhow::Result<VerifyReport> {
        let file = file.display().to_string();
        self.json(&["load", "--json", "--url", url, "--within", "120", "--verify", &file]).await
    }

    async fn json<T: DeserializeOwned>(&self, words: &[&str]) -> anyhow::Result<T> {
        let said = self.run(words).await?;
        let text = String::from_utf8_lossy(&said.stdout);
        if !said.status.success() {
            bail!(
                "orders {}: {}\n{text}{}",
                words.join(" "),
                said.status,
                String::from_utf8_lossy(&said.stderr)
            );
        }
        serde_json::from_str(&text).with_context(|| format!("orders {} says {text}", words.join(" ")))
    }

    /// Runs a command to its end.
    pub(crate) async fn run(&self, words: &[&str]) -> anyhow::Result<Output> {
        let mut command = Command::new(&self.binary);
        command.args(words).kill_on_drop(true);
        command.output().await.with_context(|| format!("{}", self.binary.display()))
    }

    /// Runs a command, and fails when the command fails.
    pub(crate) async fn run_well(&self, words: &[&str]) -> anyhow::Result<()> {
        let said = self.run(words).await?;
        if !said.status.success() {
            let text = [said.stdout, said.stderr].concat();
            bail!("orders {}: {}\n{}", words.join(" "), said.status, String::from_utf8_lossy(&text));
        }
        Ok(())
    }
}
