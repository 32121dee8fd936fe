//! The settings of the three stores together, and their opening with one clear line where that fails.

use std::fmt::Display;

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
        let url = self.event_store.url(&self.data);
        let events = EventStore::open(&url).await.map_err(|error| cannot_open(&[&url], &error))?;
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
        let urls = [&self.commands.event_store.url(&self.commands.data), &self.commands.channel.channel];
        let handler =
            self.commands.open(AfterCommit::Answer).await.map_err(|error| cannot_open(&urls, &error))?;
        Ok((handler, open_read_store(&self.read_store, &self.commands.data).await?))
    }

    /// Whether anything is kept in a file of the data folder or in this process's memory, so that one process must serve it.
    #[must_use]
    pub fn is_embedded(&self) -> bool {
        let data = &self.commands.data;
        self.commands.channel.channel.starts_with("memory:")
            || [self.commands.event_store.url(data), self.read_store.url(data)]
                .iter()
                .any(|url| url.starts_with("sqlite:"))
    }

    /// The three URLs, without what may be secret in them.
    #[must_use]
    pub fn shown(&self) -> [String; 3] {
        let data = &self.commands.data;
        let urls = [
            self.commands.event_store.url(data),
            self.commands.channel.channel.clone(),
            self.read_store.url(data),
        ];
        urls.map(|url| hide(&url, &url))
    }
}

async fn open_read_store(
    settings: &ReadStoreSettings,
    data: &DataSettings,
) -> Result<ReadStore, CannotStart> {
    let url = settings.url(data);
    ReadStore::open(&url).await.map_err(|error| cannot_open(&[&url], &error))
}

/// What stands behind these URLs can't be opened. Errors quote the URLs, whole or in part, and there may be passwords in them.
pub fn cannot_open(urls: &[&String], error: &dyn Display) -> CannotStart {
    CannotStart(urls.iter().fold(error.to_string(), |text, url| hide(&text, url)))
}

/// A text that may be shown: where the URL names a server, whoever stands before the `@` stays unnamed, and options after the
/// `?` unsaid.
fn hide(text: &str, url: &str) -> String {
    let Some((_, rest)) = url.split_once("://") else {
        return text.to_owned();
    };
    let (rest, options) = rest.split_at(rest.find('?').unwrap_or(rest.len()));
    let text = if options.is_empty() { text.to_owned() } else { text.replace(options, "") };
    match rest.rsplit_once('@') {
        Some((user, _)) => text.replace(&format!("{user}@"), "…@"),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(url: &str) -> String {
        hide(url, url)
    }

    #[test]
    fn a_url_is_shown_without_user_password_and_options() {
        assert_eq!(shown("postgres://u:p@host:1/db?password=x"), "postgres://…@host:1/db");
        assert_eq!(shown("mongodb://u:p%40x@a,b/db"), "mongodb://…@a,b/db");
        assert_eq!(shown("sqlite:data/events.db"), "sqlite:data/events.db");
        assert_eq!(shown("memory:?partitions=4"), "memory:?partitions=4");
    }

    #[test]
    fn an_error_that_quotes_a_part_of_the_url_tells_no_more() {
        let said = hide("no such host: u:p@host (options ?key=x)", "nosql://u:p@host/db?key=x");
        assert_eq!(said, "no such host: …@host (options )");
    }
}
