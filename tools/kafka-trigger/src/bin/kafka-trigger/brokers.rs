//! Builds the URL of a topic for the event channel.

use anyhow::bail;

/// The brokers and the way to reach them: a `kafka://` URL without its topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Brokers {
    /// `[user:password@]host:port,host:port`
    authority: String,
    /// `option=value&…`
    options: String,
}

impl Brokers {
    /// Parses the value of `--kafka`: a URL, or brokers alone.
    pub(crate) fn of_url(url: &str) -> anyhow::Result<Self> {
        let rest = match url.strip_prefix("kafka://") {
            Some(rest) => rest,
            None if is_list(url) => url,
            // The message does not repeat the URL, because the URL may contain a password.
            None => bail!(
                "--kafka must be host:port[,host:port], or kafka://[user:password@]host:port[,host:port][?option=value&…]"
            ),
        };
        let (place, options) = rest.split_once('?').unwrap_or((rest, ""));
        // A password may contain a slash, but a topic contains no @. So the last @ ends the login.
        let (login, hosts) = place.rsplit_once('@').map_or(("", place), |(login, hosts)| (login, hosts));
        let hosts = hosts.split('/').next().unwrap_or_default();
        let authority = if login.is_empty() { hosts.to_owned() } else { format!("{login}@{hosts}") };
        Ok(Self { authority, options: options.to_owned() })
    }

    /// Parses the brokers of a template: `host:port,host:port`.
    pub(crate) fn of_servers(servers: &str) -> Self {
        let authority = servers.split(',').map(str::trim).collect::<Vec<_>>().join(",");
        Self { authority, options: String::new() }
    }

    /// Returns the URL of a topic. The channel does not create the topic unless the URL's options say so.
    pub(crate) fn url(&self, topic: &str) -> String {
        let Self { authority, options } = self;
        // If an option appears twice, the last one counts. So the user's options override these defaults.
        format!("kafka://{authority}/{topic}?create=false&client_id=kafka-trigger&{options}")
    }

    /// The hosts and ports of the brokers.
    pub(crate) fn servers(&self) -> &str {
        self.authority.rsplit('@').next().unwrap_or_default()
    }
}

/// Is the text `host:port`, or a list of those?
fn is_list(text: &str) -> bool {
    let is_broker = |broker: &str| {
        let (host, port) = broker.rsplit_once(':').unwrap_or_default();
        !host.is_empty() && !host.contains(['/', '@', ':']) && port.parse::<u16>().is_ok_and(|port| port > 0)
    };
    text.split('?').next().unwrap_or_default().split(',').all(is_broker)
}

#[cfg(test)]
mod tests {
    use event_channel::EventChannel;

    use super::*;

    #[test]
    fn a_topic_gets_its_place_in_the_url() {
        for (url, expected, servers) in [
            ("kafka://a:1,b:2", "kafka://a:1,b:2/t?create=false&client_id=kafka-trigger&", "a:1,b:2"),
            ("kafka://a:1/orders.events", "kafka://a:1/t?create=false&client_id=kafka-trigger&", "a:1"),
            (
                "kafka://ann:p/w@a:1/?security=sasl_plaintext&mechanism=PLAIN",
                "kafka://ann:p/w@a:1/t?create=false&client_id=kafka-trigger&security=sasl_plaintext&mechanism=PLAIN",
                "a:1",
            ),
        ] {
            let brokers = Brokers::of_url(url).unwrap();
            assert_eq!(brokers.url("t"), expected);
            assert_eq!(brokers.servers(), servers);
            assert!(EventChannel::open(brokers.url("t")).is_ok() || url.contains("p/w"));
        }
    }

    #[test]
    fn a_templates_servers_are_a_list() {
        assert_eq!(Brokers::of_servers("a:1, b:2"), Brokers::of_url("kafka://a:1,b:2").unwrap());
    }

    #[test]
    fn what_is_no_kafka_url_is_refused_and_not_repeated() {
        for url in ["ann:s3cret@a:1", "http://a:s3cret", "localhost", "a:1,s3cret", "a:s3cret", ":1", ""] {
            let said = Brokers::of_url(url).unwrap_err().to_string();
            assert!(said.contains("--kafka must be host:port") && !said.contains("s3cret"), "{said}");
        }
    }

    #[test]
    fn brokers_alone_are_taken_for_a_url() {
        for (brokers, url) in [
            ("localhost:9092", "kafka://localhost:9092"),
            ("a:1,b:2", "kafka://a:1,b:2"),
            ("a:1?create=true", "kafka://a:1?create=true"),
        ] {
            assert_eq!(Brokers::of_url(brokers).unwrap(), Brokers::of_url(url).unwrap());
        }
    }
}
