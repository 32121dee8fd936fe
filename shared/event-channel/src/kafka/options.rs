//! A channel's URL: `kafka://[user:password@]host:port,host:port/topic?option=value&…`.
//!
//! User and password are percent-encoded. No error message of this module repeats them.

use std::fs;
use std::time::Duration;

use percent_encoding::percent_decode_str;

use super::security::{Login, Mechanism, Security, SecurityOptions, refused};
use crate::OpenError;

/// The options of a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Options {
    /// `host:port`, separated by commas.
    pub(super) brokers: String,
    pub(super) topic: String,
    /// The number of partitions of a topic that this channel creates. An existing topic keeps its own number.
    pub(super) partitions: i32,
    /// `true` when a missing topic is created.
    pub(super) create: bool,
    /// The number of replicas of a topic that this channel creates; -1 means the brokers' default.
    pub(super) replication: i32,
    /// The time within which a record is acknowledged or given up.
    pub(super) delivery_timeout: Duration,
    /// The time after which a group's member without a sign of life loses its partitions.
    pub(super) session_timeout: Duration,
    /// The largest record in bytes, as it is sent. The topic may allow less.
    pub(super) largest: usize,
    /// The prefix of every group's name.
    pub(super) group_prefix: String,
    /// The name of this process in the brokers' logs and quotas.
    pub(super) client_id: String,
    pub(super) security: Security,
}

pub(super) const ALLOWED: &str = "create, partitions, replication, delivery_timeout_ms, session_timeout_ms, largest, group_prefix, \
                                  client_id, security, mechanism, ca, region";

/// librdkafka accepts no smaller limit for a request.
const SMALLEST_LIMIT: u32 = 1_000;
const LARGEST_LIMIT: u32 = 1_000_000_000;
const MOST_PARTITIONS: u32 = 10_000;

impl Options {
    /// Parses the text after `kafka:`.
    pub(super) fn parse(text: &str) -> Result<Self, OpenError> {
        let rest = text.strip_prefix("//").ok_or_else(|| refused("it begins with kafka://".to_owned()))?;
        let (place, options) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, topic) = place.split_once('/').unwrap_or((place, ""));
        // A password that is not encoded may contain an @. So the last @ ends it, and no error message shows half of the
        // password.
        let (login, brokers) = match authority.rsplit_once('@') {
            Some((login, brokers)) => (Some(Login::parse(login)?), brokers),
            None => (None, authority),
        };
        let mut read = Self {
            brokers: parse_brokers(brokers)?,
            topic: parse_topic(topic)?,
            create: true,
            partitions: 8,
            replication: -1,
            delivery_timeout: Duration::from_secs(8),
            // The least that brokers allow by default. A frozen broker that goes on first takes what the old member had sent
            // meanwhile for a sign of life. The same process has long joined anew, and must then wait until the old member's
            // session ends.
            session_timeout: Duration::from_secs(6),
            largest: 1_000_000,
            group_prefix: String::new(),
            client_id: "event-channel".to_owned(),
            security: Security::default(),
        };
        let mut said = SecurityOptions::default();
        for (name, value) in form_urlencoded::parse(options.as_bytes()) {
            read.set(&name, &value, &mut said)?;
        }
        read.security = said.security(login)?;
        Ok(read)
    }

    /// Returns the options with the topic of a part of the application.
    pub(super) fn of_part(self, part: Option<&str>) -> Result<Self, OpenError> {
        match part {
            Some(part) => Ok(Self { topic: parse_topic(&format!("{}.{part}", self.topic))?, ..self }),
            None => Ok(self),
        }
    }

    fn set(&mut self, name: &str, value: &str, said: &mut SecurityOptions) -> Result<(), OpenError> {
        let milliseconds = |from, to| {
            number(name, value, from, to).map(|ms| Duration::from_millis(ms.unsigned_abs().into()))
        };
        match name {
            "create" => self.create = yes_or_no(name, value)?,
            "partitions" => self.partitions = number(name, value, 1, MOST_PARTITIONS)?,
            "replication" => self.replication = number(name, value, 1, 100)?,
            "delivery_timeout_ms" => self.delivery_timeout = milliseconds(100, 600_000)?,
            "session_timeout_ms" => self.session_timeout = milliseconds(1_000, 600_000)?,
            "largest" => {
                self.largest = number(name, value, SMALLEST_LIMIT, LARGEST_LIMIT)?.unsigned_abs() as usize
            }
            "group_prefix" => value.clone_into(&mut self.group_prefix),
            "client_id" if !value.is_empty() => value.clone_into(&mut self.client_id),
            "security" => said.security = Some(value.to_owned()),
            "mechanism" => said.mechanism = Some(Mechanism::parse(value)?),
            "ca" => said.ca = Some(readable(value)?),
            "region" if !value.is_empty() => said.region = Some(value.to_owned()),
            _ => return Err(refused(format!("it has the option {name:?}; allowed: {ALLOWED}"))),
        }
        Ok(())
    }
}

impl Login {
    fn parse(text: &str) -> Result<Self, OpenError> {
        let Some((user, password)) = text.split_once(':') else {
            return Err(refused(
                "it names a user and no password: kafka://user:password@host:port/topic".to_owned(),
            ));
        };
        let decoded = |part| percent_decode_str(part).decode_utf8().map(String::from);
        match (decoded(user), decoded(password)) {
            (Ok(user), Ok(password)) if !user.is_empty() => Ok(Self { user, password }),
            _ => Err(refused("its user or password is empty or not UTF-8 in percent-encoding".to_owned())),
        }
    }
}

fn parse_brokers(text: &str) -> Result<String, OpenError> {
    let is_broker = |broker: &str| {
        broker.rsplit_once(':').is_some_and(|(host, port)| {
            !host.is_empty()
                && !host.contains(char::is_whitespace)
                && port.parse::<u16>().is_ok_and(|port| port > 0)
        })
    };
    match text.split(',').find(|broker| !is_broker(broker)) {
        Some(broker) => Err(refused(format!(
            "the broker {broker:?} is not host:port; allowed: kafka://host:port,host:port/topic"
        ))),
        None => Ok(text.to_owned()),
    }
}

/// Accepts the names that Kafka allows (`Topic.validate` of the Apache Kafka clients).
fn parse_topic(text: &str) -> Result<String, OpenError> {
    let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let is_name =
        (1..=249).contains(&text.len()) && text.bytes().all(is_legal) && !matches!(text, "." | "..");
    if is_name {
        return Ok(text.to_owned());
    }
    Err(refused(format!(
        "the topic {text:?} is not 1 to 249 of A-Z a-z 0-9 . _ -; allowed: kafka://host:port/topic"
    )))
}

fn number(name: &str, value: &str, from: u32, to: u32) -> Result<i32, OpenError> {
    match value.parse::<u32>() {
        Ok(number) if (from..=to).contains(&number) => Ok(i32::try_from(number).unwrap_or(i32::MAX)),
        _ => Err(refused(format!("{name} is {value:?}; it must be a number from {from} to {to}"))),
    }
}

fn yes_or_no(name: &str, value: &str) -> Result<bool, OpenError> {
    value.parse().map_err(|_| refused(format!("{name} is {value:?}; it may be true or false")))
}

/// Returns the path of a readable file. An unreadable one is an error now, not only with the first record.
fn readable(path: &str) -> Result<String, OpenError> {
    match fs::read(path) {
        Ok(_) => Ok(path.to_owned()),
        Err(error) => Err(refused(format!("the file ca={path} can't be read: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        Options::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn what_is_not_said_has_its_default() {
        let options = Options::parse("//one:9092,two:9093/shop.events").unwrap();
        assert_eq!(options.brokers, "one:9092,two:9093");
        assert_eq!(options.topic, "shop.events");
        assert_eq!((options.partitions, options.replication, options.largest), (8, -1, 1_000_000));
        assert!(options.create);
        assert_eq!(options.delivery_timeout, Duration::from_secs(8));
        assert_eq!(options.security, Security::default());
    }

    #[test]
    fn a_part_has_a_topic_of_its_own() {
        let of_part = |part| Options::parse("//one:1/shop.events").unwrap().of_part(part);
        assert_eq!(of_part(None).unwrap().topic, "shop.events");
        assert_eq!(of_part(Some("basket")).unwrap().topic, "shop.events.basket");
        let refused = of_part(Some(&"x".repeat(249))).unwrap_err().to_string();
        assert!(refused.contains("is not 1 to 249 of"), "{refused}");
    }

    #[test]
    fn every_option_is_read() {
        let options = Options::parse(
            "//[::1]:1/t?create=false&partitions=3&replication=2&delivery_timeout_ms=500&session_timeout_ms=7000&largest=2000\
             &group_prefix=eu.&client_id=shop%201",
        )
        .unwrap();
        assert_eq!((options.partitions, options.replication, options.largest), (3, 2, 2_000));
        assert!(!options.create);
        assert_eq!(options.delivery_timeout, Duration::from_millis(500));
        assert_eq!(options.session_timeout, Duration::from_secs(7));
        assert_eq!((&*options.group_prefix, &*options.client_id), ("eu.", "shop 1"));
    }

    #[test]
    fn what_is_wrong_is_said_in_one_line_with_what_is_allowed() {
        for (text, said) in [
            ("one:9092/t", "it begins with kafka://"),
            ("//one/t", "the broker \"one\" is not host:port"),
            ("//one:0/t", "the broker \"one:0\""),
            ("//one:1,/t", "the broker \"\""),
            ("//one:1", "the topic \"\" is not 1 to 249 of"),
            ("//one:1/..", "the topic \"..\""),
            ("//one:1/a/b", "the topic \"a/b\""),
            ("//one:1/t?partitions=0", "partitions is \"0\"; it must be a number from 1 to 10000"),
            ("//one:1/t?largest=-5", "largest is \"-5\"; it must be a number from 1000"),
            ("//one:1/t?partition=1", "it has the option \"partition\"; allowed: create, partitions,"),
            ("//one:1/t?create=no", "create is \"no\"; it may be true or false"),
            ("//one:1/t?mechanism=KERBEROS", "it may be PLAIN, SCRAM-SHA-256"),
            ("//one:1/t?security=ssl", "it may be plaintext, tls, sasl_plaintext or sasl_tls"),
            ("//one:1/t?ca=/nowhere/ca.pem", "the file ca=/nowhere/ca.pem can't be read"),
            ("//ann@one:1/t", "a user and no password"),
        ] {
            let refusal = refusal(text);
            assert!(refusal.contains(said) && !refusal.contains('\n'), "{text}: {refusal}");
        }
    }

    #[test]
    fn no_message_shows_a_password() {
        for text in [
            "//ann:s3cret@one/t",
            "//ann:s3cret@one:1/t?partitions=none",
            "//ann:s3cret@one:1/t?security=tls",
            "//ann:s3cret@one:1/t?security=plaintext",
            "//ann:s3cret@one:1/t?mechanism=AWS_MSK_IAM&region=r",
            "//:s3cret@one:1/t",
            "//ann:s3cret@me@one/t",
        ] {
            assert!(!refusal(text).contains("s3cret"), "{text}: {}", refusal(text));
        }
        let options = Options::parse("//ann:s3cret@one:1/t?security=sasl_plaintext&mechanism=PLAIN").unwrap();
        assert!(!format!("{options:?}").contains("s3cret"));
        let mistyped = crate::EventChannel::open("kafak://ann:s3cret@one:1/t").err().unwrap().to_string();
        assert!(mistyped.contains("kafak://…@one:1/…"), "{mistyped}");
    }
}
