//! Publishes commits to the channel, serially per stream, and marks them in the event store.
//!
//! The rules, each at its line below:
//! 1. One task at a time sends a stream's commits, in order. It sends the next run only when the channel has accepted every record
//!    of this one.
//! 2. When a run fails, no later commit of that stream is sent before this run is sent again. The whole queue is dropped, and every
//!    later run begins at the oldest commit that is not known to be published.
//! 3. A commit is marked only when the channel will not forget it, and everybody who needs it can get it from this channel.
//!
//! Duplicates may happen (two processes, a crash before the mark) and are harmless. Disorder must not happen.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use event_channel::{EventChannel, PublishError, Receipt, Record};
use event_sourcing::{EncodedEvent, StreamId, Version};
use event_store::{Commit, EventStore};
use metrics::Counter;
use parking_lot::Mutex;
use runtime::{KillPoint, kill_point};
use tokio::sync::{Notify, oneshot};

use crate::marks::marks;
use crate::record::record;
use crate::retry_list::RetryList;
use crate::state_cache::StreamProgress;

/// The most commits that are sent as one run.
const RUN_LIMIT: usize = 100;

/// A size in bytes that no record of ours reaches. An event is at most a request's body with every character escaped, and its
/// headers.
const LARGEST_RECORD: usize = 256 * 1024;

/// Publishes commits. Cheap to clone.
#[derive(Clone)]
pub struct Publisher {
    inner: Arc<Inner>,
}

struct Inner {
    store: EventStore,
    channel: EventChannel,
    /// The `ce_source` of the records.
    source: &'static str,
    progress: Arc<dyn StreamProgress>,
    /// The streams with commits in flight, and no others. They are apart from the state cache, because they are never evicted. A
    /// cached state may be evicted, because the event store knows which commits are unpublished.
    streams: Mutex<HashMap<StreamId, OutboundStream>>,
    idle: Notify,
    failed: Notify,
    retry_list: RetryList,
    marking: Mutex<MarkPermission>,
    published: OnceLock<Counter>,
}

/// Whether commits may be marked.
#[derive(Default)]
struct MarkPermission {
    /// The end of the permission of each view that has to be asked.
    until: HashMap<&'static str, Instant>,
    /// Streams with commits that were published here and not marked, and the versions of the last ones.
    delivered: HashMap<StreamId, Version>,
}

impl MarkPermission {
    fn is_allowed(&self) -> bool {
        self.until.values().all(|until| Instant::now() < *until)
    }
}

/// The commits of one stream that are in flight.
#[derive(Default)]
struct OutboundStream {
    state: SendState,
    /// The version of the last commit that was queued. Commits up to it are not queued again.
    taken: Version,
    /// The version of the last commit that the channel has accepted and may still forget.
    accepted: Version,
    /// The number of runs that the channel has accepted and may still forget.
    unsettled: usize,
    waiters: Vec<Waiter>,
}

/// The state of a stream in flight. A queue exists only while a task sends it.
///
/// ```text
/// not in flight ── take_in ─────────────────────▶ Sending
/// Sending ──────── accepted, nothing is queued ─▶ Settling
/// Sending ──────── gave_up, drops the queue ────▶ Settling
/// Settling ─────── take_in ─────────────────────▶ Sending
/// Settling ─────── the last run is settled ─────▶ not in flight
/// ```
#[derive(Default)]
enum SendState {
    /// A task sends these commits, in order.
    Sending { queue: VecDeque<Arc<Commit>> },
    /// No task sends. The stream stays in flight until no run is unsettled.
    #[default]
    Settling,
}

struct Waiter {
    stage: PublishStage,
    version: Version,
    tell: oneshot::Sender<bool>,
}

/// A stage that a caller can wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublishStage {
    /// The channel has accepted the commit.
    Accepted,
    /// The commit is marked as published.
    Marked,
}

impl Publisher {
    pub(crate) fn new(
        store: EventStore,
        channel: EventChannel,
        source: &'static str,
        progress: Arc<dyn StreamProgress>,
    ) -> Self {
        let inner = Inner {
            store,
            channel,
            source,
            progress,
            streams: Mutex::default(),
            idle: Notify::new(),
            failed: Notify::new(),
            retry_list: RetryList::default(),
            marking: Mutex::default(),
            published: OnceLock::new(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The channel.
    #[must_use]
    pub fn channel(&self) -> &EventChannel {
        &self.inner.channel
    }

    /// Returns an event of a commit as it is published, under the event's own version.
    pub(crate) fn record(&self, commit: &Commit, version: Version, event: &EncodedEvent) -> Record {
        record(self.inner.source, commit, version, event)
    }

    /// Checks that the channel will take every event of a commit. So a command is refused before its commit is kept.
    ///
    /// # Errors
    /// [`PublishError::TooLarge`] when it will not.
    pub(crate) fn check(&self, commit: &Commit) -> Result<(), PublishError> {
        match self.channel().largest() {
            Some(limit) if limit < LARGEST_RECORD => {
                records_of(self.inner.source, commit).try_for_each(|record| self.channel().check(&record))
            }
            _ => Ok(()),
        }
    }

    /// Sends a contiguous run of a stream's commits. The run begins at the oldest commit that is not known to be published. Commits
    /// that are in flight already are not sent twice.
    pub fn submit(&self, stream: &StreamId, run: Vec<Arc<Commit>>) {
        self.take_in(stream, run, None);
    }

    /// Sends a run as [`Self::submit`] does. The future gives `true` once the run's last commit has come to this stage, and
    /// `false` if it failed before.
    pub fn submit_and_tell(
        &self,
        stream: &StreamId,
        run: Vec<Arc<Commit>>,
        stage: PublishStage,
    ) -> impl Future<Output = bool> + use<> {
        let (tell, told) = oneshot::channel();
        if let Some(version) = run.last().map(|commit| commit.version) {
            self.take_in(stream, run, Some(Waiter { stage, version, tell }));
        }
        async { told.await.unwrap_or(false) }
    }

    /// Returns whether commits of this stream are in flight here.
    #[must_use]
    pub fn is_in_flight(&self, stream: &StreamId) -> bool {
        self.inner.streams.lock().contains_key(stream)
    }

    /// The number of streams with commits in flight here.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.inner.streams.lock().len()
    }

    /// Waits until nothing is in flight.
    pub async fn idle(&self) {
        loop {
            let idle = self.inner.idle.notified();
            if self.inner.streams.lock().is_empty() {
                return;
            }
            idle.await;
        }
    }

    /// Allows marks until this time and no longer, as far as this view is concerned. Each view that was named here must allow them;
    /// without a call they are always allowed. Meanwhile, commits that were published without a mark are published once more, by the
    /// relay, and marked.
    ///
    /// A channel in memory has the subscribers of one process. While other processes need the events for tables of their own, they
    /// read them in the event store, where they find those that are not marked.
    pub fn allow_marks_until(&self, view: &'static str, until: Instant) {
        let mut marking = self.inner.marking.lock();
        marking.until.insert(view, until);
        if marking.is_allowed() && !std::mem::take(&mut marking.delivered).is_empty() {
            self.inner.failed.notify_one();
        }
    }

    /// Returns whether commits may be marked now.
    #[must_use]
    pub fn may_mark(&self) -> bool {
        self.inner.marking.lock().is_allowed()
    }

    /// The version up to which a stream's commits were published here and not marked.
    pub(crate) fn delivered(&self, stream: &StreamId) -> Version {
        self.inner.marking.lock().delivered.get(stream).copied().unwrap_or(Version::NONE)
    }

    /// Waits until a run has failed.
    pub async fn failed(&self) {
        self.inner.failed.notified().await;
    }

    /// The streams whose runs failed here and that nobody has sent since, as far as is known.
    pub(crate) fn retry_list(&self) -> &RetryList {
        &self.inner.retry_list
    }

    fn take_in(&self, stream: &StreamId, run: Vec<Arc<Commit>>, waiter: Option<Waiter>) {
        let mut streams = self.inner.streams.lock();
        let flight = streams.entry(stream.clone()).or_default();
        let starts = flight.queue(run);
        match waiter {
            Some(waiter) if waiter.stage == PublishStage::Accepted && waiter.version <= flight.accepted => {
                // The waiter may have given up.
                let _ = waiter.tell.send(true);
            }
            waiter => flight.waiters.extend(waiter),
        }
        // Rule 1: one task a stream.
        if starts {
            tokio::spawn(self.clone().send(stream.clone()));
        }
    }

    async fn send(self, stream: StreamId) {
        let mut limit = RUN_LIMIT;
        while let Some(run) = self.next_run(&stream, limit) {
            let last = last_of(&run);
            kill_point(KillPoint::BeforePublish);
            match self.inner.channel.publish(records(self.inner.source, &run)).await {
                Ok(receipt) => {
                    kill_point(KillPoint::AfterPublish);
                    self.count(&run);
                    if !self.accepted(&stream, last) {
                        return self.settle(stream, run, receipt).await;
                    }
                    tokio::spawn(self.clone().settle(stream.clone(), run, receipt));
                    limit = RUN_LIMIT;
                }
                // A run that finds no room is tried with its first commit alone. Otherwise a stream with more unpublished commits
                // than the channel has places would never get through.
                Err(PublishError::Full) if run.len() > 1 => {
                    self.put_back(&stream, run);
                    limit = 1;
                }
                Err(error) => return self.gave_up(&stream, first_of(&run), &error),
            }
        }
    }

    /// Counts the events that the channel has taken, including those that it had before.
    fn count(&self, run: &[Arc<Commit>]) {
        let events: usize = run.iter().map(|commit| commit.events.len()).sum();
        let counter = || metrics::counter!("published_events_total");
        self.inner.published.get_or_init(counter).increment(events as u64);
    }

    fn put_back(&self, stream: &StreamId, run: Vec<Arc<Commit>>) {
        let mut streams = self.inner.streams.lock();
        if let Some(SendState::Sending { queue }) = streams.get_mut(stream).map(|flight| &mut flight.state) {
            run.into_iter().rev().for_each(|commit| queue.push_front(commit));
        }
    }

    fn next_run(&self, stream: &StreamId, limit: usize) -> Option<Vec<Arc<Commit>>> {
        let mut streams = self.inner.streams.lock();
        let flight = streams.get_mut(stream)?;
        if !flight.goes_on() {
            self.forget_if_done(&mut streams, stream);
            return None;
        }
        let SendState::Sending { queue } = &mut flight.state else { return None };
        let commits = queue.len().min(limit);
        Some(queue.drain(..commits).collect())
    }

    /// Notes that the channel has accepted a run, and returns whether there is more to send. If not, this task no longer sends.
    fn accepted(&self, stream: &StreamId, last: Version) -> bool {
        let mut streams = self.inner.streams.lock();
        let Some(flight) = streams.get_mut(stream) else { return false };
        flight.unsettled += 1;
        flight.accepted = last;
        flight.tell(PublishStage::Accepted, last, true);
        flight.goes_on()
    }

    async fn settle(self, stream: StreamId, run: Vec<Arc<Commit>>, receipt: Receipt) {
        let last = last_of(&run);
        // Rule 3: only what the channel will not forget is marked. If the mark is lost, the relay sends it again.
        let marked = receipt.settled().await && self.mark_if_allowed(&stream, &run).await;
        if marked {
            self.inner.progress.published(&stream, last);
        }
        let mut streams = self.inner.streams.lock();
        if let Some(flight) = streams.get_mut(&stream) {
            flight.unsettled -= 1;
            flight.tell(PublishStage::Marked, last, marked);
        }
        self.forget_if_done(&mut streams, &stream);
        drop(streams);
        if !marked {
            self.inner.retry_list.note(&stream, first_of(&run));
            self.inner.failed.notify_one();
        }
    }

    /// Returns false if the commits must be published again.
    async fn mark_if_allowed(&self, stream: &StreamId, run: &[Arc<Commit>]) -> bool {
        {
            let mut marking = self.inner.marking.lock();
            if !marking.is_allowed() {
                let delivered = marking.delivered.entry(stream.clone()).or_default();
                *delivered = (*delivered).max(last_of(run));
                return true;
            }
        }
        self.mark(stream, run).await
    }

    async fn mark(&self, stream: &StreamId, run: &[Arc<Commit>]) -> bool {
        let marks = marks(run, self.inner.progress.known(stream));
        kill_point(KillPoint::BeforeMark);
        match self.inner.store.mark_published(marks).await {
            Ok(()) => {
                kill_point(KillPoint::AfterMark);
                true
            }
            Err(error) => {
                tracing::warn!(%error, "published commits could not be marked; they will be sent again");
                false
            }
        }
    }

    /// Rule 2: drops the whole queue. The commits stay unpublished in the store, and the relay is woken. If a command comes before
    /// the relay, it sends them too.
    fn gave_up(&self, stream: &StreamId, oldest: Version, error: &PublishError) {
        // An event that is too large was within the limit when its command was accepted. It waits until somebody raises the limit
        // again, so it is no use to send it again at once.
        let is_too_large = matches!(error, PublishError::TooLarge { .. });
        if is_too_large {
            tracing::error!(%stream, %error, "a run can't be published");
        } else {
            tracing::debug!(%stream, %error, "a run could not be published");
        }
        metrics::counter!("publish_failures_total").increment(1);
        let mut streams = self.inner.streams.lock();
        if let Some(flight) = streams.get_mut(stream) {
            flight.state = SendState::Settling;
            (flight.taken, flight.accepted) = (Version::NONE, Version::NONE);
            flight.waiters.clear();
        }
        self.inner.retry_list.note(stream, oldest);
        self.forget_if_done(&mut streams, stream);
        drop(streams);
        if !is_too_large {
            self.inner.failed.notify_one();
        }
    }

    fn forget_if_done(&self, streams: &mut HashMap<StreamId, OutboundStream>, stream: &StreamId) {
        if streams.get(stream).is_some_and(OutboundStream::is_done) {
            streams.remove(stream);
        }
        if streams.is_empty() {
            self.inner.idle.notify_waiters();
        }
    }
}

impl OutboundStream {
    /// Queues the commits of a run that are not in flight. Returns whether a task must be started to send them.
    fn queue(&mut self, run: Vec<Arc<Commit>>) -> bool {
        let taken = self.taken;
        self.taken = run.last().map_or(taken, |last| last.version.max(taken));
        let commits = run.into_iter().filter(|commit| commit.version > taken);
        match &mut self.state {
            SendState::Sending { queue } => {
                queue.extend(commits);
                false
            }
            SendState::Settling => {
                self.state = SendState::Sending { queue: commits.collect() };
                true
            }
        }
    }

    /// Returns whether there is more to send. If not, the task that sends ends here.
    fn goes_on(&mut self) -> bool {
        match &self.state {
            SendState::Sending { queue } if !queue.is_empty() => true,
            _ => {
                self.state = SendState::Settling;
                false
            }
        }
    }

    const fn is_done(&self) -> bool {
        matches!(self.state, SendState::Settling) && self.unsettled == 0
    }

    fn tell(&mut self, stage: PublishStage, up_to: Version, outcome: bool) {
        for waiter in self.waiters.extract_if(.., |waiter| waiter.stage == stage && waiter.version <= up_to) {
            // The waiter may have given up.
            let _ = waiter.tell.send(outcome);
        }
    }
}

/// The version of a run's first commit.
fn first_of(run: &[Arc<Commit>]) -> Version {
    run.first().map_or(Version::NONE, |commit| commit.version)
}

/// The version of a run's last commit.
fn last_of(run: &[Arc<Commit>]) -> Version {
    run.last().map_or(Version::NONE, |commit| commit.version)
}

fn records(source: &'static str, run: &[Arc<Commit>]) -> Vec<Record> {
    run.iter().flat_map(|commit| records_of(source, commit)).collect()
}

fn records_of(source: &'static str, commit: &Commit) -> impl Iterator<Item = Record> {
    commit.versioned().map(move |(version, event)| record(source, commit, version, event))
}
