//! What a tool needs that publishes: on the in-memory channel the receivers run in its own process, since nobody else could.

use std::time::Duration;

use clap::ArgMatches;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::functions::{Functions, Parts, settings_of};
use crate::locks::Locks;
use crate::registry::Registry;
use crate::stores::{PublishingStores, Stores};
use crate::triggers;

/// How long batches may take to finish at the end.
const GRACE: Duration = Duration::from_secs(4);

/// The stores, and the receivers that run beside them.
pub struct Receivers {
    /// The stores.
    pub stores: Stores,
    stop: watch::Sender<bool>,
    work: JoinSet<()>,
    _locks: Option<Locks>,
}

impl Receivers {
    /// Opens the stores, and starts the receivers on the in-memory channel.
    ///
    /// # Errors
    /// [`crate::CannotStart`] when a store can't be opened, or a server runs on the same folder.
    pub async fn open(
        registry: &Registry,
        functions: &Functions,
        flags: &ArgMatches,
    ) -> anyhow::Result<Self> {
        let settings: PublishingStores = settings_of(flags)?;
        let in_process = settings.stores.has_own_channel();
        let must_lock = in_process && settings.stores.is_embedded();
        let locks = must_lock.then(|| settings.stores.lock()).transpose()?;
        let stores = settings.open(registry).await?;
        let (stop, stopped) = watch::channel(false);
        let mut work = JoinSet::new();
        if in_process {
            let triggers = functions.triggers(&Parts {
                application: registry.application,
                stores: &stores,
                flags,
                stop: &stopped,
            })?;
            triggers::start(triggers, &mut work, &stores, &stopped, GRACE)?;
        }
        Ok(Self { stores, stop, work, _locks: locks })
    }

    /// Lets batches that are in hand end.
    pub async fn end(mut self) {
        let _ = self.stop.send(true);
        while self.work.join_next().await.is_some() {}
    }
}
