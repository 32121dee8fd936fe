//! The functions as Lambdas, on real servers: [`events`], [`late`], [`metrics`] and [`secrets`] as AWS starts them, [`watch`] by
//! `cargo lambda watch` and `kafka-trigger`.

mod events;
mod late;
mod metrics;
mod secrets;
mod watch;

use tempfile::TempDir;
use tests::process::Invocation;
use tests::stores::Stores;

/// Servers that are there and set up.
struct World {
    settings: Vec<(&'static str, String)>,
    // The stores and the folder that the settings name. Both are deleted when they are dropped.
    _stores: Stores,
    _folder: TempDir,
}

impl World {
    /// Sets the servers up. Returns `None` when there are none.
    async fn new() -> Option<Self> {
        let stores = Stores::servers()?;
        let folder = tempfile::tempdir().unwrap();
        let world = Self { settings: stores.settings(folder.path()), _stores: stores, _folder: folder };
        world.orders(&["migrate"]).run().await.with_code(0);
        Some(world)
    }

    /// Returns a call of `orders` with these settings.
    fn orders(&self, words: &[&str]) -> Invocation {
        self.settings.iter().fold(Invocation::new(words), |call, (name, value)| call.env(name, value))
    }

    /// Returns the URL that a setting has.
    fn url(&self, setting: &str) -> &str {
        &self.settings.iter().find(|(name, _)| *name == setting).unwrap().1
    }
}
