//! The options that may follow `memory:` in a channel's URL.

use crate::OpenError;

/// The options of an in-memory channel.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Options {
    /// The number of partitions.
    pub(super) partitions: usize,
    /// Records that one group may leave uncommitted in one partition.
    pub(super) capacity: usize,
    /// The topic name that deliveries carry.
    pub(super) topic: String,
}

const DEFAULTS: (usize, usize, &str) = (8, 1024, "events");
const MOST_PARTITIONS: usize = 1024;
const MOST_CAPACITY: usize = 1 << 24;

impl Options {
    /// Parses the text after `memory:`.
    pub(super) fn parse(text: &str) -> Result<Self, OpenError> {
        let (partitions, capacity, topic) = DEFAULTS;
        let mut options = Self { partitions, capacity, topic: topic.to_owned() };
        if text.is_empty() {
            return Ok(options);
        }
        let Some(pairs) = text.strip_prefix('?') else {
            return Err(OpenError::Refused(format!(
                "{text:?} after \"memory:\"; only options may follow: {ALLOWED}"
            )));
        };
        for pair in pairs.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            match name {
                "partitions" => options.partitions = number(name, value, MOST_PARTITIONS)?,
                "capacity" => options.capacity = number(name, value, MOST_CAPACITY)?,
                "topic" if !value.is_empty() => value.clone_into(&mut options.topic),
                _ => return Err(OpenError::Refused(format!("unknown option {pair:?}; allowed: {ALLOWED}"))),
            }
        }
        Ok(options)
    }
}

const ALLOWED: &str = "\"?partitions=NUMBER&capacity=NUMBER&topic=NAME\"";

fn number(name: &str, value: &str, most: usize) -> Result<usize, OpenError> {
    match value.parse() {
        Ok(number) if (1..=most).contains(&number) => Ok(number),
        _ => Err(OpenError::Refused(format!("{name} is {value:?}; it must be a number from 1 to {most}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_has_its_default() {
        let defaults = Options { partitions: 8, capacity: 1024, topic: "events".to_owned() };
        assert_eq!(Options::parse("").unwrap(), defaults);
        assert_eq!(Options::parse("?").unwrap(), defaults);
        assert_eq!(Options::parse("?partitions=3").unwrap(), Options { partitions: 3, ..defaults });
    }

    #[test]
    fn every_option_is_read() {
        let read = Options::parse("?partitions=2&capacity=9&topic=shop.events").unwrap();
        assert_eq!(read, Options { partitions: 2, capacity: 9, topic: "shop.events".to_owned() });
    }

    #[test]
    fn a_bad_option_is_refused_by_name_and_with_what_is_allowed() {
        for (text, said) in [
            ("?partitions=0", "partitions is \"0\"; it must be a number from 1 to 1024"),
            ("?capacity=many", "capacity is \"many\""),
            ("?capacity=-1", "capacity is \"-1\""),
            ("?partition=8", "unknown option \"partition=8\"; allowed: \"?partitions=NUMBER"),
            ("?topic=", "unknown option \"topic=\""),
            ("//here", "\"//here\" after \"memory:\""),
        ] {
            let refusal = Options::parse(text).unwrap_err().to_string();
            assert!(refusal.contains(said), "{text}: {refusal}");
        }
    }
}
