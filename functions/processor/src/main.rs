//! The function as a Lambda. It connects when it is first invoked.

use clap::Parser;
use command_handler::settings::LambdaSettings;
use processor::{FulfilmentSettings, Processor};
use runtime::function;

/// The function `processor`. Its settings come from its environment.
#[derive(Parser)]
struct Settings {
    #[command(flatten)]
    lambda: LambdaSettings,
    #[command(flatten)]
    fulfilment: FulfilmentSettings,
}

#[tokio::main]
async fn main() -> Result<(), function::Error> {
    let settings = Settings::parse();
    settings.lambda.telemetry.start()?;
    let handler = settings.lambda.open().await?;
    let concurrency = settings.fulfilment.fulfilment_concurrency.into();
    let processor = Processor::new(handler, settings.fulfilment.open()?, concurrency);
    function::run_event(async |event, deadline| Ok(processor.process(event, deadline).await?)).await
}
