//! The function as a Lambda. It connects when it is first invoked.

use clap::Parser;
use read_store::ReadStore;
use runtime::function;
use runtime::settings::ViewFunctionSettings;

/// A Lambda works on one event at a time.
const CONNECTIONS: usize = 1;

#[tokio::main]
async fn main() -> Result<(), function::Error> {
    let settings = ViewFunctionSettings::parse();
    settings.telemetry.start()?;
    function::run_event(
        async || Ok(ReadStore::open_with(&settings.url().await?, CONNECTIONS).await?),
        async |store, event, _deadline| Ok(projector::project(store, event).await?),
    )
    .await
}
