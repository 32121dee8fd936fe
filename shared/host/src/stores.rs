//! The settings of the three stores, and the functions that open the stores of an application's aggregates and views. If a store
//! can't be opened, the error is one clear line.

use std::fmt::Display;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use command_handler::{CommandSettings, ReminderSettings};
use event_channel::EventChannel;
use event_store::EventStore;
use runtime::SecretUrl;
use runtime::settings::{DataSettings, EventStoreSettings, ReadStoreSettings};

use crate::CannotStart;
use crate::aggregates::{AggregateType, AnyHandler, OpenAggregate};
use crate::locks::Locks;
use crate::registry::Registry;
use crate::views::{AnyView, OpenView, ViewType};

/// The event store and the read store: what a tool compares or rebuilds.
#[derive(Args, Clone, Debug)]
pub struct BothStores {
    #[command(flatten)]
    data: DataSettings,
    #[command(flatten)]
    event_store: EventStoreSettings,
    #[command(flatten)]
    read_store: ReadStoreSettings,
}

impl BothStores {
    /// Opens a view, and the event store of its aggregate.
    ///
    /// # Errors
    /// [`CannotStart`] when one can't be opened.
    pub async fn open(&self, registry: &Registry, view: &ViewType) -> Result<OpenView, CannotStart> {
        let aggregate = registry.aggregate_of(view)?;
        let events = open_event_store(&self.event_store, &self.data, registry, aggregate).await?;
        let view = open_view(&self.read_store, &self.data, view).await?;
        Ok(OpenView { view, kind: aggregate.kind, events })
    }
}

/// The event store alone.
#[derive(Args, Clone, Debug)]
pub struct EventStoreAlone {
    #[command(flatten)]
    data: DataSettings,
    #[command(flatten)]
    event_store: EventStoreSettings,
}

impl EventStoreAlone {
    /// Opens the event store of this aggregate.
    ///
    /// # Errors
    /// [`CannotStart`] when it can't be opened.
    pub async fn open(
        &self,
        registry: &Registry,
        aggregate: &AggregateType,
    ) -> Result<EventStore, CannotStart> {
        open_event_store(&self.event_store, &self.data, registry, aggregate).await
    }
}

/// The read store alone.
#[derive(Args, Clone, Debug)]
pub struct ViewStore {
    #[command(flatten)]
    data: DataSettings,
    #[command(flatten)]
    read_store: ReadStoreSettings,
}

impl ViewStore {
    /// Opens this view.
    ///
    /// # Errors
    /// [`CannotStart`] when it can't be opened.
    pub async fn open(&self, view: &ViewType) -> Result<Arc<dyn AnyView>, CannotStart> {
        open_view(&self.read_store, &self.data, view).await
    }
}

/// What the functions of an application work with. Cheap to clone.
#[derive(Clone)]
pub struct Stores {
    /// The aggregates, each with its event store and its channel.
    pub aggregates: Arc<[OpenAggregate]>,
    /// The views.
    pub views: Arc<[OpenView]>,
}

impl Stores {
    /// Returns the aggregate of this name.
    #[must_use]
    pub fn aggregate(&self, kind: &str) -> Option<&OpenAggregate> {
        self.aggregates.iter().find(|aggregate| aggregate.handler.kind() == kind)
    }

    /// Returns the views that are folded from events of the aggregate of this name.
    pub fn views_of(&self, kind: &str) -> impl Iterator<Item = &OpenView> {
        self.views.iter().filter(move |view| view.kind == kind)
    }
}

/// What is needed to publish.
#[derive(Args, Clone, Debug)]
pub struct PublishingStores {
    /// The stores.
    #[command(flatten)]
    pub stores: AllStores,
    /// When a stream is reminded of.
    #[command(flatten)]
    pub reminders: ReminderSettings,
}

impl PublishingStores {
    /// Opens all.
    ///
    /// # Errors
    /// [`CannotStart`] when one can't be opened.
    pub async fn open(&self, registry: &Registry) -> Result<Stores, CannotStart> {
        let (handlers, views) = self.stores.open(registry).await?;
        let open = |handler: Arc<dyn AnyHandler>| {
            let reminders = self.reminders.of(handler.store().clone());
            OpenAggregate { handler, reminders }
        };
        Ok(Stores { aggregates: handlers.into_iter().map(open).collect(), views: views.into() })
    }
}

/// All three: what runs the system.
#[derive(Args, Clone, Debug)]
pub struct AllStores {
    /// What a command handler is made from.
    #[command(flatten)]
    pub commands: CommandSettings,
    /// The read store.
    #[command(flatten)]
    pub read_store: ReadStoreSettings,
}

impl AllStores {
    /// Opens the stores of all aggregates and views.
    ///
    /// # Errors
    /// [`CannotStart`] when one can't be opened.
    pub async fn open(
        &self,
        registry: &Registry,
    ) -> Result<(Vec<Arc<dyn AnyHandler>>, Vec<OpenView>), CannotStart> {
        registry.check()?;
        let CommandSettings { data, event_store, channel, kept_orders } = &self.commands;
        let mut handlers = Vec::new();
        for aggregate in &registry.aggregates {
            let store = open_event_store(event_store, data, registry, aggregate).await?;
            let channel = EventChannel::open_part(&channel.channel, registry.topic_part(aggregate));
            let channel = channel.map_err(cannot_open)?;
            handlers.push(aggregate.open(store, channel, *kept_orders));
        }
        let mut views = Vec::new();
        for view in &registry.views {
            let kind = registry.aggregate_of(view)?.kind;
            let handler = handlers.iter().find(|handler| handler.kind() == kind);
            let events = handler.map(|handler| handler.store().clone());
            let view = open_view(&self.read_store, data, view).await?;
            views.extend(events.map(|events| OpenView { view, kind, events }));
        }
        Ok((handlers, views))
    }

    /// Returns `true` if a store is a file. Then only one process may serve the data. On servers any number may, with channels in
    /// memory too: a commit that one of them leaves unmarked is published by another one's relay.
    #[must_use]
    pub fn is_embedded(&self) -> bool {
        let data = &self.commands.data;
        [self.commands.event_store.url(data), self.read_store.url(data)]
            .iter()
            .any(|url| url.scheme() == "sqlite")
    }

    /// Returns `true` if the channel is in this process's memory, so that only this process receives what it publishes.
    #[must_use]
    pub fn has_own_channel(&self) -> bool {
        self.commands.channel.channel.scheme() == "memory"
    }

    /// Locks the data folder and the files of SQLite stores, so that only one process at a time serves them.
    ///
    /// # Errors
    /// [`CannotStart`] when a lock can't be written, or another process holds it.
    pub fn lock(&self) -> Result<Locks, CannotStart> {
        let data = &self.commands.data;
        let stores = [
            ("the event store", self.commands.event_store.url(data), "--event-store"),
            ("the read store", self.read_store.url(data), "--read-store"),
        ];
        let file = |(what, url, flag): &(&'static str, SecretUrl, &'static str)| {
            let path = url.after("sqlite").filter(|path| !["", ":memory:"].contains(path))?;
            Some((*what, PathBuf::from(path), *flag))
        };
        let files: Vec<_> = stores.iter().filter_map(file).collect();
        Locks::take(&data.data, &files)
    }

    /// The three URLs.
    #[must_use]
    pub fn urls(&self) -> [SecretUrl; 3] {
        let data = &self.commands.data;
        [
            self.commands.event_store.url(data),
            self.commands.channel.channel.clone(),
            self.read_store.url(data),
        ]
    }
}

async fn open_event_store(
    settings: &EventStoreSettings,
    data: &DataSettings,
    registry: &Registry,
    aggregate: &AggregateType,
) -> Result<EventStore, CannotStart> {
    EventStore::open(settings.url(data), &registry.namespace(aggregate)?).await.map_err(cannot_open)
}

async fn open_view(
    settings: &ReadStoreSettings,
    data: &DataSettings,
    view: &ViewType,
) -> Result<Arc<dyn AnyView>, CannotStart> {
    view.open(settings.url(data)).await.map_err(cannot_open)
}

/// The error for a store that can't be opened.
pub fn cannot_open(error: impl Display) -> CannotStart {
    CannotStart(error.to_string())
}
