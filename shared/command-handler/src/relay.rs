//! Publishes what was left: after a crash, an outage of the channel, or a Lambda that was frozen too early.

use std::sync::Arc;
use std::time::Duration;

use domain::Version;
use event_store::{ANSWERED_KEPT, Commit, CommitId, EventStore, Load, StoreError};
use futures_util::future::join_all;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use tokio::sync::watch;

use crate::publisher::{Moment, Publisher};

/// How many streams one sweep takes at the most. They are taken in random order, so that several relays mostly take
/// different ones.
pub const STREAMS_A_SWEEP: usize = 500;

/// How often the relay looks when nothing wakes it.
const INTERVAL: Duration = Duration::from_secs(5);

/// How long it waits after an error of the store.
const AFTER_ERROR: Duration = Duration::from_secs(1);

/// Publishes commits that the event store holds unpublished.
#[derive(Clone)]
pub struct Relay {
    store: EventStore,
    publisher: Publisher,
    min_age: Duration,
}

/// What one sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Swept {
    /// Streams with commits that were left.
    pub streams: usize,
    /// Commits that the channel accepted.
    pub commits: usize,
    /// Streams for which it did not accept all; they stay unpublished.
    pub failed: usize,
}

impl Relay {
    /// A relay beside this publisher. A commit younger than `min_age` is left to whoever appended it: twice the channel's
    /// delivery timeout where other processes publish too, nothing where this is the only one.
    #[must_use]
    pub fn new(store: EventStore, publisher: Publisher, min_age: Duration) -> Self {
        Self { store, publisher, min_age }
    }

    /// Publishes what was left of up to [`STREAMS_A_SWEEP`] streams, and waits until the channel has accepted or refused it.
    ///
    /// # Errors
    /// When the event store is not available.
    pub async fn sweep(&self) -> Result<Swept, StoreError> {
        let age = SignedDuration::try_from(self.min_age).unwrap_or(SignedDuration::MAX);
        let before = Timestamp::now().checked_sub(age).unwrap_or(Timestamp::UNIX_EPOCH);
        let left = self.store.outstanding(before, STREAMS_A_SWEEP).await?;
        let streams = left.into_iter().filter(|commit| !self.publisher.is_in_flight(&commit.stream));
        let mut swept = Swept::default();
        for outcome in join_all(streams.map(|oldest| self.send(oldest))).await {
            swept.streams += 1;
            match outcome {
                Some(commits) => swept.commits += commits,
                None => swept.failed += 1,
            }
        }
        Ok(swept)
    }

    /// Sends a stream from its oldest unpublished commit; how many commits, if all were accepted.
    async fn send(&self, oldest: CommitId) -> Option<usize> {
        let after = Version::new(oldest.version.get().saturating_sub(1));
        let load = Load { stream: oldest.stream.clone(), after, command: None };
        let run: Vec<Arc<Commit>> = match self.store.load(load).await {
            Ok(stream) => stream.commits.into_iter().map(Arc::new).collect(),
            Err(error) => {
                tracing::error!(stream = %oldest.stream, %error, "a stream can't be relayed");
                return None;
            }
        };
        let commits = run.len();
        let accepted = self.publisher.submit_and_tell(&oldest.stream, run, Moment::Accepted);
        accepted.await.then_some(commits)
    }

    /// Sweeps until told to stop: at once, then whenever a publish has failed and the channel takes records again, and
    /// otherwise every few seconds. Deletes records of answered commands that are past their time.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        loop {
            tokio::select! {
                () = self.sweep_until_clean() => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
            tokio::select! {
                () = self.woken() => {}
                () = tokio::time::sleep(INTERVAL) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }

    /// A run has failed, and the channel may take it now.
    async fn woken(&self) {
        self.publisher.failed().await;
        self.publisher.channel().available().await;
    }

    /// Sweeps while that gets on. What the channel refuses wakes the relay by itself, and what can't be read waits for the
    /// next look: neither is tried in a circle.
    async fn sweep_until_clean(&self) {
        loop {
            match self.sweep().await {
                Ok(swept) if swept.commits > 0 && swept.streams == STREAMS_A_SWEEP => {}
                Ok(_) => break,
                Err(error) => {
                    tracing::warn!(%error, "the relay can't read the event store");
                    tokio::time::sleep(AFTER_ERROR).await;
                }
            }
        }
        self.forget_answered().await;
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
