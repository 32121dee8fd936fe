//! The function as a Lambda. It connects when it is first invoked.

use clap::Parser;
use event_store::EventStore;
use runtime::function;
use runtime::settings::{DataSettings, EventStoreSettings};
use runtime::telemetry::TelemetrySettings;

/// The function `history`. Its settings come from its environment.
#[derive(Parser)]
struct Settings {
    #[command(flatten)]
    data: DataSettings,
    #[command(flatten)]
    event_store: EventStoreSettings,
    #[command(flatten)]
    telemetry: TelemetrySettings,
}

#[tokio::main]
async fn main() -> Result<(), function::Error> {
    let settings = Settings::parse();
    settings.telemetry.start()?;
    let store = EventStore::open(&settings.event_store.url(&settings.data)).await?;
    function::run_http(history::router(store)).await
}
