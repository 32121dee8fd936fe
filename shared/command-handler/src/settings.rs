//! Settings of programs that handle commands.

use std::num::NonZeroUsize;
use std::time::Duration;

use clap::{Args, Parser};
use event_channel::EventChannel;
use event_sourcing::Aggregate;
use event_store::{EventStore, InvalidNamespace, Namespace};
use futures_util::future::try_join;
use runtime::SecretUrl;
use runtime::secrets::{self, SecretError};
use runtime::settings::{ChannelSettings, DataSettings, EventStoreSettings, milliseconds};
use runtime::telemetry::TelemetrySettings;
use thiserror::Error;
use tokio::time::sleep;

use crate::handler::{AnswerPolicy, CommandHandler};

/// The connections of a Lambda to the event store. It works on one event at a time, and its concurrent writes wait to be one batch.
const CONNECTIONS: u32 = 1;

/// The settings that a command handler is made from.
#[derive(Args, Clone, Debug)]
pub struct CommandSettings {
    /// The folder of the embedded default's files.
    #[command(flatten)]
    pub data: DataSettings,
    /// The event store.
    #[command(flatten)]
    pub event_store: EventStoreSettings,
    /// The channel.
    #[command(flatten)]
    pub channel: ChannelSettings,
    /// The number of orders that the cache holds. A command on a cached order skips the load
    #[arg(long, env = "KEPT_ORDERS", value_name = "ORDERS", default_value = "10000")]
    pub kept_orders: NonZeroUsize,
}

/// A command handler can't be made.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The application or the aggregate has a name that can't be part of a table's.
    #[error(transparent)]
    Namespace(#[from] InvalidNamespace),
    /// The event store can't be opened.
    #[error(transparent)]
    EventStore(#[from] event_store::OpenError),
    /// The channel can't be opened.
    #[error(transparent)]
    Channel(#[from] event_channel::OpenError),
    /// A setting stands for a secret that can't be looked up.
    #[error(transparent)]
    Secret(#[from] SecretError),
}

impl CommandSettings {
    /// Opens the stores of this application's aggregate and makes the handler.
    ///
    /// # Errors
    /// When a URL names no store or channel of ours, or a file can't be used.
    pub async fn open<A: Aggregate>(
        &self,
        application: &str,
        answer_policy: AnswerPolicy,
    ) -> Result<CommandHandler<A>, OpenError> {
        let namespace = Namespace::of::<A>(application)?;
        let store = EventStore::open(self.event_store.url(&self.data), &namespace).await?;
        let channel = EventChannel::open(&self.channel.channel)?;
        Ok(CommandHandler::new(store, channel, self.kept_orders, answer_policy))
    }
}

/// Settings of a function that handles commands as a Lambda.
#[derive(Parser, Clone, Debug)]
pub struct LambdaSettings {
    /// The stores.
    #[command(flatten)]
    pub commands: CommandSettings,
    /// Milliseconds that a command waits for its events to be published before it answers. After that, the relay publishes them
    #[arg(long, env = "PUBLISH_PATIENCE", value_name = "MS", default_value = "3000", value_parser = milliseconds)]
    pub publish_patience: Duration,
    /// The log.
    #[command(flatten)]
    pub telemetry: TelemetrySettings,
}

/// The time for which connecting leaves the processor to the start of the function, which is waited for until it asks for its first
/// event.
const START: Duration = Duration::from_millis(5);

fn is_secret(url: &SecretUrl) -> bool {
    secrets::is_secret(url.expose())
}

/// Connects to both in tasks of their own. A failure is not told: the first command that needs the connection tries again, and says.
fn begin_connecting(store: EventStore, channel: EventChannel, pause: Duration) {
    tokio::spawn(async move {
        sleep(pause).await;
        store.connect().await.ok()
    });
    tokio::spawn(async move {
        sleep(pause).await;
        channel.prepare().await.ok()
    });
}

impl LambdaSettings {
    /// Opens the stores of this application's aggregate and makes a handler that waits for its publishing, since a Lambda is frozen
    /// once it has answered.
    ///
    /// Looks up the settings that stand for a secret. Begins to connect to both stores at once, and waits for neither: a store that is
    /// down stops no function from starting, and a first event finds what is ready by then.
    ///
    /// # Errors
    /// As [`CommandSettings::open`], and when a secret can't be looked up.
    pub async fn open<A: Aggregate>(&self, application: &str) -> Result<CommandHandler<A>, OpenError> {
        let CommandSettings { data, event_store, channel, kept_orders } = &self.commands;
        let event_store = event_store.url(data);
        // With a secret this is the first invocation.
        let pause =
            if is_secret(&event_store) || is_secret(&channel.channel) { Duration::ZERO } else { START };
        let looked_up = try_join(secrets::resolve(&event_store), secrets::resolve(&channel.channel));
        let (event_store, channel) = looked_up.await?;
        let namespace = Namespace::of::<A>(application)?;
        let store = EventStore::open_with(event_store, CONNECTIONS, &namespace).await?;
        let channel = EventChannel::open(channel)?;
        begin_connecting(store.clone(), channel.clone(), pause);
        let answer_policy = AnswerPolicy::AwaitPublish(self.publish_patience);
        Ok(CommandHandler::new(store, channel, *kept_orders, answer_policy))
    }
}
