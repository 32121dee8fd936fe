//! The aggregates of an application, as the host works with them. It knows each by name; the type is behind a trait object.

use std::any::{Any, TypeId};
use std::num::NonZeroUsize;
use std::sync::Arc;

use command_handler::{AnswerPolicy, CommandHandler, Publisher};
use event_channel::EventChannel;
use event_sourcing::{Aggregate, StreamId, Version};
use event_store::{EventStore, Reminders, ScanPosition, StoreError, UnreadableStream};
use futures_util::future::BoxFuture;
use jiff::Timestamp;

/// An aggregate that an application has registered.
#[derive(Clone, Copy)]
pub struct AggregateType {
    /// Its name.
    pub kind: &'static str,
    /// The type of its events.
    pub event: TypeId,
    open: fn(EventStore, EventChannel, NonZeroUsize) -> Arc<dyn AnyHandler>,
}

impl AggregateType {
    /// Creates the description of this aggregate.
    #[must_use]
    pub fn of<A: Aggregate>() -> Self {
        Self { kind: A::KIND, event: TypeId::of::<A::Event>(), open: open::<A> }
    }

    /// Makes the aggregate's command handler, whose cache holds so many states. It answers when a command is durable.
    #[must_use]
    pub fn open(
        &self,
        store: EventStore,
        channel: EventChannel,
        cached: NonZeroUsize,
    ) -> Arc<dyn AnyHandler> {
        (self.open)(store, channel, cached)
    }
}

fn open<A: Aggregate>(store: EventStore, channel: EventChannel, cached: NonZeroUsize) -> Arc<dyn AnyHandler> {
    Arc::new(CommandHandler::<A>::new(store, channel, cached, AnswerPolicy::Answer))
}

/// A command handler of any aggregate.
pub trait AnyHandler: Any + Send + Sync {
    /// The aggregate's name.
    fn kind(&self) -> &'static str;

    /// The aggregate's event store.
    fn store(&self) -> &EventStore;

    /// Publishes the aggregate's commits; it has the channel.
    fn publisher(&self) -> &Publisher;

    /// Returns a page of all commits, as [`EventStore::scan`] does, without their events.
    fn scan(
        &self,
        after: Option<ScanPosition>,
        limit: usize,
    ) -> BoxFuture<'_, Result<CommitPage, StoreError>>;
}

/// A page of commits without their events.
pub struct CommitPage {
    /// The commits: stream, first version, and time of the decision.
    pub commits: Vec<(StreamId, Version, Timestamp)>,
    /// Streams that can't be read.
    pub unreadable: Vec<UnreadableStream>,
    /// The position at which the next page begins; `None` after the last page.
    pub next: Option<ScanPosition>,
}

impl<A: Aggregate> AnyHandler for CommandHandler<A> {
    fn kind(&self) -> &'static str {
        A::KIND
    }

    fn store(&self) -> &EventStore {
        CommandHandler::store(self)
    }

    fn publisher(&self) -> &Publisher {
        CommandHandler::publisher(self)
    }

    fn scan(
        &self,
        after: Option<ScanPosition>,
        limit: usize,
    ) -> BoxFuture<'_, Result<CommitPage, StoreError>> {
        Box::pin(async move {
            let page = CommandHandler::store(self).scan::<A::Event>(after, limit).await?;
            let commits = page.commits.into_iter();
            let commits = commits.map(|commit| (commit.stream, commit.version, commit.recorded_at)).collect();
            Ok(CommitPage { commits, unreadable: page.unreadable, next: page.next })
        })
    }
}

/// An aggregate whose stores are open. Cheap to clone.
#[derive(Clone)]
pub struct OpenAggregate {
    /// The command handler; it has the event store and the channel.
    pub handler: Arc<dyn AnyHandler>,
    /// The streams that wait for an outcome.
    pub reminders: Reminders,
}

impl OpenAggregate {
    /// Returns the handler, if the aggregate is this one.
    #[must_use]
    pub fn handler_of<A: Aggregate>(&self) -> Option<&CommandHandler<A>> {
        let handler: &dyn Any = &*self.handler;
        handler.downcast_ref()
    }
}
