//! The function as a Lambda. It connects when it is first invoked.

use domain::APPLICATION;
use event_source_mapping::event::KafkaEvent;
use read_store::ReadStore;
use runtime::function;
use runtime::settings::{self, ViewFunctionSettings};

/// A Lambda works on one event at a time.
const CONNECTIONS: usize = 1;

#[tokio::main]
async fn main() -> Result<(), function::Error> {
    let settings = settings::parse::<ViewFunctionSettings>(APPLICATION);
    settings.telemetry.start()?;
    function::run_event(
        APPLICATION,
        async || Ok(ReadStore::open_with(settings.url().await?, CONNECTIONS).await?),
        async |store, event: KafkaEvent, _deadline| {
            // The template's schedule sends no record; the mapping always does.
            if event.records.is_empty() {
                projector::measure_held(store.clone()).await?;
                store.register(projector::registration()).await?;
            }
            Ok(projector::project(store, event).await?)
        },
    )
    .await
}
