//! `orders relay`: publishes what the event store holds unpublished and what waits for an outcome for too long, and ends.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use command_handler::{Relay, ReminderRelay};
use host::line;
use runtime::settings::seconds;

use crate::receivers::PublishingStores;

/// Publish what the event store holds unpublished.
#[derive(Args, Clone, Debug)]
pub struct RelayArgs {
    #[command(flatten)]
    stores: PublishingStores,
    /// Seconds that a commit is left to whoever appended it
    #[arg(long, env = "RELAY_MIN_AGE", value_name = "S", default_value = "0", value_parser = seconds)]
    relay_min_age: Duration,
    /// Seconds after which to end, whatever is left
    #[arg(long, value_name = "S", default_value = "60", value_parser = seconds)]
    within: Duration,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Relays. On the in-memory channel the receivers run too, in this process, since nobody else could; a server that runs on the
/// same folder relays by itself. Exit 1 when something is left.
///
/// # Errors
/// When a store can't be opened or is not available.
pub async fn run(args: RelayArgs) -> anyhow::Result<ExitCode> {
    let receivers = args.stores.open().await?;
    let (store, publisher) = (receivers.handler.store().clone(), receivers.handler.publisher().clone());
    let deadline = Instant::now() + args.within;
    let relay = Relay::new(store.clone(), publisher.clone(), args.relay_min_age);
    let reminders = args.stores.reminders.of(store.clone());
    relay::remind(&ReminderRelay::new(reminders, publisher.clone()), deadline).await?;
    let swept = relay::relay(&relay, &publisher, deadline).await?;
    let left = store.backlog().await?.commits;
    receivers.end().await;
    if args.json {
        let (streams, commits, failed) = (swept.streams, swept.commits, swept.failed);
        line!(
            "{}",
            serde_json::json!({"streams": streams, "commits": commits, "failed": failed, "left": left})
        )?;
    } else {
        line!("published {} commits of {} streams; {left} left", swept.commits, swept.streams)?;
    }
    Ok(if left == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
