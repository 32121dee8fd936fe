//! The settings of the three stores, and the functions that open the stores. If a store can't be opened, the error is one clear
//! line.

use std::fmt::Display;
use std::path::PathBuf;

use clap::Args;
use command_handler::{AnswerPolicy, CommandHandler, CommandSettings, ReminderSettings};
use event_sourcing::{Aggregate, View};
use event_store::{EventStore, Reminders};
use read_store::ReadStore;
use runtime::SecretUrl;
use runtime::settings::{DataSettings, EventStoreSettings, ReadStoreSettings};

use crate::CannotStart;
use crate::locks::Locks;

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
    /// Opens both.
    ///
    /// # Errors
    /// [`CannotStart`] when one can't be opened.
    pub async fn open<V: View>(&self) -> Result<(EventStore, ReadStore<V>), CannotStart> {
        let events = open_event_store(&self.event_store, &self.data).await?;
        Ok((events, open_read_store(&self.read_store, &self.data).await?))
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
    /// Opens it.
    ///
    /// # Errors
    /// [`CannotStart`] when it can't be opened.
    pub async fn open(&self) -> Result<EventStore, CannotStart> {
        open_event_store(&self.event_store, &self.data).await
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
    /// Opens it.
    ///
    /// # Errors
    /// [`CannotStart`] when it can't be opened.
    pub async fn open<V: View>(&self) -> Result<ReadStore<V>, CannotStart> {
        open_read_store(&self.read_store, &self.data).await
    }
}

/// What the functions of an application work with. Cheap to clone.
#[derive(Clone)]
pub struct Stores<A: Aggregate, V: View> {
    /// Commands; it has the event store and the channel.
    pub handler: CommandHandler<A>,
    /// The view.
    pub view: ReadStore<V>,
    /// What waits for an outcome.
    pub reminders: Reminders,
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
    pub async fn open<A: Aggregate, V: View>(&self) -> Result<Stores<A, V>, CannotStart> {
        let (handler, view) = self.stores.open().await?;
        let reminders = self.reminders.of(handler.store().clone());
        Ok(Stores { handler, view, reminders })
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
    /// Opens all three; the handler answers when a command is durable.
    ///
    /// # Errors
    /// [`CannotStart`] when one can't be opened.
    pub async fn open<A: Aggregate, V: View>(
        &self,
    ) -> Result<(CommandHandler<A>, ReadStore<V>), CannotStart> {
        let handler = self.commands.open(AnswerPolicy::Answer).await.map_err(cannot_open)?;
        Ok((handler, open_read_store(&self.read_store, &self.commands.data).await?))
    }

    /// Returns `true` if a store is SQLite or the channel is in this process's memory. Then only one process may serve the data.
    #[must_use]
    pub fn is_embedded(&self) -> bool {
        let data = &self.commands.data;
        self.commands.channel.channel.scheme() == "memory"
            || [self.commands.event_store.url(data), self.read_store.url(data)]
                .iter()
                .any(|url| url.scheme() == "sqlite")
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
) -> Result<EventStore, CannotStart> {
    EventStore::open(settings.url(data)).await.map_err(cannot_open)
}

async fn open_read_store<V: View>(
    settings: &ReadStoreSettings,
    data: &DataSettings,
) -> Result<ReadStore<V>, CannotStart> {
    let url = settings.url(data);
    ReadStore::open(url).await.map_err(cannot_open)
}

/// The error for a store that can't be opened.
pub fn cannot_open(error: impl Display) -> CannotStart {
    CannotStart(error.to_string())
}
