//! The function as a Lambda. It connects when it is first invoked.

use clap::Parser;
use read_store::ReadStore;
use runtime::function;
use runtime::settings::{DataSettings, ReadStoreSettings};
use runtime::telemetry::TelemetrySettings;

/// The function `projector`. Its settings come from its environment.
#[derive(Parser)]
struct Settings {
    #[command(flatten)]
    data: DataSettings,
    #[command(flatten)]
    read_store: ReadStoreSettings,
    #[command(flatten)]
    telemetry: TelemetrySettings,
}

#[tokio::main]
async fn main() -> Result<(), function::Error> {
    let settings = Settings::parse();
    settings.telemetry.start()?;
    let store = ReadStore::open(&settings.read_store.url(&settings.data)).await?;
    function::run_event(async |event, _deadline| Ok(projector::project(&store, event).await?)).await
}
