//! The function as a Lambda. It connects when it is first invoked.

use clap::Parser;
use domain::{APPLICATION, Order};
use event_store::{EventStore, Namespace, Of};
use runtime::settings::{self, DataSettings, EventStoreSettings};
use runtime::telemetry::TelemetrySettings;
use runtime::{function, secrets};

/// A Lambda works on one event at a time.
const CONNECTIONS: u32 = 1;

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
    let settings = settings::parse::<Settings>(APPLICATION);
    settings.telemetry.start()?;
    function::run_http(APPLICATION, async || {
        let url = secrets::resolve(&settings.event_store.url(&settings.data)).await?;
        let namespace = Namespace::of::<Order>(APPLICATION)?;
        Ok(history::routes(Of::new(EventStore::open_with(url, CONNECTIONS, &namespace).await?)))
    })
    .await
}
