//! `orders relay`: publishes what the event store holds unpublished, and ends.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use command_handler::Relay;
use processor::{FulfilmentSettings, Processor};
use runtime::settings::seconds;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::serve::folder::FolderLock;
use crate::serve::triggers;
use crate::stores::{AllStores, cannot_open};

/// How long batches may take to finish at the end.
const GRACE: Duration = Duration::from_secs(4);

/// Publish what the event store holds unpublished.
#[derive(Args, Clone, Debug)]
pub struct RelayArgs {
    #[command(flatten)]
    stores: AllStores,
    #[command(flatten)]
    fulfilment: FulfilmentSettings,
    /// Seconds that a commit is left to whoever appended it
    #[arg(long, env = "ORDERS_RELAY_MIN_AGE", value_name = "S", default_value = "0", value_parser = seconds)]
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
    let in_process = args.stores.commands.channel.channel.starts_with("memory:");
    let _folder = in_process.then(|| FolderLock::take(&args.stores.commands.data.data)).transpose()?;
    let (handler, view) = args.stores.open().await?;
    let (stop, stopped) = watch::channel(false);
    let mut work = JoinSet::new();
    if in_process {
        let fulfilment =
            args.fulfilment.open().map_err(|error| cannot_open(&[&args.fulfilment.fulfilment], &error))?;
        let processor =
            Processor::new(handler.clone(), fulfilment, args.fulfilment.fulfilment_concurrency.into());
        triggers::start(&mut work, handler.publisher().channel(), &view, processor, &stopped, GRACE)?;
    }
    let relay = Relay::new(handler.store().clone(), handler.publisher().clone(), args.relay_min_age);
    let swept = relay::relay(&relay, handler.publisher(), Instant::now() + args.within).await?;
    let left = handler.store().backlog().await?.commits;
    let _ = stop.send(true);
    while work.join_next().await.is_some() {}
    if args.json {
        println!(
            "{}",
            serde_json::json!({"streams": swept.streams, "commits": swept.commits, "failed": swept.failed, "left": left})
        );
    } else {
        println!("published {} commits of {} streams; {left} left", swept.commits, swept.streams);
    }
    Ok(if left == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
