//! The function as a Lambda. It connects when it is first invoked.

use std::time::Duration;

use clap::Parser;
use domain::APPLICATION;
use query::Waits;
use read_store::ReadStore;
use runtime::function;
use runtime::settings::{self, ViewFunctionSettings, seconds};

/// A Lambda works on one event at a time.
const CONNECTIONS: usize = 1;

#[derive(Parser)]
struct Settings {
    #[command(flatten)]
    view: ViewFunctionSettings,
    /// Seconds that `min_version` waits at the most: an invocation that waits is one of those that the account may run at a time.
    #[arg(long, env = "LONGEST_WAIT", value_parser = seconds, default_value = "1")]
    longest_wait: Duration,
}

#[tokio::main]
async fn main() -> Result<(), function::Error> {
    let Settings { view, longest_wait } = settings::parse(APPLICATION);
    view.telemetry.start()?;
    function::run_http(APPLICATION, async || {
        let store = ReadStore::open_with(view.url().await?, CONNECTIONS).await?;
        Ok(query::router(store, Waits::up_to(longest_wait)))
    })
    .await
}
