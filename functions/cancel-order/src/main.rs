//! The function as a Lambda. It connects when it is first invoked.

use clap::Parser;
use command_handler::settings::LambdaSettings;
use runtime::function;

#[tokio::main]
async fn main() -> Result<(), function::Error> {
    let settings = LambdaSettings::parse();
    settings.telemetry.start()?;
    function::run_http(async || Ok(cancel_order::router(settings.open().await?))).await
}
