//! Settings that more than one binary has, declared once: each is a flag and an `ORDERS_…` variable of the same name. The
//! dispatcher reads both; a function as a Lambda has only the variables.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser};

use crate::secrets::{self, SecretError};
use crate::telemetry::TelemetrySettings;

/// Where state is kept when no URL says otherwise.
#[derive(Args, Clone, Debug)]
pub struct DataSettings {
    /// Folder of the embedded default's files
    #[arg(long, env = "ORDERS_DATA", value_name = "FOLDER", default_value = "data")]
    pub data: PathBuf,
}

/// Which event store.
#[derive(Args, Clone, Debug)]
pub struct EventStoreSettings {
    /// The event store [default: sqlite:FOLDER/events.db, in the --data folder]
    #[arg(long, env = "ORDERS_EVENT_STORE", value_name = "URL")]
    pub event_store: Option<String>,
}

/// Which channel.
#[derive(Args, Clone, Debug)]
pub struct ChannelSettings {
    /// The event channel
    #[arg(long, env = "ORDERS_CHANNEL", value_name = "URL", default_value = "memory:?topic=orders.events")]
    pub channel: String,
}

/// Which read store.
#[derive(Args, Clone, Debug)]
pub struct ReadStoreSettings {
    /// The read store [default: sqlite:FOLDER/orders.db, in the --data folder]
    #[arg(long, env = "ORDERS_READ_STORE", value_name = "URL")]
    pub read_store: Option<String>,
}

impl EventStoreSettings {
    /// The event store's URL.
    #[must_use]
    pub fn url(&self, data: &DataSettings) -> String {
        self.event_store.clone().unwrap_or_else(|| data.sqlite("events.db"))
    }
}

impl ReadStoreSettings {
    /// The read store's URL.
    #[must_use]
    pub fn url(&self, data: &DataSettings) -> String {
        self.read_store.clone().unwrap_or_else(|| data.sqlite("orders.db"))
    }
}

impl DataSettings {
    fn sqlite(&self, file: &str) -> String {
        format!("sqlite:{}", self.data.join(file).display())
    }
}

/// A whole number of milliseconds, for `value_parser`.
///
/// # Errors
/// When the text is not one.
pub fn milliseconds(text: &str) -> Result<Duration, String> {
    text.parse()
        .map(Duration::from_millis)
        .map_err(|_| format!("{text:?} is not a whole number of milliseconds"))
}

/// A number of seconds, whole or not, for `value_parser`.
///
/// # Errors
/// When the text is not one, or it is negative or beyond a day.
pub fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.0..=86_400.0).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err(format!("{text:?} is not a number of seconds from 0 to 86400")),
    }
}

/// Settings of a function that reads or writes the view, as a Lambda.
#[derive(Parser, Clone, Debug)]
pub struct ViewFunctionSettings {
    #[command(flatten)]
    data: DataSettings,
    #[command(flatten)]
    read_store: ReadStoreSettings,
    /// The log.
    #[command(flatten)]
    pub telemetry: TelemetrySettings,
}

impl ViewFunctionSettings {
    /// The read store's URL, looked up where the setting stands for a secret.
    ///
    /// # Errors
    /// As [`secrets::resolve`].
    pub async fn url(&self) -> Result<String, SecretError> {
        secrets::resolve(&self.read_store.url(&self.data)).await
    }
}
