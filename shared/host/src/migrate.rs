//! The command `migrate`: creates or updates what the servers must have before the system works on them.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use futures_util::future::join_all;
use indicatif::ProgressBar;
use read_store::{Filled, Program};
use runtime::Backoff;
use tokio::time::Instant;

use crate::output::Label;
use crate::registration::keeper;
use crate::registry::Registry;
use crate::stores::AllStores;
use crate::views::{AnyView, OpenView};

/// How long a start waits for the view's tables before it goes on without them.
const AT_START: Duration = Duration::from_secs(5);

/// The waits between attempts while the server does not answer.
const WAITS: Backoff = Backoff { first: Duration::from_millis(200), longest: Duration::from_secs(5) };

/// Create or update the tables, the indexes and the topic that the system needs on the servers
#[derive(Args, Clone, Debug)]
pub struct MigrateArgs {
    #[command(flatten)]
    stores: AllStores,
}

/// Migrates the stores once, and fills each view that is new from the event store, before programs come that need it. It may run again
/// at any time, also while the system runs. Files and the in-memory channel need no migration.
///
/// # Errors
/// When a store can't be opened or is not available.
pub async fn run(args: MigrateArgs, registry: &Registry) -> anyhow::Result<ExitCode> {
    let (handlers, views) = args.stores.open(registry).await?;
    for view in &views {
        view.view.migrate().await?;
    }
    line!("read store   its tables are there")?;
    for handler in &handlers {
        handler.store().ping().await?;
    }
    line!("event store  its collection and indexes are there")?;
    for handler in &handlers {
        handler.publisher().channel().prepare().await?;
    }
    line!("channel      its topic is there")?;
    for OpenView { view, events, .. } in &views {
        let to_fill = Program { filling: Some("0 commits".to_owned()), ..keeper("migrate") };
        if view.register(to_fill).await?.filled == Filled::Mine
            && let Some(rebuilt) = view.fill(events, &ProgressBar::hidden()).await?
        {
            let label = Label::of_view(view.name(), views.len());
            line!("view         {label}it is new: {rebuilt}")?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Migrates the views when a server starts, and waits for that at most `AT_START`. If the views' server does not answer by then, a
/// task goes on trying without end, and commands are accepted meanwhile.
pub async fn at_start(views: &[OpenView]) {
    let views = views.to_vec();
    let migrating =
        tokio::spawn(async move { join_all(views.iter().map(|view| until_done(&*view.view))).await });
    // The task does not fail; if it panicked, the panic is in the log.
    let _ = tokio::time::timeout_at(Instant::now() + AT_START, migrating).await;
}

async fn until_done(view: &dyn AnyView) {
    let (mut failures, mut said) = (0, String::new());
    while let Err(error) = view.migrate().await {
        let problem = error.to_string();
        if problem != said {
            tracing::warn!("{problem}; its tables are looked after as soon as it answers");
            said = problem;
        }
        failures += 1;
        tokio::time::sleep(WAITS.after(failures)).await;
    }
}
