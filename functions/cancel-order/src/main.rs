//! The function as a Lambda. It begins to connect when it starts, or when it first looks up its secrets.

use command_handler::settings::LambdaSettings;
use domain::APPLICATION;
use runtime::{function, settings};

#[tokio::main]
async fn main() -> Result<(), function::Error> {
    let settings = settings::parse::<LambdaSettings>(APPLICATION);
    settings.telemetry.start()?;
    function::run_http(APPLICATION, async || Ok(cancel_order::routes(settings.open(APPLICATION).await?)))
        .await
}
