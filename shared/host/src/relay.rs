//! The command `relay`: publishes what the event store holds unpublished and what waits for an outcome for too long, and ends.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{ArgMatches, Args};
use command_handler::{Relay, ReminderRelay, SweepReport};
use event_store::StoreError;
use futures_util::future::try_join_all;
use runtime::settings::seconds;

use crate::aggregates::OpenAggregate;
use crate::functions::{Functions, settings_of};
use crate::receivers::Receivers;
use crate::registry::Registry;

/// Publish the unpublished commits of the event store, and exit
#[derive(Args, Clone, Debug)]
pub struct RelayArgs {
    /// Seconds that the relay leaves a commit to the process that appended it
    #[arg(long, env = "RELAY_MIN_AGE", value_name = "S", default_value = "0", value_parser = seconds)]
    relay_min_age: Duration,
    /// Seconds after which the command exits, even if commits are left
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
pub async fn run(registry: &Registry, functions: &Functions, flags: &ArgMatches) -> anyhow::Result<ExitCode> {
    let args: RelayArgs = settings_of(flags)?;
    let receivers = Receivers::open(registry, functions, flags).await?;
    let deadline = Instant::now() + args.within;
    let aggregates = receivers.stores.aggregates.iter();
    let relayed =
        try_join_all(aggregates.map(|aggregate| relay(aggregate, args.relay_min_age, deadline))).await?;
    receivers.end().await;
    let none = (SweepReport::default(), 0);
    let (swept, left) =
        relayed.into_iter().fold(none, |(all, left), (swept, also)| (all.and(swept), left + also));
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

/// Relays one aggregate. Returns what was published, and the number of commits that are left.
async fn relay(
    aggregate: &OpenAggregate,
    min_age: Duration,
    deadline: Instant,
) -> Result<(SweepReport, u64), StoreError> {
    let OpenAggregate { handler, reminders } = aggregate;
    let (store, publisher) = (handler.store().clone(), handler.publisher().clone());
    ReminderRelay::new(reminders.clone(), publisher.clone()).send_until(deadline).await?;
    let swept = Relay::new(store.clone(), publisher, min_age).sweep_until(deadline).await?;
    Ok((swept, store.backlog().await?.commits))
}
