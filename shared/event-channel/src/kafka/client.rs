//! What every client of librdkafka has: settings, where its log goes, how it shows who it is.

use std::error::Error;
use std::sync::{Mutex, PoisonError};
#[cfg(feature = "kafka-tls")]
use std::time::SystemTime;

use rdkafka::ClientConfig;
use rdkafka::client::OAuthToken;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use tracing::{debug, info, warn};

#[cfg(feature = "kafka-tls")]
use super::msk_iam;
use super::options::Options;

/// The part of a client's context that producers and consumers share.
pub(super) struct Client {
    /// The region for whose brokers tokens are signed, when they are.
    aws_region: Option<String>,
    /// What went wrong last, in librdkafka's words: its error codes alone seldom say what to do.
    trouble: Mutex<Option<String>>,
}

impl Client {
    pub(super) fn new(options: &Options) -> Self {
        Self { aws_region: options.security.aws_region().map(str::to_owned), trouble: Mutex::default() }
    }

    pub(super) fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Emerg
            | RDKafkaLogLevel::Alert
            | RDKafkaLogLevel::Critical
            | RDKafkaLogLevel::Error
            | RDKafkaLogLevel::Warning => warn!(target: "librdkafka", facility, "{message}"),
            RDKafkaLogLevel::Notice => info!(target: "librdkafka", facility, "{message}"),
            RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => {
                debug!(target: "librdkafka", facility, "{message}");
            }
        }
    }

    pub(super) fn error(&self, error: &KafkaError, reason: &str) {
        debug!(target: "librdkafka", %error, "{reason}");
        // That all brokers are down follows from what was said of each, and says less.
        if !reason.contains("brokers are down") {
            // How long it took and how often it was so would make the same trouble look like another one.
            let reason = reason.split(" (after ").next().unwrap_or(reason);
            *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason.to_owned());
        }
    }

    /// What went wrong since the last time that this was asked.
    pub(super) fn take_trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(super) fn oauth_token(&self) -> Result<OAuthToken, Box<dyn Error>> {
        let region = self.aws_region.as_deref().ok_or("no token is signed without mechanism=AWS_MSK_IAM")?;
        sign(region).inspect_err(|error| warn!(%error, "no token for the brokers"))
    }
}

#[cfg(feature = "kafka-tls")]
fn sign(region: &str) -> Result<OAuthToken, Box<dyn Error>> {
    msk_iam::token(region, msk_iam::credentials()?, SystemTime::now())
}

#[cfg(not(feature = "kafka-tls"))]
fn sign(region: &str) -> Result<OAuthToken, Box<dyn Error>> {
    Err(format!("no token for {region} is signed by a build without the feature kafka-tls").into())
}

/// What clients of every kind are told.
pub(super) fn settings(options: &Options) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &options.brokers)
        .set("client.id", &options.client_id)
        // A topic that a broker makes up by itself has the broker's number of partitions and not ours.
        .set("allow.auto.create.topics", "false")
        // Brokers that come back are found within a second.
        .set("reconnect.backoff.ms", "50")
        .set("reconnect.backoff.max.ms", "1000")
        .set("socket.keepalive.enable", "true")
        .set("log.connection.close", "false")
        .set_log_level(RDKafkaLogLevel::Notice);
    options.security.apply(&mut config);
    config
}
