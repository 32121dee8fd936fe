//! What a tool needs that publishes: on the in-memory channel the receivers run in its own process, since nobody else could.

use std::time::Duration;

use clap::Args;
use command_handler::{CommandHandler, ReminderSettings};
use domain::Order;
use processor::{FulfilmentSettings, Processor};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::functions;
use host::locks::Locks;
use host::stores::{AllStores, cannot_open};
use host::triggers;

/// How long batches may take to finish at the end.
const GRACE: Duration = Duration::from_secs(4);

/// The stores, and what receives where that is this process.
#[derive(Args, Clone, Debug)]
pub struct PublishingStores {
    #[command(flatten)]
    stores: AllStores,
    #[command(flatten)]
    fulfilment: FulfilmentSettings,
    /// When an order is reminded of.
    #[command(flatten)]
    pub reminders: ReminderSettings,
}

/// A handler, and the receivers that run beside it.
pub struct Receivers {
    /// The handler.
    pub handler: CommandHandler<Order>,
    stop: watch::Sender<bool>,
    work: JoinSet<()>,
    _locks: Option<Locks>,
}

impl PublishingStores {
    /// Opens the stores, and starts the receivers on the in-memory channel.
    ///
    /// # Errors
    /// [`host::CannotStart`] when a store can't be opened, or a server runs on the same folder.
    pub async fn open(&self) -> anyhow::Result<Receivers> {
        let in_process = self.stores.commands.channel.channel.scheme() == "memory";
        let locks = in_process.then(|| self.stores.lock()).transpose()?;
        let (handler, view) = self.stores.open().await?;
        let (stop, stopped) = watch::channel(false);
        let mut work = JoinSet::new();
        if in_process {
            let fulfilment = self.fulfilment.open().map_err(cannot_open)?;
            let reminders = self.reminders.of(handler.store().clone());
            let concurrency = self.fulfilment.fulfilment_concurrency.into();
            let processor = Processor::new(handler.clone(), reminders, fulfilment, concurrency);
            let triggers = functions::triggers(&view, &processor);
            triggers::start(triggers, &mut work, handler.publisher().channel(), &stopped, GRACE)?;
        }
        Ok(Receivers { handler, stop, work, _locks: locks })
    }
}

impl Receivers {
    /// Lets batches that are in hand end.
    pub async fn end(mut self) {
        let _ = self.stop.send(true);
        while self.work.join_next().await.is_some() {}
    }
}
