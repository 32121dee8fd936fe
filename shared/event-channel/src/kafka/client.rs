//! The parts that all clients of librdkafka share: settings, logging, authentication.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;
#[cfg(feature = "kafka-tls")]
use std::time::SystemTime;

use parking_lot::Mutex;
use rdkafka::ClientConfig;
use rdkafka::client::OAuthToken;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use runtime::secrets::note_refused_login;
use tracing::{debug, info, warn};

use super::doubts::Doubts;
use super::identity::{self, TopicIdentity};
#[cfg(feature = "msk-admin")]
use super::msk_admin::credentials;
#[cfg(feature = "kafka-tls")]
use super::msk_iam;
#[cfg(all(feature = "kafka-tls", not(feature = "msk-admin")))]
use super::msk_iam::credentials;
use super::options::Options;
use crate::Doubt;

/// The longest time for the brokers' answer to a question.
pub(super) const QUESTION: Duration = Duration::from_secs(5);

/// The part of a client's context that producers and consumers share.
pub(super) struct Client {
    /// The region of the brokers for which tokens are signed; `None` without AWS IAM.
    aws_region: Option<String>,
    /// The last problem in librdkafka's words. Its error codes alone seldom say how to solve it.
    trouble: Mutex<Option<String>>,
    topic: String,
    identity: TopicIdentity,
    doubts: Arc<Doubts>,
}

impl Client {
    pub(super) fn new(options: &Options, doubts: &Arc<Doubts>) -> Self {
        Self {
            aws_region: options.security.aws_region().map(str::to_owned),
            trouble: Mutex::default(),
            topic: options.topic.clone(),
            identity: TopicIdentity::default(),
            doubts: Arc::clone(doubts),
        }
    }

    /// The identity of the topic: its id tells it from other topics of the same name.
    pub(super) const fn identity(&self) -> &TopicIdentity {
        &self.identity
    }

    pub(super) fn doubt(&self, doubt: Doubt) {
        self.doubts.note(&self.topic, doubt);
    }

    pub(super) fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.identity.hear(&self.topic, message);
        if identity::is_reset(message) {
            self.doubt(Doubt::OffsetReset);
        }
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
        let refused = [RDKafkaErrorCode::Authentication, RDKafkaErrorCode::SaslAuthenticationFailed];
        if error.rdkafka_error_code().is_some_and(|code| refused.contains(&code)) {
            note_refused_login();
        }
        // "All brokers are down" only follows from the messages about each broker, and says less than they do.
        if !reason.contains("brokers are down") {
            // The message ends with a duration and a count. They would make the same problem look like a new one.
            let reason = reason.split(" (after ").next().unwrap_or(reason);
            *self.trouble.lock() = Some(reason.to_owned());
        }
    }

    /// Takes the last problem since the previous call.
    pub(super) fn take_trouble(&self) -> Option<String> {
        self.trouble.lock().take()
    }

    pub(super) fn oauth_token(&self) -> Result<OAuthToken, Box<dyn Error>> {
        let region = self.aws_region.as_deref().ok_or("no token is signed without mechanism=AWS_MSK_IAM")?;
        sign(region).inspect_err(|error| warn!(%error, "no token for the brokers"))
    }
}

#[cfg(feature = "kafka-tls")]
fn sign(region: &str) -> Result<OAuthToken, Box<dyn Error>> {
    let signed = credentials().and_then(|found| msk_iam::token(region, found, SystemTime::now()));
    signed.map_err(|failure| -> Box<dyn Error> { failure })
}

#[cfg(not(feature = "kafka-tls"))]
fn sign(region: &str) -> Result<OAuthToken, Box<dyn Error>> {
    Err(format!("no token for {region} is signed by a build without the feature kafka-tls").into())
}

/// The settings of a client that needs the topic's id: its log has the lines that name the id.
pub(super) fn settings_with_identity(options: &Options) -> ClientConfig {
    let mut config = settings(options);
    config.set("debug", identity::DEBUG).set_log_level(RDKafkaLogLevel::Debug);
    config
}

/// The settings of every client.
pub(super) fn settings(options: &Options) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &options.brokers)
        .set("client.id", &options.client_id)
        // A topic that a broker creates by itself would have the broker's number of partitions, not the URL's.
        .set("allow.auto.create.topics", "false")
        // With these, a client finds brokers that are back within a second. The first wait is short, because librdkafka closes its first
        // connection once it knows that broker's id, and a process's first record waits for the next one. Each wait is twice as long.
        .set("reconnect.backoff.ms", "5")
        .set("reconnect.backoff.max.ms", "1000")
        .set("socket.keepalive.enable", "true")
        .set("log.connection.close", "false")
        .set_log_level(RDKafkaLogLevel::Notice);
    options.security.apply(&mut config);
    config
}
