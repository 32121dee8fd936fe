//! The forms of names, brokers and times, and the words that describe these forms in messages.

pub(super) const BROKER: &str = "host:port";
pub(super) const DESTINATION: &str =
    "kafka://TOPIC, or the ARN of an SNS topic, an SQS queue or an S3 bucket";
pub(super) const GROUP: &str = "1 to 200 of letters, digits and - / * : _ + = . @";
pub(super) const TIMESTAMP: &str = "the time in seconds since 1970 (before the year 10000)";
pub(super) const TOPIC: &str = "the name of a topic: up to 249 of letters, digits, . _ and -";

pub(super) fn is_topic(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=249).contains(&text.len()) && text.bytes().all(allowed) && text != "." && text != ".."
}

pub(super) fn is_group(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-/*:_+=.@".contains(&byte);
    (1..=200).contains(&text.len()) && text.bytes().all(allowed)
}

pub(super) fn is_broker(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let is_host = !host.is_empty() && !host.contains([',', '/', ' ']);
    is_host && port.parse::<u16>().is_ok_and(|port| port > 0)
}

/// Converts seconds since 1970, whole or not, to milliseconds.
pub(super) fn milliseconds(seconds: &str) -> Option<i64> {
    // The year 10000. A larger number is most likely a number of milliseconds that was given as seconds.
    const END: f64 = 253_402_300_800.0;
    let seconds = seconds.trim().parse::<f64>().ok().filter(|seconds| (0.0..END).contains(seconds))?;
    // The number of milliseconds is well below the largest that an f64 and an i64 hold exactly.
    #[allow(clippy::cast_possible_truncation)]
    Some((seconds * 1000.0).round() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_as_kafka_and_lambda_allow_them() {
        assert!(is_topic("orders.events") && is_topic(&"a".repeat(249)));
        for not_one in ["", ".", "..", "a b", "a/b", &"a".repeat(250)] {
            assert!(!is_topic(not_one), "{not_one}");
        }
        assert!(is_group("team/orders:projector@1"));
        assert!(!is_group("") && !is_group("a b") && !is_group(&"a".repeat(201)));
        assert!(is_broker("b-1.kafka.local:9092") && is_broker("[::1]:9092"));
        for not_one in ["host", "host:", ":9092", "host:0", "host:65536", "a,b:1", "kafka://a:1"] {
            assert!(!is_broker(not_one), "{not_one}");
        }
    }

    #[test]
    fn times_are_seconds_since_1970() {
        assert_eq!(milliseconds("1741010400"), Some(1_741_010_400_000));
        assert_eq!(milliseconds("1.5E9"), Some(1_500_000_000_000));
        assert_eq!(milliseconds("0.25"), Some(250));
        for not_one in ["1741010400000", "-1", "NaN", "inf", "2025-03-03T14:00:00Z", ""] {
            assert_eq!(milliseconds(not_one), None, "{not_one}");
        }
    }
}
