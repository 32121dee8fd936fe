//! The function as a Lambda. It connects when it is first invoked.

use std::time::Duration;

use clap::Parser;
use command_handler::Relay;
use command_handler::settings::LambdaSettings;
use runtime::function;
use runtime::settings::seconds;

/// The function `relay`. Its settings come from its environment.
#[derive(Parser)]
struct Settings {
    #[command(flatten)]
    lambda: LambdaSettings,
    /// Seconds that a commit is left to whoever appended it
    #[arg(long, env = "ORDERS_RELAY_MIN_AGE", value_name = "S", default_value = "20", value_parser = seconds)]
    relay_min_age: Duration,
}

#[tokio::main]
async fn main() -> Result<(), function::Error> {
    let settings = Settings::parse();
    settings.lambda.telemetry.start()?;
    let handler = settings.lambda.open().await?;
    let relay = Relay::new(handler.store().clone(), handler.publisher().clone(), settings.relay_min_age);
    function::run_event(async |_schedule: serde_json::Value, deadline| {
        Ok(relay::relay(&relay, handler.publisher(), deadline).await?)
    })
    .await
}
