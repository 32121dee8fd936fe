//! The command `rebuild`: the view anew from the event store, beside the one in use, and then the swap. Queries are served and
//! commands taken throughout.

use std::collections::BTreeSet;
use std::fmt;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::bail;
use clap::Args;
use event_sourcing::{Recorded, StreamId, Version, View};
use event_store::{EventStore, Page, Scanned};
use indicatif::{ProgressBar, ProgressStyle};
use read_store::{ReadStore, SwapRefused, ViewId};
use serde::Serialize;

use crate::application;
use crate::stores::BothStores;

/// Commits a page of the scan.
const PAGE: usize = 5_000;

/// Streams that are taken over at a time.
const TAKEN_OVER: usize = 500;

/// How long the new view may take to catch up with commits that are under way.
const CATCH_UP: Duration = Duration::from_secs(30);
const CATCH_UP_PAUSE: Duration = Duration::from_millis(100);

/// Build the {view} view anew from the event store, beside the one in use, and swap them
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
    /// Streams that can't be read.
    unreadable: u64,
    seconds: f64,
    events_per_second: f64,
}

impl fmt::Display for Rebuilt {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { commits, events, unreadable, seconds, events_per_second: rate } = self;
        write!(
            formatter,
            "rebuilt the view from {commits} commits with {events} events in {seconds:.1} s ({rate:.0} events/s)"
        )?;
        match unreadable {
            0 => Ok(()),
            streams => {
                write!(
                    formatter,
                    "; {streams} streams can't be read, and are in it as before or as far as they can be read"
                )
            }
        }
    }
}

/// Rebuilds. What an interrupted rebuild left is removed by the next, which begins anew: the new view is made by one program from its
/// first page to its swap, and a rebuild is mostly started because the program has changed.
///
/// # Errors
/// When a store can't be opened or is not available, or streams in the new view stay behind.
pub async fn run<V: View>(args: RebuildArgs) -> anyhow::Result<ExitCode> {
    let (events, view) = args.stores.open::<V>().await?;
    // Whatever of its tables is missing.
    view.migrate().await?;
    let progress = progress(events.count().await?, args.json);
    let rebuilt = rebuild(&events, &view, &progress).await?;
    if args.json {
        line!("{}", serde_json::to_string(&rebuilt)?)?;
    } else {
        line!("{rebuilt}")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Rebuilds a view in a file that has nothing, where the event store has commits: the file was deleted or is new, and nobody publishes
/// again what was published. Where that fails, it is said, and the server serves what there is.
pub async fn at_start<V: View>(events: &EventStore, view: &ReadStore<V>) {
    match at_start_if_empty(events, view).await {
        Ok(()) => {}
        Err(error) => {
            tracing::error!("the empty view was not rebuilt, `{} rebuild` does it: {error:#}", application());
        }
    }
}

async fn at_start_if_empty<V: View>(events: &EventStore, view: &ReadStore<V>) -> anyhow::Result<()> {
    // Servers have several processes, and tables that nobody deletes in passing.
    let is_file = !matches!(view, ReadStore::Postgres(_));
    if !is_file
        || !view.versions(None, 1).await?.is_empty()
        || events.scan::<V::Event>(None, 1).await?.commits.is_empty()
    {
        return Ok(());
    }
    tracing::warn!(
        "the view is empty and the event store is not: the view is rebuilt before anything is served"
    );
    let rebuilt = rebuild(events, view, &ProgressBar::hidden()).await?;
    tracing::info!("{rebuilt}");
    Ok(())
}

async fn rebuild<V: View>(
    events: &EventStore,
    view: &ReadStore<V>,
    progress: &ProgressBar,
) -> anyhow::Result<Rebuilt> {
    let started = Instant::now();
    // The order matters: from here on every projector transaction writes the new view too, so what is appended behind the scan's
    // back comes through the channel.
    let building = view.begin_rebuild().await?;
    let Scan { commits, events: applied, unreadable } = scan_into(events, view, building, progress).await?;
    take_over(view, building, &unreadable).await?;
    progress.finish_and_clear();
    swap(view, building).await?;
    let seconds = started.elapsed().as_secs_f64();
    let events_per_second = applied as f64 / seconds.max(1e-9);
    let unreadable = unreadable.len() as u64;
    Ok(Rebuilt { commits, events: applied, unreadable, seconds, events_per_second })
}

/// The new view has streams that can't be read as the one in use has them, which may be further than they can be read today.
async fn take_over<V: View>(
    view: &ReadStore<V>,
    building: ViewId,
    unreadable: &BTreeSet<Arc<str>>,
) -> anyhow::Result<()> {
    let ids: Vec<StreamId> = unreadable.iter().filter_map(|stream| StreamId::parse(stream).ok()).collect();
    for ids in ids.chunks(TAKEN_OVER) {
        let mut entries = Vec::with_capacity(ids.len());
        for id in ids {
            entries.extend(view.get(id).await?.filter(|entry| entry.version != Version::NONE));
        }
        view.take_over(building, entries).await?;
    }
    Ok(())
}

/// What a scan came to.
#[derive(Default)]
struct Scan {
    commits: u64,
    events: u64,
    unreadable: BTreeSet<Arc<str>>,
}

/// Reads the next page while the last one is written. A stream that can't be read is told, and stops no other.
async fn scan_into<V: View>(
    events: &EventStore,
    view: &ReadStore<V>,
    building: ViewId,
    progress: &ProgressBar,
) -> anyhow::Result<Scan> {
    let mut scan = Scan::default();
    let mut page = events.scan(None, PAGE).await?;
    loop {
        let Page { commits: scanned, unreadable, next } = page;
        for problem in unreadable {
            progress.suspend(|| complain!("{problem}"));
            scan.unreadable.insert(problem.stream);
        }
        let scanned_commits = scanned.len() as u64;
        let batch: Vec<Recorded<V::Event>> = scanned.into_iter().flat_map(recorded).collect();
        let batch_events = batch.len() as u64;
        let more = async {
            match next {
                Some(position) => events.scan(Some(position), PAGE).await.map(Some),
                None => Ok(None),
            }
        };
        let (written, next_page) = tokio::join!(view.backfill(building, batch), more);
        written?;
        scan.commits += scanned_commits;
        scan.events += batch_events;
        progress.inc(scanned_commits);
        match next_page? {
            Some(next_page) => page = next_page,
            None => return Ok(scan),
        }
    }
}

fn recorded<E>(commit: Scanned<E>) -> impl Iterator<Item = Recorded<E>> {
    let Scanned { stream, version, recorded_at, events } = commit;
    events.into_iter().enumerate().map(move |(index, event)| Recorded {
        stream: stream.clone(),
        version: version.plus(index),
        time: recorded_at,
        event,
    })
}

/// Streams in the new view may be behind for a moment, while their events are on the way.
async fn swap<V: View>(view: &ReadStore<V>, building: ViewId) -> anyhow::Result<()> {
    let give_up = Instant::now() + CATCH_UP;
    loop {
        match view.swap(building).await {
            Ok(()) => return Ok(()),
            Err(SwapRefused::Behind { .. }) if Instant::now() < give_up => {
                tokio::time::sleep(CATCH_UP_PAUSE).await
            }
            Err(refused @ SwapRefused::Behind { .. }) => {
                let name = application();
                bail!("{refused}; the view in use stays. `{name} held list` and `{name} verify` say more")
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
