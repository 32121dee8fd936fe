//! `orders rebuild`: the orders view anew from the event store, beside the one in use, and then the swap. Queries are served and
//! commands taken throughout.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::bail;
use clap::Args;
use domain::wire::RecordedEvent;
use event_store::{EventStore, Page, Scanned};
use indicatif::{ProgressBar, ProgressStyle};
use read_store::{ReadStore, SwapRefused, ViewId};
use serde::Serialize;

use crate::stores::BothStores;

/// Commits a page of the scan.
const PAGE: usize = 5_000;

/// How long the new view may take to catch up with commits that are under way.
const CATCH_UP: Duration = Duration::from_secs(30);
const CATCH_UP_PAUSE: Duration = Duration::from_millis(100);

/// Build the orders view anew.
#[derive(Args, Clone, Debug)]
pub struct RebuildArgs {
    #[command(flatten)]
    stores: BothStores,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What a rebuild did.
#[derive(Debug, Serialize)]
struct Rebuilt {
    commits: u64,
    events: u64,
    seconds: f64,
    events_per_second: f64,
}

/// Rebuilds. What an interrupted rebuild left is removed by the next.
///
/// # Errors
/// When a store can't be opened or is not available, or orders in the new view stay behind.
pub async fn run(args: RebuildArgs) -> anyhow::Result<ExitCode> {
    let (events, view) = args.stores.open().await?;
    let progress = progress(events.count().await?, args.json);
    let started = Instant::now();
    // The order matters: from here on every projector transaction writes the new view too, so what is appended behind the scan's
    // back comes through the channel.
    let building = view.begin_rebuild().await?;
    let (commits, applied) = scan_into(&events, &view, building, &progress).await?;
    progress.finish_and_clear();
    swap(&view, building).await?;
    let seconds = started.elapsed().as_secs_f64();
    let rebuilt =
        Rebuilt { commits, events: applied, seconds, events_per_second: applied as f64 / seconds.max(1e-9) };
    if args.json {
        println!("{}", serde_json::to_string(&rebuilt)?);
    } else {
        let rate = rebuilt.events_per_second;
        println!(
            "rebuilt the view from {commits} commits with {applied} events in {seconds:.1} s ({rate:.0} events/s)"
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// Reads the next page while the last one is written.
async fn scan_into(
    events: &EventStore,
    view: &ReadStore,
    building: ViewId,
    progress: &ProgressBar,
) -> anyhow::Result<(u64, u64)> {
    let (mut commits, mut seen) = (0, 0);
    let mut page = events.scan(None, PAGE).await?;
    loop {
        let Page { commits: scanned, next } = page;
        let scanned_commits = scanned.len() as u64;
        let batch: Vec<RecordedEvent> = scanned.into_iter().flat_map(recorded).collect();
        let batch_events = batch.len() as u64;
        let more = async {
            match next {
                Some(position) => events.scan(Some(position), PAGE).await.map(Some),
                None => Ok(None),
            }
        };
        let (written, next_page) = tokio::join!(view.backfill(building, batch), more);
        written?;
        commits += scanned_commits;
        seen += batch_events;
        progress.inc(scanned_commits);
        match next_page? {
            Some(next_page) => page = next_page,
            None => return Ok((commits, seen)),
        }
    }
}

fn recorded(commit: Scanned) -> impl Iterator<Item = RecordedEvent> {
    let Scanned { stream, version, recorded_at, events } = commit;
    events.into_iter().enumerate().map(move |(index, event)| RecordedEvent {
        order: stream.clone(),
        version: version.plus(index),
        time: recorded_at,
        event,
    })
}

/// Orders in the new view may be behind for a moment, while their events are on the way.
async fn swap(view: &ReadStore, building: ViewId) -> anyhow::Result<()> {
    let give_up = Instant::now() + CATCH_UP;
    loop {
        match view.swap(building).await {
            Ok(()) => return Ok(()),
            Err(SwapRefused::Behind { .. }) if Instant::now() < give_up => {
                tokio::time::sleep(CATCH_UP_PAUSE).await
            }
            Err(refused @ SwapRefused::Behind { .. }) => {
                bail!("{refused}; the view in use stays. `orders held list` and `orders verify` say more")
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// A bar on a terminal, nothing elsewhere.
fn progress(commits: u64, json: bool) -> ProgressBar {
    if json {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} commits  {per_sec}  {eta} left");
    ProgressBar::new(commits).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
