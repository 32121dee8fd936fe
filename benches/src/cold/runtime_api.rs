//! Lambda's side of a function: its process, and the Runtime API that it asks for events ("Using the Lambda runtime API for
//! custom runtimes"). It takes the times where Lambda would.

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, bail};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path as Parameters, State};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::share::Share;

/// The time limit for a function to start or to answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// The time that a function has until its deadline.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A function's process. Dropping it ends it.
pub(crate) struct Instance {
    child: Child,
    started: Instant,
    events: mpsc::UnboundedSender<String>,
    calls: mpsc::UnboundedReceiver<(Instant, Call)>,
    server: JoinHandle<()>,
}

/// A call of the Runtime API.
enum Call {
    Next,
    Response(Bytes),
    Error(Bytes),
}

#[derive(Clone)]
struct Api {
    events: Arc<Mutex<mpsc::UnboundedReceiver<String>>>,
    calls: mpsc::UnboundedSender<(Instant, Call)>,
}

impl Instance {
    /// Starts the function with these variables, and the clock. If a share of a processor is given, the function gets no more
    /// than that.
    pub(crate) async fn start(
        binary: &Path,
        variables: &[(&str, &str)],
        share: Option<&Share>,
    ) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (events, received) = mpsc::unbounded_channel();
        let (called, calls) = mpsc::unbounded_channel();
        let api = Api { events: Arc::new(Mutex::new(received)), calls: called };
        let server = tokio::spawn(async move {
            // A failure shows as a function that does not answer.
            let _ = axum::serve(listener, api.router()).await;
        });
        let mut command = Command::new(binary);
        command.env_clear().envs(variables.iter().copied());
        command
            .env("AWS_LAMBDA_RUNTIME_API", address.to_string())
            .env("AWS_LAMBDA_FUNCTION_NAME", "measured");
        command.env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST").env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        let started = Instant::now();
        let child = command.spawn().with_context(|| binary.display().to_string())?;
        if let (Some(share), Some(process)) = (share, child.id()) {
            share.take(process)?;
        }
        Ok(Self { child, started, events, calls, server })
    }

    /// Returns the milliseconds from its start until it asks for its first event.
    pub(crate) async fn until_ready(&mut self) -> anyhow::Result<f64> {
        match self.call().await? {
            (at, Call::Next) => Ok(milliseconds(at - self.started)),
            (_, Call::Response(said) | Call::Error(said)) => bail!("it begins with {said:?}"),
        }
    }

    /// Returns its resident memory, in MB (10^6 bytes).
    pub(crate) fn resident(&self) -> anyhow::Result<f64> {
        self.memory("VmRSS:")
    }

    /// Returns the largest resident memory that it ever had.
    pub(crate) fn most_resident(&self) -> anyhow::Result<f64> {
        self.memory("VmHWM:")
    }

    fn memory(&self, field: &str) -> anyhow::Result<f64> {
        let pid = self.child.id().context("it has ended")?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        let line = line.with_context(|| format!("no {field} in /proc"))?;
        let kilobytes: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
        Ok(kilobytes * 1024.0 / 1e6)
    }

    /// Hands over an event, and waits until the function has answered and asks for more. Returns the answer, and the milliseconds
    /// until it was there.
    pub(crate) async fn invoke(&mut self, event: &Value) -> anyhow::Result<(Value, f64)> {
        let began = Instant::now();
        self.events.send(event.to_string()).context("the Runtime API has ended")?;
        let (at, answer) = match self.call().await? {
            (at, Call::Response(answer)) => (at, answer),
            (_, Call::Error(error)) => bail!("it failed: {}", String::from_utf8_lossy(&error)),
            (_, Call::Next) => bail!("it asks for more and has not answered"),
        };
        match self.call().await? {
            (_, Call::Next) => Ok((serde_json::from_slice(&answer)?, milliseconds(at - began))),
            (_, Call::Response(_) | Call::Error(_)) => bail!("it answers twice"),
        }
    }

    /// Hands over an event that waits for the function. Returns the answer, and the milliseconds from exec until it was there.
    pub(crate) async fn cold_request(&mut self, event: &Value) -> anyhow::Result<(Value, f64)> {
        self.events.send(event.to_string()).context("the Runtime API has ended")?;
        self.until_ready().await?;
        match self.call().await? {
            (at, Call::Response(answer)) => {
                Ok((serde_json::from_slice(&answer)?, milliseconds(at - self.started)))
            }
            (_, Call::Error(error)) => bail!("it failed: {}", String::from_utf8_lossy(&error)),
            (_, Call::Next) => bail!("it asks for more and has not answered"),
        }
    }

    async fn call(&mut self) -> anyhow::Result<(Instant, Call)> {
        tokio::select! {
            call = timeout(PATIENCE, self.calls.recv()) => {
                call.with_context(|| format!("it does nothing for {PATIENCE:?}"))?.context("the Runtime API has ended")
            }
            ended = self.child.wait() => bail!("it has ended: {}", ended?),
        }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Api {
    fn router(self) -> Router {
        Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next))
            .route("/2018-06-01/runtime/invocation/{id}/response", post(response))
            .route("/2018-06-01/runtime/invocation/{id}/error", post(error))
            .with_state(self)
    }

    fn tell(&self, call: Call) {
        // Nobody listens any more once the instance is dropped.
        let _ = self.calls.send((Instant::now(), call));
    }
}

async fn next(State(api): State<Api>) -> impl IntoResponse {
    api.tell(Call::Next);
    // None once the instance is dropped, and then nobody reads the answer.
    let event = api.events.lock().await.recv().await.unwrap_or_default();
    let deadline = (SystemTime::now() + TIMEOUT).duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let headers = [
        ("lambda-runtime-aws-request-id", "8476a536-e9f4-11e8-9739-2dfe598c3fcd".to_owned()),
        ("lambda-runtime-deadline-ms", deadline.as_millis().to_string()),
        (
            "lambda-runtime-invoked-function-arn",
            "arn:aws:lambda:eu-west-1:123456789012:function:f".to_owned(),
        ),
    ];
    (headers, event)
}

async fn response(State(api): State<Api>, Parameters(_id): Parameters<String>, body: Bytes) {
    api.tell(Call::Response(body));
}

async fn error(State(api): State<Api>, Parameters(_id): Parameters<String>, body: Bytes) {
    api.tell(Call::Error(body));
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
