//! The settings of the three stores together, and their opening with one clear line where that fails.

use clap::Args;
use command_handler::{AfterCommit, CommandHandler, CommandSettings};
use event_store::EventStore;
use read_store::ReadStore;
use runtime::settings::{DataSettings, EventStoreSettings, ReadStoreSettings};

use crate::CannotStart;

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
    pub async fn open(&self) -> Result<(EventStore, ReadStore), CannotStart> {
        let events = EventStore::open(&self.event_store.url(&self.data)).await;
        let events = events.map_err(|error| CannotStart(error.to_string()))?;
        Ok((events, open_read_store(&self.read_store, &self.data).await?))
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
    pub async fn open(&self) -> Result<ReadStore, CannotStart> {
        open_read_store(&self.read_store, &self.data).await
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
    pub async fn open(&self) -> Result<(CommandHandler, ReadStore), CannotStart> {
        let handler = self.commands.open(AfterCommit::Answer).await.map_err(|error| CannotStart(error.to_string()))?;
        Ok((handler, open_read_store(&self.read_store, &self.commands.data).await?))
    }

    /// Whether anything is kept in a file of the data folder or in this process's memory, so that one process must serve it.
    #[must_use]
    pub fn is_embedded(&self) -> bool {
        let data = &self.commands.data;
        self.commands.channel.channel.starts_with("memory:")
            || [self.commands.event_store.url(data), self.read_store.url(data)].iter().any(|url| url.starts_with("sqlite:"))
    }

    /// The three URLs, without what may be secret in them.
    #[must_use]
    pub fn shown(&self) -> [String; 3] {
        let data = &self.commands.data;
        let urls = [self.commands.event_store.url(data), self.commands.channel.channel.clone(), self.read_store.url(data)];
        urls.map(|url| without_password(&url))
    }
}

async fn open_read_store(settings: &ReadStoreSettings, data: &DataSettings) -> Result<ReadStore, CannotStart> {
    ReadStore::open(&settings.url(data)).await.map_err(|error| CannotStart(error.to_string()))
}

/// A URL that may be shown: whoever stands before the `@` stays unnamed, and options after the `?` unsaid.
fn without_password(url: &str) -> String {
    let url = url.split('?').next().unwrap_or_default();
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://…@{host}"),
        _ => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_without_user_password_and_options() {
        assert_eq!(without_password("postgres://u:p@host:1/db?password=x"), "postgres://…@host:1/db");
        assert_eq!(without_password("mongodb://u:p%40x@a,b/db"), "mongodb://…@a,b/db");
        assert_eq!(without_password("sqlite:data/events.db"), "sqlite:data/events.db");
        assert_eq!(without_password("memory:"), "memory:");
    }
}
