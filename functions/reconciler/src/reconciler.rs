//! The walk compares one page of streams a step, round after round. A lease beside the view lets one process walk at a time. The
//! position of the round is kept there too, so that the round goes on after a restart.
//!
//! While the view is in doubt, a round begins anew, and only its share of the time limits it. The doubt is over when a round that
//! began after it has compared every stream and filled in the missing events.

use std::time::{Duration, Instant};

use domain::OrdersView;
use event_store::{EventStore, StoreError};
use jiff::{SignedDuration, Timestamp};
use metrics::counter;
use read_store::{ReadStore, ReadStoreError, Step, Walk, Walker};
use serde::Serialize;
use thiserror::Error;
use tokio::sync::watch;
use tokio::time::{sleep, sleep_until};
use tracing::{info, warn};
use uuid::Uuid;

use crate::ReconcilerSettings;
use crate::missing::{self, FillCounts, Suspects};

/// Commits that a step reads.
const PAGE: usize = 1_000;

/// The length of the lease: a process that has crashed keeps others from walking for so long.
const LEASE: Duration = Duration::from_secs(20);

/// The pause between two checks whether the view is in doubt or the walk is free.
const LOOK: Duration = Duration::from_secs(5);

/// The pause between two rounds when there is little to compare.
const BETWEEN_ROUNDS: Duration = Duration::from_secs(60);

/// The pause after a store has failed.
const AFTER_ERROR: Duration = Duration::from_secs(2);

/// A store is not available.
#[derive(Debug, Error)]
pub enum ReconcileError {
    /// The event store.
    #[error(transparent)]
    Events(#[from] StoreError),
    /// The read store.
    #[error(transparent)]
    View(#[from] ReadStoreError),
}

/// The result of some steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Round {
    /// Streams that were compared.
    pub compared: u64,
    /// Streams that the view lacked events of.
    pub found: u64,
    /// Events that were filled in.
    pub filled: u64,
    /// True if the last stream was reached.
    pub ended: bool,
}

/// Compares the view with the event store.
pub struct Reconciler {
    events: EventStore,
    view: ReadStore<OrdersView>,
    settings: ReconcilerSettings,
    name: String,
    suspects: Suspects,
}

impl Reconciler {
    /// Returns a reconciler of these two stores.
    #[must_use]
    pub fn new(events: EventStore, view: ReadStore<OrdersView>, settings: ReconcilerSettings) -> Self {
        let name = Uuid::new_v4().to_string();
        Self { events, view, settings, name, suspects: Suspects::default() }
    }

    /// Walks until `stop` is true. After an error it waits and tries again.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut problem = String::new();
        loop {
            let rest = tokio::select! {
                rest = self.look_and_walk() => rest,
                _ = stop.wait_for(|stop| *stop) => break,
            };
            let rest = rest.unwrap_or_else(|error| {
                // Each problem is logged once, however long it lasts.
                if error.to_string() != problem {
                    problem = error.to_string();
                    warn!("the view is not compared with the event store: {problem}");
                }
                AFTER_ERROR
            });
            tokio::select! {
                () = sleep(rest) => {}
                _ = stop.wait_for(|stop| *stop) => break,
            }
        }
        // This lets another process go on at once.
        if let Err(error) = self.view.leave_walk(&self.name).await {
            warn!(%error, "the comparison was not left to others");
        }
    }

    /// Compares streams until the deadline. Unless the view is in doubt, it compares no more streams than the rate allows in a
    /// minute.
    ///
    /// # Errors
    /// When a store is not available.
    pub async fn walk_until(&mut self, deadline: Instant) -> Result<Round, ReconcileError> {
        let mut total = Round::default();
        let allowed = u64::from(self.settings.reconcile_rate) * 60;
        if allowed == 0 {
            return Ok(total);
        }
        let Some(mut walk) = self.take().await? else { return Ok(total) };
        while Instant::now() < deadline && (walk.doubt.is_some() || total.compared < allowed) {
            let began = Instant::now();
            let Some((round, next)) = self.step(&walk, Some(deadline)).await? else { break };
            total.compared += round.compared;
            total.found += round.found;
            total.filled += round.filled;
            total.ended = round.ended;
            if round.ended {
                break;
            }
            walk = next;
            let rest = self.settings.rest(began.elapsed(), 0, true);
            sleep(rest.min(deadline.saturating_duration_since(Instant::now()))).await;
        }
        // Streams that are not due in time are found again in the next round.
        let rest = self.fill_in_the_rest(Some(deadline)).await?;
        self.suspects.clear();
        if rest.streams > 0 {
            total.found += rest.streams;
            total.filled += rest.events;
            let position = walk.position.filter(|_| !total.ended);
            let settling = walk.settling.filter(|_| !total.ended);
            let step =
                Step { position, settling, found: rest.streams, filled: rest.events, ..Step::default() };
            self.view.step_walk(self.walker(LEASE), step).await?;
        }
        self.view.leave_walk(&self.name).await?;
        Ok(total)
    }

    /// Walks a round if one is due and no other process walks. Returns how long to rest then.
    async fn look_and_walk(&mut self) -> Result<Duration, ReconcileError> {
        let walk = self.view.walk().await?;
        if !self.is_due(&walk) {
            return Ok(LOOK);
        }
        let Some(mut walk) = self.take().await? else { return Ok(LOOK) };
        loop {
            let (began, in_doubt) = (Instant::now(), walk.doubt.is_some());
            let Some((round, next)) = self.step(&walk, None).await? else { return Ok(LOOK) };
            if round.ended {
                return Ok(LOOK);
            }
            let rest = self.settings.rest(began.elapsed(), round.compared as usize, in_doubt);
            walk = next;
            self.rest(rest, in_doubt).await?;
        }
    }

    /// Rests for this time. A new doubt ends a long rest early.
    async fn rest(&self, rest: Duration, in_doubt: bool) -> Result<(), ReadStoreError> {
        let until = Instant::now() + rest;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            sleep(left.min(LOOK)).await;
            if left <= LOOK || (!in_doubt && self.view.walk().await?.doubt.is_some()) {
                return Ok(());
            }
        }
    }

    fn is_due(&self, walk: &Walk) -> bool {
        if self.settings.reconcile_rate == 0 {
            return false;
        }
        if walk.doubt.is_some() {
            return true;
        }
        let between = SignedDuration::try_from(BETWEEN_ROUNDS).unwrap_or(SignedDuration::MAX);
        let rests = walk.ended.is_some_and(|ended| Timestamp::now().duration_since(ended) < between);
        walk.position.is_some() || !rests
    }

    async fn take(&mut self) -> Result<Option<Walk>, ReadStoreError> {
        self.suspects.clear();
        self.view.take_walk(self.walker(LEASE)).await
    }

    fn walker(&self, lease: Duration) -> Walker {
        let now = Timestamp::now();
        Walker { name: self.name.clone(), now, until: now.checked_add(lease).unwrap_or(now) }
    }

    /// Compares a page, and fills in the events that earlier steps found missing. At the end of a round it waits until all
    /// suspects are due, but no longer than until the deadline. Returns `None` when another process has taken over the walk.
    async fn step(
        &mut self,
        walk: &Walk,
        deadline: Option<Instant>,
    ) -> Result<Option<(Round, Walk)>, ReconcileError> {
        let (after, settling) = begin(walk);
        let page = self.events.heads(after.as_deref(), PAGE).await?;
        let behind = missing::behind(&self.view, &page.streams).await?;
        self.suspects.add(behind, Instant::now());
        let mut filled = self.fill_in_what_is_due().await?;
        let ended = page.next.is_none();
        if ended {
            let rest = self.fill_in_the_rest(deadline).await?;
            filled =
                FillCounts { streams: filled.streams + rest.streams, events: filled.events + rest.events };
        }
        let compared = page.streams.len() as u64;
        counter!("reconciled_streams_total").increment(compared);
        let step = Step {
            position: page.next,
            ended: ended.then(Timestamp::now),
            found: filled.streams,
            filled: filled.events,
            settling: settling.filter(|_| !ended),
            settled: settling.filter(|_| ended && self.suspects.next().is_none()),
        };
        // Between two rounds no process holds the lease, so that the first one that learns of a doubt can begin at once.
        let lease = if ended { Duration::ZERO } else { LEASE };
        let Some(next) = self.view.step_walk(self.walker(lease), step).await? else { return Ok(None) };
        if walk.doubt.is_some() && next.doubt.is_none() {
            info!(
                found = next.found,
                filled = next.filled,
                "the view is in doubt no more: every stream was compared"
            );
        }
        Ok(Some((Round { compared, found: filled.streams, filled: filled.events, ended }, next)))
    }

    async fn fill_in_what_is_due(&mut self) -> Result<FillCounts, ReconcileError> {
        let mut filled = FillCounts::default();
        while let Some(streams) = self.suspects.due(Instant::now()) {
            let some = missing::fill_in(&self.events, &self.view, &streams).await?;
            filled.streams += some.streams;
            filled.events += some.events;
        }
        Ok(filled)
    }

    async fn fill_in_the_rest(&mut self, deadline: Option<Instant>) -> Result<FillCounts, ReconcileError> {
        let mut filled = FillCounts::default();
        while let Some(at) = self.suspects.next().filter(|at| deadline.is_none_or(|deadline| *at < deadline))
        {
            sleep_until(at.into()).await;
            let some = self.fill_in_what_is_due().await?;
            filled.streams += some.streams;
            filled.events += some.events;
        }
        Ok(filled)
    }
}

/// Returns where the page begins and which doubts the round settles. A round begins at the first stream when there are new
/// doubts.
fn begin(walk: &Walk) -> (Option<String>, Option<i64>) {
    let Some((since, why)) = &walk.doubt else { return (walk.position.clone(), None) };
    if walk.settling == Some(walk.doubts) {
        return (walk.position.clone(), walk.settling);
    }
    info!(%since, why, "the view may lack something: comparing it with the event store");
    (None, Some(walk.doubts))
}
