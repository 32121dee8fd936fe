//! The function as a Lambda. It begins to connect when it starts, or when it first looks up its secrets.

use std::time::Duration;

use clap::Parser;
use command_handler::settings::LambdaSettings;
use command_handler::{Relay, ReminderRelay, ReminderSettings};
use domain::{APPLICATION, Order};
use runtime::function;
use runtime::settings::{self, seconds};

/// The function `relay`. Its settings come from its environment.
#[derive(Parser)]
struct Settings {
    #[command(flatten)]
    lambda: LambdaSettings,
    #[command(flatten)]
    reminders: ReminderSettings,
    /// Seconds that the relay leaves a commit to the process that appended it
    #[arg(long, env = "RELAY_MIN_AGE", value_name = "S", default_value = "20", value_parser = seconds)]
    relay_min_age: Duration,
}

#[tokio::main]
async fn main() -> Result<(), function::Error> {
    let settings = settings::parse::<Settings>(APPLICATION);
    settings.lambda.telemetry.start()?;
    function::run_event(
        APPLICATION,
        async || {
            let handler = settings.lambda.open::<Order>(APPLICATION).await?;
            let relay =
                Relay::new(handler.store().clone(), handler.publisher().clone(), settings.relay_min_age);
            let reminders = settings.reminders.of(handler.store().clone());
            let reminders = ReminderRelay::new(reminders, handler.publisher().clone());
            Ok((relay, reminders, handler))
        },
        async |(relay, reminders, handler), _schedule: serde_json::Value, deadline| {
            let swept = relay.sweep_until(deadline).await?;
            reminders.send_until(deadline).await?;
            command_handler::measure_backlog(handler.store(), &[]).await?;
            command_handler::measure_reminders(reminders.reminders(), &[]).await?;
            Ok(swept)
        },
    )
    .await
}
