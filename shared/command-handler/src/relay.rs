//! Publishes commits that stayed unpublished: after a crash, an outage of the channel, or a Lambda that was frozen too early.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Duration, Instant};

use event_sourcing::Version;
use event_store::{ANSWERED_KEPT, Commit, CommitId, EventStore, Load, OtherProcesses, StoreError};
use futures_util::future::join_all;
use jiff::{SignedDuration, Timestamp};
use runtime::{Backoff, KillPoint, kill_point};
use serde::Serialize;
use tokio::sync::watch;

use crate::publisher::{PublishStage, Publisher};

/// The most streams of one sweep. They come in random order, so that several relays mostly take different ones.
const STREAMS_A_SWEEP: usize = 500;

/// The interval of sweeps when nothing wakes the relay.
const INTERVAL: Duration = Duration::from_secs(5);

/// The age from which commits of others are published while none may be marked.
const UNMARKED_AGE: Duration = Duration::from_secs(1);

/// The interval at which the relay checks that the store has everything that it needs.
const CHECK: Duration = Duration::from_secs(30);

/// The wait after an error of the store.
const AFTER_ERROR: Duration = Duration::from_secs(1);

/// The rests after sweeps in a row of which the channel has refused all. Brokers may answer every question and take no
/// record. So it proves nothing that they are up again.
const REST: Backoff = Backoff { first: Duration::from_millis(100), longest: Duration::from_secs(1) };

/// Kept free before a deadline, so that the last marks are written and the answer is sent.
pub(crate) const MARGIN: Duration = Duration::from_secs(2);

/// Publishes commits that the event store holds unpublished.
#[derive(Clone)]
pub struct Relay {
    store: EventStore,
    publisher: Publisher,
    min_age: Duration,
}

/// The result of one sweep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SweepReport {
    /// Streams that the sweep tried to publish.
    pub streams: usize,
    /// Commits that the channel accepted.
    pub commits: usize,
    /// Streams that could not be read, or that the channel did not accept whole. They stay unpublished.
    pub failed: usize,
    /// `true` if there were as many streams as a sweep takes, so there may be more.
    #[serde(skip)]
    pub more: bool,
}

impl SweepReport {
    /// Returns whether streams failed and no commit was accepted.
    const fn is_refused(&self) -> bool {
        self.commits == 0 && self.failed > 0
    }

    /// Returns both together.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self {
            streams: self.streams + other.streams,
            commits: self.commits + other.commits,
            failed: self.failed + other.failed,
            more: other.more,
        }
    }
}

impl Relay {
    /// Makes a relay beside this publisher. A commit younger than `min_age` is left to the process that appended it, unless the
    /// store knows that this process is gone. `min_age` is twice the channel's delivery timeout where other processes publish
    /// too, and zero where this is the only one.
    #[must_use]
    pub fn new(store: EventStore, publisher: Publisher, min_age: Duration) -> Self {
        Self { store, publisher, min_age }
    }

    /// Publishes the unpublished commits of up to `STREAMS_A_SWEEP` streams, and waits until the channel has accepted or refused
    /// them.
    ///
    /// # Errors
    /// When the event store is not available.
    pub async fn sweep(&self) -> Result<SweepReport, StoreError> {
        // The topic may have been made anew. The sweep does not wait for this check.
        self.publisher.channel().look_again();
        let left = self.store.outstanding(self.young(), STREAMS_A_SWEEP).await?;
        kill_point(KillPoint::RelayAfterLook);
        Ok(self.send_all(left).await)
    }

    /// Returns what is known of the other processes that publish, and what this relay leaves to them. `None` on a store that
    /// knows nothing of them.
    ///
    /// # Errors
    /// When the event store is not available.
    pub async fn other_processes(&self) -> Result<Option<OtherProcesses>, StoreError> {
        self.store.other_processes(self.young()).await
    }

    /// The times at which those commits were recorded that are left to others.
    fn young(&self) -> RangeInclusive<Timestamp> {
        // Commits that nobody may mark are no work of others that they would do in time.
        let min_age = if self.publisher.may_mark() { self.min_age } else { self.min_age.min(UNMARKED_AGE) };
        let age = SignedDuration::try_from(min_age).unwrap_or(SignedDuration::MAX);
        let now = Timestamp::now();
        now.checked_sub(age).unwrap_or(Timestamp::UNIX_EPOCH)..=now
    }

    /// Sweeps until nothing is left, the channel refuses, or the deadline is near; then waits for the marks.
    ///
    /// # Errors
    /// When the event store is not available.
    pub async fn sweep_until(&self, deadline: Instant) -> Result<SweepReport, StoreError> {
        let mut total = SweepReport::default();
        while deadline.saturating_duration_since(Instant::now()) > MARGIN {
            let swept = self.sweep().await?;
            total = total.and(swept);
            if swept.commits == 0 || !swept.more {
                break;
            }
        }
        let rest = deadline.saturating_duration_since(Instant::now());
        // What is not marked in time is sent again by the next sweep.
        let _ = tokio::time::timeout(rest, self.publisher.idle()).await;
        Ok(total)
    }

    async fn send_all(&self, left: Vec<CommitId>) -> SweepReport {
        let mut swept = SweepReport { more: left.len() == STREAMS_A_SWEEP, ..SweepReport::default() };
        let streams = left.into_iter().filter(|commit| !self.publisher.is_in_flight(&commit.stream));
        for outcome in join_all(streams.map(|oldest| self.send(oldest))).await {
            swept.streams += 1;
            match outcome {
                Some(commits) => swept.commits += commits,
                None => swept.failed += 1,
            }
        }
        swept
    }

    /// Sends a stream from its oldest unpublished commit on, which is this one or a later one. Returns the number of commits if the
    /// channel accepted all.
    async fn send(&self, oldest: CommitId) -> Option<usize> {
        let after = Version::new(oldest.version.get().saturating_sub(1));
        let load = Load::after(oldest.stream.clone(), after);
        let delivered = self.publisher.delivered(&oldest.stream);
        let is_done = |commit: &Commit| !commit.unpublished || commit.version <= delivered;
        let run: Vec<Arc<Commit>> = match self.store.load(load).await {
            Ok(stream) => stream.commits.into_iter().skip_while(is_done).map(Arc::new).collect(),
            // This stream waits for a program that can read it. The other streams are sent.
            Err(StoreError::Unreadable(problem)) => {
                tracing::error!(%problem, "a stream can't be relayed");
                metrics::counter!("unreadable_streams_total", "by" => "relay").increment(1);
                return None;
            }
            Err(error) => {
                tracing::warn!(stream = %oldest.stream, %error, "a stream can't be relayed now");
                self.publisher.retry_list().note(&oldest.stream, oldest.version);
                return None;
            }
        };
        let commits = run.len();
        if commits == 0 {
            return Some(0);
        }
        kill_point(KillPoint::RelayBeforeSend);
        let accepted = self.publisher.submit_and_tell(&oldest.stream, run, PublishStage::Accepted).await;
        kill_point(KillPoint::RelayAfterSend);
        accepted.then_some(commits)
    }

    /// Sweeps until told to stop. The first sweep comes at once. The next comes when a publish has failed and the channel takes
    /// records again, and otherwise after a few seconds. It also deletes the expired records of answered commands.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        let (mut refused, mut checked) = (0, Instant::now());
        loop {
            if checked.elapsed() >= CHECK {
                self.check_store().await;
                checked = Instant::now();
            }
            tokio::select! {
                swept = self.sweep_until_clean() => refused = if swept.is_refused() { refused + 1 } else { 0 },
                _ = stop.wait_for(|stop| *stop) => return,
            }
            tokio::select! {
                () = self.woken(REST.after(refused)) => {}
                () = tokio::time::sleep(INTERVAL) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }

    /// Checks that the store still has what it was made with: somebody may have dropped it.
    async fn check_store(&self) {
        if let Err(error) = self.store.ping().await {
            tracing::warn!(%error, "the event store is not as it should be");
        }
    }

    /// Waits until a run has failed and the channel may take it now, and then for this rest.
    async fn woken(&self, rest: Duration) {
        self.publisher.failed().await;
        self.publisher.channel().available().await;
        tokio::time::sleep(rest).await;
    }

    /// Sweeps again while commits get through and there may be more. A run that the channel refuses wakes the relay by itself, and
    /// an unreadable stream waits for the next sweep. So neither is tried in a loop.
    async fn sweep_until_clean(&self) -> SweepReport {
        let mut all = self.send_what_failed_here().await;
        loop {
            match self.sweep().await {
                Ok(swept) => {
                    all = all.and(swept);
                    if swept.commits == 0 || !swept.more {
                        break;
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "the relay can't read the event store");
                    tokio::time::sleep(AFTER_ERROR).await;
                }
            }
        }
        self.forget_answered().await;
        all
    }

    async fn send_what_failed_here(&self) -> SweepReport {
        let mut all = SweepReport::default();
        loop {
            let some = self.publisher.retry_list().take(STREAMS_A_SWEEP);
            if some.is_empty() {
                return all;
            }
            all = all.and(self.send_all(some).await);
            if all.failed > 0 {
                return all;
            }
        }
    }

    async fn forget_answered(&self) {
        let kept = SignedDuration::try_from(ANSWERED_KEPT).unwrap_or(SignedDuration::MAX);
        let before = Timestamp::now().checked_sub(kept).unwrap_or(Timestamp::UNIX_EPOCH);
        match self.store.forget_answered(before).await {
            Ok(0) => {}
            Ok(records) => tracing::debug!(records, "forgot answers past their time"),
            Err(error) => tracing::warn!(%error, "answers past their time could not be forgotten"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_that_goes_on_refusing_is_left_in_peace_for_longer_and_longer() {
        let rests: Vec<u128> = [0, 1, 2, 3, 4, 5, u32::MAX].map(|n| REST.after(n).as_millis()).into();
        assert_eq!(rests, [0, 100, 200, 400, 800, 1000, 1000]);
    }

    #[test]
    fn a_sweep_of_which_something_got_through_was_not_refused() {
        let refused = SweepReport { streams: 2, failed: 2, ..SweepReport::default() };
        let some = SweepReport { streams: 2, failed: 1, commits: 1, ..SweepReport::default() };
        let outcomes =
            [SweepReport::default(), refused, some, refused.and(some)].map(|swept| swept.is_refused());
        assert_eq!(outcomes, [false, true, false, false]);
    }
}
