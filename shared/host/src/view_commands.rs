//! The commands `rebuild` and `verify`. Each works on all views, one after the other, or on the one that is named.

use std::process::ExitCode;

use clap::Args;

use crate::output::{Label, progress_of_commits};
use crate::registration::keeper;
use crate::registry::{Registry, ViewChoice};
use crate::stores::BothStores;
use crate::verify::VerifySettings;
use crate::views::OpenView;

/// Build {the-view} anew from the event store, beside the one in use, and swap them
#[derive(Args, Clone, Debug)]
pub struct RebuildArgs {
    #[command(flatten)]
    stores: BothStores,
    #[command(flatten)]
    choice: ViewChoice,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Compare {the-view} with the event store; exit 1 if anything is lost, stale, different or extra
#[derive(Args, Clone, Debug)]
pub struct VerifyArgs {
    #[command(flatten)]
    stores: BothStores,
    #[command(flatten)]
    choice: ViewChoice,
    #[command(flatten)]
    settings: VerifySettings,
}

/// Rebuilds the views.
///
/// # Errors
/// When a store can't be opened or is not available, or streams in a new view stay behind.
pub async fn rebuild(args: RebuildArgs, registry: &Registry) -> anyhow::Result<ExitCode> {
    let chosen = args.choice.all(registry);
    for view in &chosen {
        let OpenView { view, events, .. } = args.stores.open(registry, view).await?;
        // Creates those of the view's tables that are missing.
        view.migrate().await?;
        // Keeps them for the programs that are to come.
        view.register(keeper("rebuild")).await?;
        let progress = progress_of_commits(events.count().await?, args.json);
        let rebuilt = view.rebuild(&events, &progress).await?;
        let label = Label::of_view(view.name(), chosen.len());
        if args.json {
            line!("{}", label.json(&rebuilt)?)?;
        } else {
            line!("{label}{rebuilt}")?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Compares the views with the event store. The exit code is 1 if a fault was found and not repaired.
///
/// # Errors
/// When a store can't be opened or is not available.
pub async fn verify(args: VerifyArgs, registry: &Registry) -> anyhow::Result<ExitCode> {
    let chosen = args.choice.all(registry);
    let mut code = ExitCode::SUCCESS;
    for view in &chosen {
        let OpenView { view, kind, events } = args.stores.open(registry, view).await?;
        let label = Label::of_view(view.name(), chosen.len());
        let of_view = view.verify(&events, kind, label, &args.settings).await?;
        if of_view != ExitCode::SUCCESS {
            code = of_view;
        }
    }
    Ok(code)
}
