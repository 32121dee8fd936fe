//! A rebuild makes a view anew from the event store, beside the view in use, and then swaps the two. Meanwhile the system serves
//! queries and accepts commands.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::bail;
use event_sourcing::{Recorded, StreamId, Version, View, is_by_stream};
use event_store::{EventStore, Page, ScannedCommit};
use indicatif::ProgressBar;
use read_store::{ReadStore, SwapRefused, ViewId};
use serde::Serialize;

use crate::application;

/// The number of commits in a page of the scan.
const PAGE: usize = 5_000;

/// The number of streams whose rows are copied at a time.
const TAKEN_OVER: usize = 500;

/// How long the new view may take to catch up with commits that are under way.
const CATCH_UP: Duration = Duration::from_secs(30);
const CATCH_UP_PAUSE: Duration = Duration::from_millis(100);

/// The result of a rebuild.
#[derive(Debug, Serialize)]
pub struct Rebuilt {
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

/// Notes that the view is filled if the event store is empty. Returns whether it is.
///
/// # Errors
/// When a store is not available.
pub async fn needs_no_filling<V: View>(events: &EventStore, view: &ReadStore<V>) -> anyhow::Result<bool> {
    let is_empty = events.scan::<V::Event>(None, 1).await?.commits.is_empty();
    if is_empty {
        view.note_filled().await?;
    }
    Ok(is_empty)
}

/// Fills the view for the first time. Returns the result; `None` if the event store is empty.
///
/// # Errors
/// When a store is not available, or streams in the new view stay behind.
pub async fn fill_new_view<V: View>(
    events: &EventStore,
    view: &ReadStore<V>,
    progress: &ProgressBar,
) -> anyhow::Result<Option<Rebuilt>> {
    if needs_no_filling(events, view).await? {
        return Ok(None);
    }
    tracing::warn!(
        "the view is empty and the event store is not: the view is filled before anybody can query it"
    );
    progress.reset();
    progress.set_length(events.count().await?);
    rebuild(events, view, progress).await.map(Some)
}

/// Rebuilds the view. A rebuild that was interrupted leaves data; the next rebuild removes it and begins anew. So one program
/// writes the new view from its first page to its swap. That matters, because most rebuilds are started after a change of the
/// program.
///
/// # Errors
/// When a store is not available, or streams in the new view stay behind.
pub async fn rebuild<V: View>(
    events: &EventStore,
    view: &ReadStore<V>,
    progress: &ProgressBar,
) -> anyhow::Result<Rebuilt> {
    let started = Instant::now();
    // The order matters. From here on every projector transaction also writes the new view. So a commit that the scan misses,
    // because it is appended behind the scan's position, reaches the new view through the channel.
    let building = view.begin_rebuild().await?;
    let Scan { commits, events: applied, unreadable } = fill(events, view, building, progress).await?;
    progress.finish_and_clear();
    swap(view, building).await?;
    let seconds = started.elapsed().as_secs_f64();
    let events_per_second = applied as f64 / seconds.max(1e-9);
    let unreadable = unreadable.len() as u64;
    Ok(Rebuilt { commits, events: applied, unreadable, seconds, events_per_second })
}

/// Fills a view that is being built with all that the event store has.
pub(crate) async fn fill<V: View>(
    events: &EventStore,
    view: &ReadStore<V>,
    building: ViewId,
    progress: &ProgressBar,
) -> anyhow::Result<Scan> {
    let scan = scan_into(events, view, building, progress).await?;
    take_over(view, building, &scan.unreadable).await?;
    Ok(scan)
}

/// Copies the rows of unreadable streams from the view in use to the new view. Those rows may be at a later version than the
/// program can read today. Rows that streams share can't be copied: there the streams stay as far as they can be read.
async fn take_over<V: View>(
    view: &ReadStore<V>,
    building: ViewId,
    unreadable: &BTreeMap<Arc<str>, String>,
) -> anyhow::Result<()> {
    let parsed =
        |(stream, problem): (&Arc<str>, &String)| Some((StreamId::parse(stream).ok()?, problem.clone()));
    let streams: Vec<(StreamId, String)> = unreadable.iter().filter_map(parsed).collect();
    for streams in streams.chunks(TAKEN_OVER) {
        if !is_by_stream::<V>() {
            view.set_aside(building, streams.to_vec()).await?;
            continue;
        }
        let mut entries = Vec::with_capacity(streams.len());
        for (id, _) in streams {
            entries.extend(view.get(id).await?.filter(|entry| entry.version != Version::NONE));
        }
        view.take_over(building, entries).await?;
    }
    Ok(())
}

/// The result of a scan.
#[derive(Default)]
pub(crate) struct Scan {
    commits: u64,
    events: u64,
    /// The streams that can't be read, with the problem.
    pub(crate) unreadable: BTreeMap<Arc<str>, String>,
}

/// Reads the next page while it writes the last one into the new view. An unreadable stream is reported and does not stop the
/// scan.
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
            let why = problem.problem.to_string();
            scan.unreadable.insert(problem.stream, why);
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

fn recorded<E>(commit: ScannedCommit<E>) -> impl Iterator<Item = Recorded<E>> {
    let ScannedCommit { stream, version, recorded_at, events } = commit;
    events.into_iter().enumerate().map(move |(index, event)| Recorded {
        stream: stream.clone(),
        version: version.plus(index),
        time: recorded_at,
        event,
    })
}

/// Swaps the views. Streams in the new view may be behind for a moment, while their events are on the way. So the swap is tried
/// again until `CATCH_UP` is over.
pub(crate) async fn swap<V: View>(view: &ReadStore<V>, building: ViewId) -> anyhow::Result<()> {
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
