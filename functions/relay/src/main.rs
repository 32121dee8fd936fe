//! The function as a Lambda. It connects when it is first invoked.

use std::time::Duration;

use clap::Parser;
use command_handler::Relay;
use command_handler::settings::LambdaSettings;
use runtime::function;
use runtime::settings::seconds;
use tracing::info;

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
    function::run_event(
        async || {
            let handler = settings.lambda.open().await?;
            let relay =
                Relay::new(handler.store().clone(), handler.publisher().clone(), settings.relay_min_age);
            Ok((relay, handler))
        },
        async |(relay, handler), _schedule: serde_json::Value, deadline| {
            let swept = relay::relay(relay, handler.publisher(), deadline).await?;
            // The template makes a metric and an alarm of this.
            info!(commits = handler.store().backlog().await?.commits, "commits wait to be published");
            Ok(swept)
        },
    )
    .await
}
