//! `orders import-seed` turns the commands that the original Go program left in MongoDB into events.
//!
//! - `source` reads the seed in pages.
//! - `document` translates a document into a command, or says why it can't be one.
//! - `lanes` imports commands in parallel; the commands of one order stay in their order.
//! - `target` brings a command into the event store, once.
//! - `report` counts what became of each document.
//!
//! `dispatcher/tests/import_seed` tests the command as a process, on real servers.
//!
//! An import can be ended at any moment and run again. The id of a command follows from its document, so no command takes effect
//! twice.

#![deny(clippy::print_stdout, clippy::print_stderr)]

mod document;
// The tests are not in `document` itself, because the fuzzers build that file too.
#[cfg(test)]
mod document_tests;
mod lanes;
mod report;
mod source;
mod target;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use command_handler::{AnswerPolicy, CommandHandler, CommandSettings};
use domain::{APPLICATION, Order};
use event_store::{EventStore, Namespace};
use host::stores::cannot_open;
use host::{CannotStart, line};
use runtime::SecretUrl;
use serde::Serialize;

use report::{Report, Summary};
use source::Seed;
use target::Target;

/// How long the import's end waits for commits that are being published. The relay publishes later ones.
const PUBLISHING: Duration = Duration::from_secs(30);

/// Import the commands that the original Go program left in MongoDB, as events
///
/// They are taken in the order of their `_id`, and each becomes the events that it would have become over HTTP, with `import-seed`
/// as the actor. It can be ended at any moment and run again: what was imported is not imported twice. A document that can't be
/// taken is reported with its `_id` and the reason, and the others go on.
///
/// Where the channel is Kafka, the events are published on the way. On the embedded default nothing is published here: `orders
/// serve` does that, whether it runs meanwhile or is started later, or `orders relay`.
///
/// Exit codes: 0 all were taken, 1 some were refused or the import ended early, 2 it could not begin.
#[derive(Args, Clone, Debug)]
pub struct ImportSeedArgs {
    /// Where the original program's commands are: mongodb://HOST:27017/DATABASE, in the collection `commands`. Without a DATABASE,
    /// go_event_sourcing_example. They are only read
    #[arg(value_name = "URL", env = "SEED", hide_env_values = true)]
    seed: SecretUrl,
    #[command(flatten)]
    commands: CommandSettings,
    /// Append nothing: say what would be imported and what refused. The orders of the seed are kept in memory meanwhile
    #[arg(long)]
    dry_run: bool,
    /// Print one JSON object a line: each refusal as it comes, and the summary last
    #[arg(long)]
    json: bool,
}

/// The summary, which is the last line of the output.
#[derive(Debug, Serialize)]
struct ImportReport {
    #[serde(flatten)]
    summary: Summary,
    /// Commits of the whole event store that are not published yet.
    unpublished: u64,
    dry_run: bool,
    seconds: f64,
}

/// Imports the seed. The exit code is 1 if a document was refused or the import ended early.
///
/// # Errors
/// [`CannotStart`] when the seed or a store can't be opened. Another error when one of them fails during the import.
pub async fn run(args: ImportSeedArgs) -> anyhow::Result<ExitCode> {
    host::until_signal(import(args)).await
}

async fn import(args: ImportSeedArgs) -> anyhow::Result<ExitCode> {
    let started = Instant::now();
    let target = open(&args).await?;
    let seed = Seed::open(&args.seed).await?;
    let report = Arc::new(Report::new(seed.count().await?, args.json));
    let taken = lanes::take_all(seed.read().await?, &target, &report).await;
    let summary = report.end();
    taken.with_context(|| {
        format!(
            "the import ended early, with {} imported; run it again, and it goes on from there",
            summary.imported
        )
    })?;
    let unpublished = unpublished(&target).await?;
    let seconds = started.elapsed().as_secs_f64();
    print(&args, &ImportReport { summary, unpublished, dry_run: args.dry_run, seconds })?;
    Ok(if summary.refused == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Opens the event store and checks that it answers, before the seed is looked at. So a store that is not there stops the start,
/// and is no failure during the import.
async fn open(args: &ImportSeedArgs) -> Result<Target, CannotStart> {
    let CommandSettings { data, event_store, channel, .. } = &args.commands;
    let url = event_store.url(data);
    let (target, store) = if args.dry_run {
        let namespace = Namespace::of::<Order>(APPLICATION).map_err(cannot_open)?;
        let store = EventStore::open(url, &namespace).await.map_err(cannot_open)?;
        (Target::DryRun(store.clone()), store)
    } else {
        // A process that publishes to a channel in memory must receive from it too. This process does not, so it leaves the
        // commits to the relay.
        let in_memory = channel.channel.scheme() == "memory";
        let after_commit = if in_memory { AnswerPolicy::LeaveToRelay } else { AnswerPolicy::Answer };
        let handler: CommandHandler<Order> =
            args.commands.open(APPLICATION, after_commit).await.map_err(cannot_open)?;
        let store = handler.store().clone();
        (Target::EventStore(handler), store)
    };
    store.ping().await.map_err(cannot_open)?;
    Ok(target)
}

/// Waits for the commits that are being published, and returns how many are not published.
async fn unpublished(target: &Target) -> anyhow::Result<u64> {
    let store = match target {
        Target::EventStore(handler) => {
            // A timeout is no failure: the rest is counted below.
            let _ = tokio::time::timeout(PUBLISHING, handler.publisher().idle()).await;
            handler.store()
        }
        Target::DryRun(store) => store,
    };
    Ok(store.backlog().await?.commits)
}

fn print(args: &ImportSeedArgs, imported: &ImportReport) -> anyhow::Result<()> {
    if args.json {
        line!("{}", serde_json::to_string(imported)?)?;
        return Ok(());
    }
    let ImportReport { summary, unpublished, dry_run, seconds } = imported;
    let Summary { imported, already_there, refused } = summary;
    let would = if *dry_run { "dry run: would be " } else { "" };
    line!("{would}imported {imported}, already there {already_there}, refused {refused}, in {seconds:.1} s")?;
    if !dry_run && *unpublished > 0 {
        line!("{unpublished} commits wait to be published: by `orders serve`, or now by `orders relay`")?;
    }
    Ok(())
}
