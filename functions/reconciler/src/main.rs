//! The function as a Lambda. It connects when it is first invoked.

use std::time::Duration;

use clap::Parser;
use domain::{APPLICATION, Order};
use event_store::{EventStore, Namespace};
use read_store::ReadStore;
use reconciler::{Reconciler, ReconcilerSettings};
use runtime::settings::{self, EventStoreSettings, ViewFunctionSettings};
use runtime::{function, secrets};
use tokio::sync::Mutex;

/// A Lambda works on one event at a time.
const CONNECTIONS: u32 = 1;

/// The time that is kept free at the end of an invocation, so that the answer is sent.
const MARGIN: Duration = Duration::from_secs(5);

/// The function `reconciler`. Its settings come from its environment.
#[derive(Parser)]
struct Settings {
    #[command(flatten)]
    view: ViewFunctionSettings,
    #[command(flatten)]
    event_store: EventStoreSettings,
    #[command(flatten)]
    reconciler: ReconcilerSettings,
}

#[tokio::main]
async fn main() -> Result<(), function::Error> {
    let settings = settings::parse::<Settings>(APPLICATION);
    settings.view.telemetry.start()?;
    function::run_event(
        APPLICATION,
        async || {
            let url = secrets::resolve(&settings.event_store.url(settings.view.data())).await?;
            let namespace = Namespace::of::<Order>(APPLICATION)?;
            let events = EventStore::open_with(&url, CONNECTIONS, &namespace).await?;
            let view = ReadStore::open_with(&settings.view.url().await?, CONNECTIONS as usize).await?;
            Ok(Mutex::new(Reconciler::new(events, view, settings.reconciler.clone())))
        },
        async |reconciler, _schedule: serde_json::Value, deadline| {
            let until = deadline.checked_sub(MARGIN).unwrap_or(deadline);
            Ok(reconciler.lock().await.walk_until(until).await?)
        },
    )
    .await
}
