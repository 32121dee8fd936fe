//! The path of a command: look for its id, fold, decide, append, hand over to the publisher.

use std::collections::{HashSet, VecDeque};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use event_channel::PublishError;
use event_sourcing::{Aggregate, Command, CommandId, EncodedEvent, Snapshot, StreamId, Version};
use event_store::{
    AnsweredCommand, AppendError, CommandHash, CommandRecord, CommandResult, Commit, EventStore,
    LoadedStream, Metadata, StoreError,
};
use jiff::Timestamp;
use runtime::{Backoff, KillPoint, kill_point};
use thiserror::Error;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::meters::Meters;
use crate::publisher::{PublishStage, Publisher};
use crate::snapshots::SnapshotWriter;
use crate::state_cache::{CachedState, StateCache};
use crate::turns::Turns;

/// The most attempts at one command while other commands append first. After them the caller is told to try again.
const ATTEMPTS: u32 = 16;

/// The longest time for these attempts. On a busy store each attempt takes seconds, and the caller must not wait for all of them.
const LONGEST: Duration = Duration::from_secs(5);

/// The pauses between these attempts.
const PAUSE: Backoff = Backoff { first: Duration::from_millis(2), longest: Duration::from_millis(64) };

/// A command and everything that is known about its sender.
#[derive(Clone, Debug)]
pub struct CommandRequest<A: Aggregate> {
    /// The stream.
    pub stream: StreamId,
    /// The command for the stream's aggregate.
    pub command: A::Command,
    /// The identity of the command. It is the same when the command is sent again.
    pub command_id: CommandId,
    /// The origin of that id.
    pub key: KeyOrigin,
    /// A hash of the command's method, stream and body: see [`crate::command_hash`].
    pub hash: CommandHash,
    /// The condition on the stream's version, from `If-Match`.
    pub if_match: Option<IfMatch>,
    /// The metadata of the commit.
    pub metadata: Metadata,
    /// The last version that the sender has read from the channel. The events up to it need not be published again, whether or not
    /// they are marked yet.
    pub published: Version,
}

/// The origin of a command's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyOrigin {
    /// The sender chose it and may send the command again under it.
    Sender,
    /// It was made for this one request: nobody will send the command again under it.
    Fresh,
    /// It follows from an event. The command comes again with every delivery of that event, and a rejection stands too.
    Reaction,
}

/// The condition of `If-Match`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IfMatch {
    /// `*`: the aggregate exists.
    Exists,
    /// `"N"`: it is at this version.
    Version(Version),
}

impl IfMatch {
    fn holds(self, version: Version) -> bool {
        match self {
            Self::Exists => version > Version::NONE,
            Self::Version(wanted) => version == wanted,
        }
    }
}

/// A command that succeeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome<A> {
    /// The aggregate after the command. For a repeated command, the aggregate after its first execution.
    pub snapshot: Snapshot<A>,
    /// `true` if the command yielded events (the first time), `false` if it was already true.
    pub with_events: bool,
}

/// A command that did not succeed.
#[derive(Clone, Debug, Error)]
pub enum CommandError<A: Aggregate> {
    /// The aggregate's state does not allow it.
    #[error("{0}")]
    Rejected(A::Rejection),
    /// The command is a reaction's, and an earlier delivery of its event was rejected for this reason.
    #[error("{0}")]
    RejectedBefore(Arc<str>),
    /// `If-Match` does not hold.
    #[error("the {kind} is at version {0}", kind = A::KIND)]
    PreconditionFailed(Version),
    /// Another command was sent under the same key before.
    #[error("another command was sent under this key")]
    KeyReused,
    /// An event would be larger than the channel takes.
    #[error(transparent)]
    TooLarge(PublishError),
    /// Other commands appended first, again and again.
    #[error("too many commands for this {kind} at the same time", kind = A::KIND)]
    Contended,
    /// The event store failed. It is not known whether the command took place. Repeat it under the same key.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The moment at which a command is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerPolicy {
    /// When the command is durable. Publishing goes on in the background.
    Answer,
    /// When the commit is published too, or after this time. This is for a Lambda, which is frozen once it has answered.
    AwaitPublish(Duration),
    /// When the command is durable. Publishing is left to the relay, which runs in another process. This is for a tool whose own
    /// process has no receiver on the channel.
    LeaveToRelay,
}

/// Handles commands. Cheap to clone. A process has one, so that one place knows the cached states and the commits in flight.
#[derive(Clone)]
pub struct CommandHandler<A: Aggregate> {
    store: EventStore,
    publisher: Publisher,
    states: Arc<StateCache<A>>,
    turns: Arc<Turns<WaitingCommand<A>>>,
    snapshots: SnapshotWriter,
    meters: Arc<Meters>,
    answer_policy: AnswerPolicy,
}

/// The state that a decision is based on.
enum Basis<A> {
    /// From the cache, or assumed. It is right until an append finds another version. It is not good enough for an answer
    /// without an append.
    Cached(CachedState<A>),
    /// Just loaded. The command id was not among the stream's commits.
    Loaded(CachedState<A>),
}

enum Step<A> {
    Done(Outcome<A>),
    /// The decision needs a fresh load.
    LoadFirst,
    /// Another command was appended first.
    Conflict,
}

impl<A: Aggregate> CommandHandler<A> {
    /// Makes a handler on this store. `kept_states` is the number of aggregates that are kept in memory.
    #[must_use]
    pub fn new(
        store: EventStore,
        channel: event_channel::EventChannel,
        kept_states: NonZeroUsize,
        answer_policy: AnswerPolicy,
    ) -> Self {
        let states = Arc::new(StateCache::new(kept_states));
        let progress = Arc::<StateCache<A>>::clone(&states);
        let publisher = Publisher::new(store.clone(), channel, A::SOURCE, progress);
        let snapshots = SnapshotWriter::new(store.clone());
        Self {
            store,
            publisher,
            states,
            turns: Arc::default(),
            snapshots,
            meters: Arc::default(),
            answer_policy,
        }
    }

    /// The event store.
    #[must_use]
    pub const fn store(&self) -> &EventStore {
        &self.store
    }

    /// The publisher.
    #[must_use]
    pub const fn publisher(&self) -> &Publisher {
        &self.publisher
    }

    /// Handles a command. When this returns [`Outcome`], the command's effect is durable.
    ///
    /// # Errors
    /// [`CommandError`], which says what the caller can do.
    pub async fn handle(&self, request: CommandRequest<A>) -> Result<Outcome<A>, CommandError<A>> {
        let started = Instant::now();
        let command = request.command.name();
        let result = self.in_turn(request).await;
        self.meters.count(command, name_of(&result), started.elapsed());
        result
    }

    /// Handles a command when its stream's turn comes.
    async fn in_turn(&self, request: CommandRequest<A>) -> Answer<A> {
        let wait = || {
            let (answer, answered) = oneshot::channel();
            (WaitingCommand { request: request.clone(), answer }, answered)
        };
        let Some(answered) = self.turns.take_or_wait(&request.stream, wait) else {
            let turn = Turn { handler: self.clone(), stream: request.stream.clone() };
            let answer = self.attempt(request).await;
            if is_away(&answer) {
                turn.end_for_all(VecDeque::new());
            }
            return answer;
        };
        match answered.await {
            Ok(answer) => answer,
            Err(_) => self.attempt(request).await,
        }
    }

    /// Handles commands of one stream that have waited together.
    async fn attempt_all(self, stream: StreamId, waiting: Vec<WaitingCommand<A>>) {
        let turn = Turn { handler: self.clone(), stream: stream.clone() };
        let mut waiting = VecDeque::from(waiting);
        // Where no state is cached, the first one loads the stream, for the others too.
        while let Some(first) = waiting.pop_front() {
            if waiting.is_empty() || self.states.get(&stream).is_none() {
                let answered = self.attempt(first.request).await;
                let is_away = is_away(&answered);
                // The caller may no longer wait, so a failed send is ignored.
                let _ = first.answer.send(answered);
                if is_away {
                    return turn.end_for_all(waiting);
                }
                continue;
            }
            waiting.push_front(first);
            match self.append_chain(&stream, std::mem::take(&mut waiting)).await {
                Chain::Done { alone } => {
                    alone
                        .into_iter()
                        .for_each(|command| drop(tokio::spawn(self.clone().attempt_alone(command))));
                }
                // Another process was first.
                Chain::Conflict(commands) => waiting = commands,
                Chain::Away(commands) => return turn.end_for_all(commands),
            }
        }
    }

    /// Handles a command that only a load of its own can answer.
    async fn attempt_alone(self, command: WaitingCommand<A>) {
        let answered = self.attempt(command.request).await;
        let _ = command.answer.send(answered);
    }

    /// Decides commands, each on the state to which the one before leads, and appends their commits as one write.
    async fn append_chain(&self, stream: &StreamId, commands: VecDeque<WaitingCommand<A>>) -> Chain<A> {
        let Some(mut state) = self.states.get(stream) else { return Chain::Conflict(commands) };
        let (mut decided, mut commits, mut alone) = (VecDeque::new(), Vec::new(), Vec::new());
        let mut outcomes = Vec::new();
        let mut ids = HashSet::new();
        for command in commands {
            // A repeat is answered as the first one is.
            let is_first = ids.insert(command.request.command_id.clone());
            match is_first.then(|| self.decide(&command.request, &mut state)).flatten() {
                Some((commit, outcome)) => {
                    decided.push_back(command);
                    commits.push(commit);
                    outcomes.push(outcome);
                }
                None => alone.push(command),
            }
        }
        if commits.is_empty() {
            return Chain::Done { alone };
        }
        kill_point(KillPoint::BeforeAppend);
        if let Err(error) = self.store.append_all(commits).await {
            // The append may have taken place all the same.
            self.states.forget(stream);
            decided.extend(alone);
            return match error {
                AppendError::Conflict => Chain::Conflict(decided),
                AppendError::Store(_) => Chain::Away(decided),
            };
        }
        kill_point(KillPoint::AfterAppend);
        self.snapshots.add_missing(&mut state);
        let run = self.states.put(state);
        self.publish(stream, run).await;
        for (command, outcome) in decided.into_iter().zip(outcomes) {
            // The caller may no longer wait, so a failed send is ignored.
            let _ = command.answer.send(Ok(outcome));
        }
        Chain::Done { alone }
    }

    /// Decides a command on a state that nobody has confirmed, and moves the state on. Returns `None` if only a load of its own can
    /// answer the command.
    fn decide(
        &self,
        request: &CommandRequest<A>,
        state: &mut CachedState<A>,
    ) -> Option<(Arc<Commit>, Outcome<A>)> {
        state.mark_published(request.published);
        if request.if_match.is_some_and(|wanted| !wanted.holds(state.snapshot.version)) {
            return None;
        }
        let events = state.snapshot.state.decide(request.command.clone()).ok()?;
        if events.is_empty() {
            return None;
        }
        let commit = commit_of(request, state, &events);
        self.publisher.check(&commit).ok()?;
        move_on(state, &events, &commit);
        Some((commit, Outcome { snapshot: state.snapshot.clone(), with_events: true }))
    }

    async fn attempt(&self, request: CommandRequest<A>) -> Result<Outcome<A>, CommandError<A>> {
        let (began, mut conflicts) = (Instant::now(), 0);
        let mut basis = self.first_basis(&request);
        loop {
            let current = match basis.take() {
                Some(cached) => Basis::Cached(cached),
                None => {
                    let mut stream = self.load(&request).await?;
                    // The command id is looked for before anything else: a repeated command is answered as it was.
                    if let Some(answered) = stream.answered.take() {
                        return self.replay(&request, stream, answered).await;
                    }
                    Basis::Loaded(CachedState::loaded(stream).map_err(StoreError::from)?)
                }
            };
            match self.decide_and_append(&request, current).await? {
                Step::Done(outcome) => return Ok(outcome),
                Step::LoadFirst => {}
                Step::Conflict => {
                    conflicts += 1;
                    if !may_try_again(conflicts, began.elapsed()) {
                        return Err(CommandError::Contended);
                    }
                    pause(conflicts).await;
                }
            }
        }
    }

    /// Returns the cached state of the stream. A command that creates an aggregate assumes an empty stream if nothing is cached: it
    /// appends at version 1 and loads only after a conflict.
    fn first_basis(&self, request: &CommandRequest<A>) -> Option<CachedState<A>> {
        let kept = self.states.get(&request.stream);
        match request.command.creates() {
            true => kept.or_else(|| Some(CachedState::absent(request.stream.clone()))),
            false => kept,
        }
    }

    async fn load(&self, request: &CommandRequest<A>) -> Result<LoadedStream<A>, StoreError> {
        self.store.load_stream(request.stream.clone(), Some(request.command_id.clone())).await
    }

    async fn decide_and_append(
        &self,
        request: &CommandRequest<A>,
        basis: Basis<A>,
    ) -> Result<Step<A>, CommandError<A>> {
        let (mut state, fresh) = match basis {
            Basis::Cached(state) => (state, false),
            Basis::Loaded(state) => (state, true),
        };
        state.mark_published(request.published);
        let version = state.snapshot.version;
        if request.if_match.is_some_and(|wanted| !wanted.holds(version)) {
            return match fresh {
                false => Ok(Step::LoadFirst),
                true if self.is_current(&state).await? => Err(CommandError::PreconditionFailed(version)),
                true => Ok(Step::Conflict),
            };
        }
        match state.snapshot.state.decide(request.command.clone()) {
            Ok(events) if !events.is_empty() => self.append(request, state, events).await,
            // No append checks a decision without events or a rejection. Both are answered only from a fresh load that the store
            // confirms as current.
            _ if !fresh => Ok(Step::LoadFirst),
            _ if !self.is_current(&state).await? => Ok(Step::Conflict),
            Ok(_) => self.already_true(request, state).await,
            Err(rejection) => self.rejected(request, state, rejection).await,
        }
    }

    async fn is_current(&self, state: &CachedState<A>) -> Result<bool, StoreError> {
        self.store.is_current(&state.snapshot.id, state.snapshot.version).await
    }

    async fn append(
        &self,
        request: &CommandRequest<A>,
        mut state: CachedState<A>,
        events: Vec<A::Event>,
    ) -> Result<Step<A>, CommandError<A>> {
        let commit = commit_of(request, &state, &events);
        self.publisher.check(&commit).map_err(CommandError::TooLarge)?;
        kill_point(KillPoint::BeforeAppend);
        match self.store.append(Arc::clone(&commit)).await {
            Ok(()) => kill_point(KillPoint::AfterAppend),
            Err(AppendError::Conflict) => {
                self.states.forget(&request.stream);
                return Ok(Step::Conflict);
            }
            Err(AppendError::Store(error)) => {
                // The append may have taken place all the same, so the cached state may be stale.
                self.states.forget(&request.stream);
                return Err(error.into());
            }
        }
        move_on(&mut state, &events, &commit);
        self.snapshots.add_missing(&mut state);
        let outcome = Outcome { snapshot: state.snapshot.clone(), with_events: true };
        let run = self.states.put(state);
        self.publish(&request.stream, run).await;
        Ok(Step::Done(outcome))
    }

    /// Answers a repeated command with the aggregate as it was after the first execution. If the commit is still unpublished, its
    /// process may have died, and nobody may be publishing it. So this publishes it, and the client need not wait for the relay.
    async fn replay(
        &self,
        request: &CommandRequest<A>,
        loaded: LoadedStream<A>,
        answered: AnsweredCommand,
    ) -> Result<Outcome<A>, CommandError<A>> {
        if answered.command_hash != request.hash {
            return Err(CommandError::KeyReused);
        }
        let with_events = match answered.result {
            CommandResult::Events => true,
            CommandResult::AlreadyTrue => false,
            CommandResult::Rejected(reason) => return Err(CommandError::RejectedBefore(reason)),
        };
        let snapshot = self.snapshot_at(&loaded, answered.version).await?;
        let is_unpublished = |commit: &Commit| commit.unpublished && commit.version <= answered.version;
        if loaded.commits.iter().any(is_unpublished)
            && let Ok(state) = CachedState::loaded(loaded)
        {
            let run = self.states.put(state);
            self.publish(&request.stream, run).await;
        }
        Ok(Outcome { snapshot, with_events })
    }

    /// Returns the aggregate of a stream that was loaded as it was at this version.
    async fn snapshot_at(
        &self,
        loaded: &LoadedStream<A>,
        version: Version,
    ) -> Result<Snapshot<A>, StoreError> {
        match version >= loaded.base.version {
            true => Ok(loaded.fold_to(version)?),
            false => self.store.state_at(loaded.base.id.clone(), version).await,
        }
    }

    async fn publish(&self, stream: &StreamId, run: Vec<Arc<Commit>>) {
        match self.answer_policy {
            AnswerPolicy::Answer => self.publisher.submit(stream, run),
            AnswerPolicy::AwaitPublish(patience) => {
                let marked = self.publisher.submit_and_tell(stream, run, PublishStage::Marked);
                // The command succeeded in any case. If the time is over or the publish failed, the relay publishes the commit.
                let _ = tokio::time::timeout(patience, marked).await;
            }
            AnswerPolicy::LeaveToRelay => {}
        }
    }

    /// Answers a command that changes nothing. Under a sender's key it leaves a record, so that a late retry gets the same answer
    /// even after the stream has moved on. The commit that made the command true may be unpublished. Then this publishes it, as for
    /// a repeated command ([`Self::replay`]).
    ///
    /// The command is decided at one moment and remembered at a later one, before it is answered. Another command under the same
    /// key may come in between. It finds the key free, and may be rejected. From then on it is told that the key was used. To do
    /// both at one moment would take a transaction in MongoDB.
    async fn already_true(
        &self,
        request: &CommandRequest<A>,
        state: CachedState<A>,
    ) -> Result<Step<A>, CommandError<A>> {
        let snapshot = state.snapshot.clone();
        let is_unpublished = !state.unpublished.is_empty();
        let run = self.states.put(state);
        if request.key != KeyOrigin::Fresh && !self.remember(request, snapshot.version, None).await? {
            return Ok(Step::Conflict);
        }
        if is_unpublished {
            self.publish(&request.stream, run).await;
        }
        Ok(Step::Done(Outcome { snapshot, with_events: false }))
    }

    /// Rejects a command. A client's leaves no trace, so the client may send it again later under the same key. A reaction's leaves
    /// a record, so that every delivery of its event gets this answer, even after the stream has moved on. Another delivery may
    /// come in between, as in [`Self::already_true`]. The one that writes first decides for both.
    async fn rejected(
        &self,
        request: &CommandRequest<A>,
        state: CachedState<A>,
        rejection: A::Rejection,
    ) -> Result<Step<A>, CommandError<A>> {
        let version = state.snapshot.version;
        self.states.put(state);
        if request.key == KeyOrigin::Reaction
            && !self.remember(request, version, Some(rejection.to_string().into())).await?
        {
            return Ok(Step::Conflict);
        }
        Err(CommandError::Rejected(rejection))
    }

    /// Stores the answer to a command without events, under its id. Returns false if the id is taken by now.
    async fn remember(
        &self,
        request: &CommandRequest<A>,
        version: Version,
        rejection: Option<Arc<str>>,
    ) -> Result<bool, StoreError> {
        let record = CommandRecord {
            stream: request.stream.clone(),
            command_id: request.command_id.clone(),
            command_hash: request.hash,
            version,
            rejection,
            recorded_at: now(),
        };
        kill_point(KillPoint::BeforeRemember);
        match self.store.remember(record).await {
            Ok(()) => kill_point(KillPoint::AfterRemember),
            Err(AppendError::Conflict) => return Ok(false),
            Err(AppendError::Store(error)) => return Err(error),
        }
        Ok(true)
    }
}

type Answer<A> = Result<Outcome<A>, CommandError<A>>;

/// A command that waits for its turn.
struct WaitingCommand<A: Aggregate> {
    request: CommandRequest<A>,
    answer: oneshot::Sender<Answer<A>>,
}

/// The commands of a chain that are not answered.
enum Chain<A: Aggregate> {
    /// The others are answered. Only a load of its own can answer each of these.
    Done { alone: Vec<WaitingCommand<A>> },
    /// None is answered: the state was not the stream's.
    Conflict(VecDeque<WaitingCommand<A>>),
    /// None is answered: the store is not available.
    Away(VecDeque<WaitingCommand<A>>),
}

/// Holds the turn of a stream, and passes it on when it is dropped, however that comes.
struct Turn<A: Aggregate> {
    handler: CommandHandler<A>,
    stream: StreamId,
}

impl<A: Aggregate> Turn<A> {
    /// Ends the turn of a command to which the store was away, also for those that wait: they have waited as long.
    fn end_for_all(self, waiting: VecDeque<WaitingCommand<A>>) {
        for command in waiting.into_iter().chain(self.handler.turns.take_waiting(&self.stream)) {
            let error = StoreError::Unavailable("it did not answer the command before".into());
            let _ = command.answer.send(Err(error.into()));
        }
    }
}

/// Returns true if the store is not available.
const fn is_away<A: Aggregate>(answer: &Answer<A>) -> bool {
    matches!(answer, Err(CommandError::Store(StoreError::Unavailable(_))))
}

impl<A: Aggregate> Drop for Turn<A> {
    fn drop(&mut self) {
        let waiting = self.handler.turns.pass_on(&self.stream);
        if waiting.is_empty() {
            return;
        }
        match Handle::try_current() {
            Ok(runtime) => {
                drop(runtime.spawn(self.handler.clone().attempt_all(self.stream.clone(), waiting)))
            }
            // The process ends.
            Err(_) => drop(self.handler.turns.free(&self.stream)),
        }
    }
}

/// Returns the commit of a command's events on this state.
fn commit_of<A: Aggregate>(
    request: &CommandRequest<A>,
    state: &CachedState<A>,
    events: &[A::Event],
) -> Arc<Commit> {
    Arc::new(Commit {
        stream: request.stream.clone(),
        version: state.snapshot.version.next(),
        command_id: request.command_id.clone(),
        command_hash: request.hash,
        events: events.iter().map(EncodedEvent::encode).collect(),
        awaits_outcome: events.last().is_some_and(A::awaits_outcome),
        recorded_at: now().max(state.snapshot.updated_at),
        metadata: request.metadata.clone(),
        unpublished: true,
    })
}

/// Moves a state on by a commit of these events.
fn move_on<A: Aggregate>(state: &mut CachedState<A>, events: &[A::Event], commit: &Arc<Commit>) {
    events.iter().for_each(|event| state.snapshot.push(commit.recorded_at, event));
    state.note(commit);
    state.unpublished.push(Arc::clone(commit));
}

/// The result of a command, as the metrics name it.
const fn name_of<A: Aggregate>(result: &Result<Outcome<A>, CommandError<A>>) -> &'static str {
    match result {
        Ok(Outcome { with_events: true, .. }) => "done",
        Ok(_) => "already-true",
        Err(CommandError::Rejected(_) | CommandError::RejectedBefore(_)) => "rejected",
        Err(CommandError::PreconditionFailed(_)) => "precondition-failed",
        Err(CommandError::KeyReused) => "key-reused",
        Err(CommandError::Contended) => "contended",
        Err(CommandError::Store(_)) => "store-failed",
        Err(CommandError::TooLarge(_)) => "too-large",
    }
}

/// The current time in whole microseconds, which every store can hold.
fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now)
}

/// Returns whether a command is decided anew after this many conflicts and this time since its first attempt.
fn may_try_again(conflicts: u32, elapsed: Duration) -> bool {
    conflicts < ATTEMPTS && elapsed <= LONGEST
}

/// Waits before the next attempt, for a random part of the pause.
async fn pause(conflicts: u32) {
    let wait = rand::random_range(Duration::ZERO..=PAUSE.after(conflicts));
    tokio::time::sleep(wait).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_conflicts_ends_the_tries_and_so_does_their_time() {
        assert!(may_try_again(1, Duration::ZERO));
        assert!(may_try_again(ATTEMPTS - 1, LONGEST));
        assert!(!may_try_again(ATTEMPTS, Duration::ZERO));
        assert!(!may_try_again(1, LONGEST + Duration::from_nanos(1)));
    }
}
