//! The events that the view lacks.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use domain::{Event, OrderId, OrdersView, RecordedEvent, Version};
use event_store::{EventStore, Load, Stream, UnreadableStream};
use jiff::Timestamp;
use read_store::{Incoming, ReadStore, ReadStoreError};
use tracing::{error, warn};

use crate::ReconcileError;

/// The time that an event may be on its way to the view. After that it counts as missing.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// The largest number of orders of one fill that the log names.
const NAMED: usize = 5;

/// A stream and the version of its last event at some moment.
pub(crate) type Head = (OrderId, Version);

/// Streams that are ahead of the view, kept until they are checked again.
#[derive(Default)]
pub(crate) struct Suspects {
    waiting: VecDeque<(Instant, Vec<Head>)>,
}

impl Suspects {
    pub(crate) fn add(&mut self, streams: Vec<Head>, now: Instant) {
        if !streams.is_empty() {
            self.waiting.push_back((now + PATIENCE, streams));
        }
    }

    /// Removes and returns the first streams whose time is over.
    pub(crate) fn due(&mut self, now: Instant) -> Option<Vec<Head>> {
        let (at, _) = self.waiting.front()?;
        if *at > now { None } else { self.waiting.pop_front().map(|(_, streams)| streams) }
    }

    /// Returns when the next streams are due.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.waiting.front().map(|(at, _)| *at)
    }

    pub(crate) fn clear(&mut self) {
        self.waiting.clear();
    }
}

/// The numbers of streams and events that were filled in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FillCounts {
    /// Streams that the view lacked events of.
    pub(crate) streams: u64,
    /// Events that were filled in.
    pub(crate) events: u64,
}

/// Returns those of the streams for which the view is behind.
pub(crate) async fn behind(
    view: &ReadStore<OrdersView>,
    heads: &[Head],
) -> Result<Vec<Head>, ReadStoreError> {
    let known = versions(view, heads).await?;
    let is_behind = |(stream, head): &&Head| known.get(stream).is_none_or(|has| has < head);
    Ok(heads.iter().filter(is_behind).cloned().collect())
}

/// An order that can't be read counts as one that is not there.
async fn versions(
    view: &ReadStore<OrdersView>,
    heads: &[Head],
) -> Result<HashMap<OrderId, Version>, ReadStoreError> {
    let rows = view.get_many(heads.iter().map(|(stream, _)| stream.clone()).collect()).await?;
    Ok(rows.into_iter().map(|row| (row.id, row.version)).collect())
}

/// Fills in the events that the view lacks of these streams, up to these versions. Later events are still on their way.
pub(crate) async fn fill_in(
    events: &EventStore,
    view: &ReadStore<OrdersView>,
    heads: &[Head],
) -> Result<FillCounts, ReconcileError> {
    let known = versions(view, heads).await?;
    let has = |stream: &OrderId| known.get(stream).copied().unwrap_or(Version::NONE);
    let behind: Vec<&Head> = heads.iter().filter(|(stream, head)| has(stream) < *head).collect();
    let whole = |(stream, _): &&Head| Load::whole(stream.clone());
    let streams = events.load_many(behind.iter().map(whole).collect()).await?;
    let mut missing = Vec::new();
    for ((id, head), stream) in behind.into_iter().zip(streams) {
        match stream.and_then(|stream| published_between(&stream, has(id), *head)) {
            Ok(lacks) if lacks.is_empty() => {}
            Ok(lacks) => missing.push(lacks),
            // The stream waits for a program that can read it, and holds up no other.
            Err(problem) => error!(%problem, "a stream can't be compared with the view"),
        }
    }
    if missing.is_empty() {
        return Ok(FillCounts::default());
    }
    let named: Vec<&str> = missing.iter().flatten().map(|event| event.stream.as_str()).take(NAMED).collect();
    warn!(orders = missing.len(), ?named, "the view lacks events that were published: filling them in");
    let streams = missing.len() as u64;
    Ok(FillCounts { streams, events: take_in(view, missing).await? })
}

/// Returns the events after `has` and up to `head`, before the first unpublished commit. Nobody is known to have published that
/// commit, so it is still to come.
fn published_between(
    stream: &Stream,
    has: Version,
    head: Version,
) -> Result<Vec<RecordedEvent>, UnreadableStream> {
    let mut lacks = Vec::new();
    for commit in stream.commits.iter().take_while(|commit| !commit.unpublished) {
        let is_lacking = |event: &RecordedEvent| has < event.version && event.version <= head;
        lacks.extend(commit.recorded()?.into_iter().filter(is_lacking));
    }
    Ok(lacks)
}

/// Projects the events of streams as the projector does, and returns how many were applied. A row that can't be read stops no
/// other stream.
async fn take_in(
    view: &ReadStore<OrdersView>,
    streams: Vec<Vec<RecordedEvent>>,
) -> Result<u64, ReadStoreError> {
    let now = Timestamp::now();
    let incoming = |events: &[RecordedEvent]| -> Vec<Incoming<Event>> {
        events.iter().cloned().map(|event| Incoming::from_event_store(event, now)).collect()
    };
    let all: Vec<Incoming<Event>> = streams.iter().flat_map(|events| incoming(events)).collect();
    match view.project(all).await {
        Ok(done) => return Ok((done.applied + done.released) as u64),
        Err(ReadStoreError::Corrupt(_)) => {}
        Err(error) => return Err(error),
    }
    let mut applied = 0;
    for events in &streams {
        match view.project(incoming(events)).await {
            Ok(done) => applied += (done.applied + done.released) as u64,
            Err(ReadStoreError::Corrupt(problem)) => {
                error!(order = ?events.first().map(|event| &event.stream), problem, "a row of the view can't be filled in");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(applied)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suspect_is_looked_at_again_when_it_had_its_time() {
        let (began, mut suspects) = (Instant::now(), Suspects::default());
        let a = vec![(OrderId::parse("a").unwrap(), Version::new(1))];
        suspects.add(a.clone(), began);
        suspects.add(Vec::new(), began);
        assert_eq!(suspects.due(began + PATIENCE / 2), None);
        assert_eq!(suspects.next(), Some(began + PATIENCE));
        assert_eq!(suspects.due(began + PATIENCE), Some(a));
        assert_eq!((suspects.due(began + PATIENCE), suspects.next()), (None, None));
    }
}
