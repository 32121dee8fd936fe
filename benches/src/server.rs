//! The measured processes. They are started, waited for, observed from outside, and ended however this program ends.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::probe::Probe;

/// The time limit for a server to answer, or to come to rest.
const PATIENCE: Duration = Duration::from_secs(120);

/// A running server. Dropping it ends the process and removes its data.
pub(crate) struct Server {
    child: Child,
    pid: u32,
    /// The URL at which it answers.
    pub(crate) url: String,
    /// The URL of its metrics.
    admin: Option<String>,
    data: Option<TempDir>,
    probe: Probe,
}

/// URLs of the three stores on real servers.
pub(crate) struct Stores {
    pub(crate) event_store: String,
    pub(crate) channel: String,
    pub(crate) read_store: String,
}

impl Stores {
    /// Returns the flags for a command that compares the two.
    pub(crate) fn event_and_read_store(&self) -> [String; 4] {
        ["--event-store".into(), self.event_store.clone(), "--read-store".into(), self.read_store.clone()]
    }
}

/// The size of a process in memory, in MB (10^6 bytes).
#[derive(Clone, Copy)]
pub(crate) struct Memory {
    pub(crate) now: f64,
    pub(crate) peak: f64,
}

/// Returns the `orders` binary: the one given, else cargo builds it in this program's profile.
pub(crate) async fn orders_binary(given: Option<&Path>) -> anyhow::Result<PathBuf> {
    if let Some(given) = given {
        return given.canonicalize().with_context(|| format!("--orders-bin {}", given.display()));
    }
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--package", "dispatcher", "--bin", "orders"]);
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    let built = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).kill_on_drop(true).status().await?;
    if !built.success() {
        bail!("cargo does not build the orders binary");
    }
    let here = std::env::current_exe()?;
    let binary = here.with_file_name("orders");
    if !binary.exists() {
        bail!("{} is not there; name it with --orders-bin", binary.display());
    }
    Ok(binary)
}

/// Returns the service on cqrs-es: the binary that is given, else cargo builds it as this program was built.
pub(crate) async fn peer_binary(given: Option<&Path>) -> anyhow::Result<PathBuf> {
    if let Some(given) = given {
        return given.canonicalize().with_context(|| format!("--peer-bin {}", given.display()));
    }
    let here = std::env::current_exe()?;
    let profile = here.parent().context("this program is in no folder")?;
    let target = profile.with_file_name("peers");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--locked", "--target-dir"]).arg(&target);
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    let sources = concat!(env!("CARGO_MANIFEST_DIR"), "/peers/cqrs-es");
    let built = cargo.current_dir(sources).kill_on_drop(true).status().await?;
    if !built.success() {
        bail!("cargo does not build {sources}");
    }
    let profile = if cfg!(debug_assertions) { "debug" } else { "release" };
    Ok(target.join(profile).join("orders-on-cqrs-es"))
}

impl Server {
    /// Starts the bare server.
    pub(crate) async fn bare() -> anyhow::Result<Self> {
        let listen = free_address()?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["bare", "--listen", &listen.to_string()]);
        let mut server = Self::spawn(command, listen, None)?;
        server.wait_for(&format!("http://{listen}/ready")).await?;
        Ok(server)
    }

    /// Starts the service on cqrs-es.
    pub(crate) async fn peer(binary: &Path, postgres: &str) -> anyhow::Result<Self> {
        let listen = free_address()?;
        let mut command = Command::new(binary);
        command.arg(listen.to_string()).arg(postgres);
        let mut server = Self::spawn(command, listen, None)?;
        server.wait_for(&format!("http://{listen}/ready")).await?;
        Ok(server)
    }

    /// Starts `orders serve` on a folder of its own.
    pub(crate) async fn orders(binary: &Path, data: TempDir) -> anyhow::Result<Self> {
        let words = on_data(data.path());
        Self::serve(binary, &words, Some(data)).await
    }

    /// Starts `orders serve` on real servers.
    pub(crate) async fn orders_on(binary: &Path, stores: &Stores) -> anyhow::Result<Self> {
        // Several may run at a time, and each needs a folder of its own.
        let data = folder()?;
        let more = [
            "--channel".to_owned(),
            stores.channel.clone(),
            "--data".to_owned(),
            data.path().display().to_string(),
        ];
        Self::serve(binary, &[&stores.event_and_read_store()[..], &more].concat(), Some(data)).await
    }

    async fn serve(binary: &Path, stores: &[String], data: Option<TempDir>) -> anyhow::Result<Self> {
        let (listen, admin) = (free_address()?, free_address()?);
        let mut command = Command::new(binary);
        command.args(["serve", "--log", "warn"]);
        command.args(["--listen", &listen.to_string(), "--admin-listen", &admin.to_string()]);
        command.args(stores);
        // Reminders are due within a measurement, so that they are part of it.
        command.env("ORDERS_REMINDER_AFTER", "5");
        let mut server = Self::spawn(command, listen, data)?;
        let admin = format!("http://{admin}");
        server.wait_for(&format!("{admin}/readyz")).await?;
        server.admin = Some(admin);
        Ok(server)
    }

    fn spawn(mut command: Command, listen: SocketAddr, data: Option<TempDir>) -> anyhow::Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
        let child = command.spawn().with_context(|| format!("{command:?}"))?;
        let pid = child.id().context("the server ended at once")?;
        Ok(Self { child, pid, url: format!("http://{listen}"), admin: None, data, probe: Probe::new() })
    }

    /// Waits until a GET is answered with 200.
    async fn wait_for(&mut self, url: &str) -> anyhow::Result<()> {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            if let Some(status) = self.child.try_wait()? {
                bail!("the server at {} ended: {status}", self.url);
            }
            if self.probe.get(url).await.is_ok_and(|status| status.is_success()) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        bail!("{url} does not answer 200 within {PATIENCE:?}")
    }

    /// The folder of its data.
    pub(crate) fn data(&self) -> anyhow::Result<&Path> {
        self.data.as_ref().map(TempDir::path).context("this server has no data")
    }

    /// The address of its metrics: `http://HOST:PORT`.
    fn admin(&self) -> anyhow::Result<&str> {
        self.admin.as_deref().context("this server has no metrics")
    }

    /// Returns its own count of events with this result of its projector: `applied`, `held`.
    pub(crate) async fn projected(&self, result: &str) -> anyhow::Result<u64> {
        let metrics = self.probe.text(&format!("{}/metrics", self.admin()?)).await?;
        let label = format!("result=\"{result}\"");
        let counted =
            |line: &&str| line.starts_with("orders_projected_events_total{") && line.contains(&label);
        let Some(line) = metrics.lines().find(counted) else { return Ok(0) };
        let value = line.rsplit(' ').next().context("a metric without a value")?;
        value.parse().with_context(|| format!("{line}: not a count"))
    }

    /// Returns how much of the machine's memory it has.
    pub(crate) fn memory(&self) -> anyhow::Result<Memory> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid))?;
        let field = |name: &str| -> anyhow::Result<f64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let kilobytes = line.and_then(|rest| rest.trim_start_matches(':').split_whitespace().next());
            Ok(kilobytes.with_context(|| format!("no {name} in /proc"))?.parse::<f64>()? * 1024.0 / 1e6)
        };
        Ok(Memory { now: field("VmRSS")?, peak: field("VmHWM")? })
    }

    /// Waits until it uses no processor any more. Work that goes on after the last answer would slow down the next measurement.
    pub(crate) async fn rest(&self) -> anyhow::Result<()> {
        let end = Instant::now() + PATIENCE;
        let mut before = self.processor_ticks()?;
        while Instant::now() < end {
            tokio::time::sleep(Duration::from_millis(300)).await;
            let now = self.processor_ticks()?;
            if now - before <= 1 {
                return Ok(());
            }
            before = now;
        }
        bail!("{} does not come to rest within {PATIENCE:?}", self.url)
    }

    /// Returns the processor time that it has used, in hundredths of a second.
    fn processor_ticks(&self) -> anyhow::Result<u64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid))?;
        // The fields begin after the name in brackets. User and system time are the fields 14 and 15 of the whole line.
        let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
        let times = fields.split_whitespace().skip(11).take(2);
        times.map(|ticks| ticks.parse::<u64>().context("/proc/PID/stat is not as expected")).sum()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It must be gone before its folder is removed. A killed process ends at once; the bound is for one that is
        // stuck in the kernel.
        let _ = self.child.start_kill();
        let end = Instant::now() + Duration::from_secs(5);
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < end {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Makes a folder for data, which is deleted when it is dropped.
pub(crate) fn folder() -> anyhow::Result<TempDir> {
    Ok(tempfile::Builder::new().prefix("orders-bench-").tempdir()?)
}

/// Returns the flags with which a command of `orders` works on a folder.
pub(crate) fn on_data(data: &Path) -> [String; 4] {
    ["--data".into(), data.display().to_string(), "--event-store".into(), event_store(data)]
}

/// The URL of the event store in a folder.
pub(crate) fn event_store(data: &Path) -> String {
    format!("sqlite:{}", data.join("events.db").display())
}

/// Waits for Ctrl-C or SIGTERM.
pub(crate) async fn ending_signal() -> anyhow::Result<()> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted?,
        _ = terminate.recv() => {}
    }
    Ok(())
}

fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}
