//! The function as a Lambda. It connects when it is first invoked.

use domain::APPLICATION;
use query::{Settings, Waits};
use read_store::ReadStore;
use runtime::{function, settings};

/// A Lambda works on one event at a time.
const CONNECTIONS: usize = 1;

#[tokio::main]
async fn main() -> Result<(), function::Error> {
    let Settings { view, longest_wait } = settings::parse(APPLICATION);
    view.telemetry.start()?;
    function::run_http(APPLICATION, async || {
        let store = ReadStore::open_with(view.url().await?, CONNECTIONS).await?;
        Ok(query::routes_with(store, Waits::up_to(longest_wait)))
    })
    .await
}
