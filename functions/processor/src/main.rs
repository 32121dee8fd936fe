//! The function as a Lambda. It begins to connect when it starts, or when it first looks up its secrets.

use clap::Parser;
use command_handler::ReminderSettings;
use command_handler::settings::LambdaSettings;
use domain::APPLICATION;
use processor::{FulfilmentSettings, Processor};
use runtime::{function, secrets, settings};

/// The function `processor`. Its settings come from its environment.
#[derive(Parser)]
struct Settings {
    #[command(flatten)]
    lambda: LambdaSettings,
    #[command(flatten)]
    reminders: ReminderSettings,
    #[command(flatten)]
    fulfilment: FulfilmentSettings,
}

#[tokio::main]
async fn main() -> Result<(), function::Error> {
    let settings = settings::parse::<Settings>(APPLICATION);
    settings.lambda.telemetry.start()?;
    let concurrency = settings.fulfilment.fulfilment_concurrency.into();
    function::run_event(
        APPLICATION,
        async || {
            let handler = settings.lambda.open(APPLICATION).await?;
            let mut fulfilment = settings.fulfilment.clone();
            fulfilment.fulfilment = secrets::resolve(&fulfilment.fulfilment).await?;
            let reminders = settings.reminders.of(handler.store().clone());
            Ok(Processor::new(handler, reminders, fulfilment.open()?, concurrency))
        },
        async |processor, event, deadline| Ok(processor.process(event, deadline).await?),
    )
    .await
}
