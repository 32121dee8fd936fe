//! The stores of a system under test.

use std::env;
use std::path::Path;
use std::sync::Arc;

use crate::servers::{Schema, Servers};

/// The variable that says which stores [`Stores::fresh`] returns: `embedded`, which is the default, `postgres` or `servers`.
const KIND: &str = "TEST_STORES";

/// The stores of one system. Every process gets the settings by its environment, so that servers and tools find the same stores.
#[derive(Clone, Debug)]
pub enum Stores {
    /// SQLite files in the system's folder, and the in-memory channel.
    Embedded,
    /// PostgreSQL, and the in-memory channel. The data on it is deleted with the last clone.
    Postgres(Arc<Schema>),
    /// MongoDB, Kafka and PostgreSQL. The data on them is deleted with the last clone.
    Servers(Arc<Servers>),
}

impl Stores {
    /// Returns stores that nobody else uses, of the kind that the suite runs on.
    ///
    /// # Panics
    /// When `TEST_STORES` has a value that is not allowed, or the servers are not there.
    #[must_use]
    pub fn fresh() -> Self {
        match env::var(KIND).as_deref() {
            Err(_) | Ok("embedded") => Self::Embedded,
            Ok("postgres") => Self::postgres().expect("TEST_STORES=postgres needs PostgreSQL"),
            Ok("servers") => Self::servers().expect("TEST_STORES=servers needs servers"),
            Ok(other) => panic!("{KIND} is {other:?}; it may be embedded, postgres or servers"),
        }
    }

    /// Returns fresh stores on PostgreSQL alone, whatever the suite runs on. Returns `None` when no PostgreSQL is named; that was
    /// printed then.
    ///
    /// # Panics
    /// When it is not there.
    #[must_use]
    pub fn postgres() -> Option<Self> {
        Schema::fresh().map(|schema| Self::Postgres(Arc::new(schema)))
    }

    /// Returns fresh stores on servers, whatever the suite runs on. Returns `None` when no servers are named; that was printed
    /// then.
    ///
    /// # Panics
    /// When the servers are not there.
    #[must_use]
    pub fn servers() -> Option<Self> {
        Servers::fresh().map(|servers| Self::Servers(Arc::new(servers)))
    }

    /// The stores' name in a report.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::Postgres(_) => "postgresql",
            Self::Servers(_) => "servers",
        }
    }

    /// The settings for a system in this folder.
    #[must_use]
    pub fn settings(&self, folder: &Path) -> Vec<(&'static str, String)> {
        let mut settings = vec![
            ("ORDERS_DATA", folder.display().to_string()),
            // A test wants to find its damage, so the reconciler is off.
            ("ORDERS_RECONCILE_RATE", "0".to_owned()),
        ];
        match self {
            Self::Embedded => return settings,
            Self::Postgres(schema) => settings.push(("ORDERS_POSTGRES", schema.url())),
            Self::Servers(servers) => settings.extend([
                ("ORDERS_EVENT_STORE", servers.event_store()),
                ("ORDERS_CHANNEL", servers.channel()),
                ("ORDERS_READ_STORE", servers.read_store()),
            ]),
        }
        // The default is meant for outages. Nothing here takes a second to be published.
        settings.push(("ORDERS_RELAY_MIN_AGE", "1".to_owned()));
        settings
    }
}
