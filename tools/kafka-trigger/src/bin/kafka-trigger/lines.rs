//! Prints to standard output: one line for each invocation, and one for discarded records.

use std::io::Write as _;
use std::io::stdout;
use std::sync::Arc;

use event_source_mapping::{DeadLetter, Ending, Invocation, OffsetRange};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

/// Prints the lines of one mapping. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Lines {
    mapping: Arc<str>,
    form: LineFormat,
}

/// The format of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LineFormat {
    /// For people.
    Text,
    /// For machines: one JSON object a line.
    Json,
}

/// The fate of discarded records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DeadLetterFate<'a> {
    /// The failure destination has taken them.
    SentTo(&'a str),
    /// The failure destination has no URL. The line is the only trace of the records.
    OutOfReach(&'a str),
    /// There is no failure destination.
    Dropped,
}

impl Lines {
    pub(crate) fn new(mapping: &str, form: LineFormat) -> Self {
        Self { mapping: mapping.into(), form }
    }

    pub(crate) fn invocation(&self, invocation: &Invocation) {
        let now = Timestamp::now();
        print(&match self.form {
            LineFormat::Text => invocation_as_text(invocation, now),
            LineFormat::Json => invocation_as_json(&self.mapping, invocation, now),
        });
    }

    /// Prints the line of discarded records.
    pub(crate) fn given_up(&self, discarded: &DeadLetter, fate: DeadLetterFate<'_>) {
        let now = Timestamp::now();
        print(&match self.form {
            LineFormat::Text => given_up_as_text(discarded, fate, now),
            LineFormat::Json => given_up_as_json(&self.mapping, discarded, fate, now),
        });
    }
}

fn print(line: &str) {
    // The reader may have closed the output. That is no reason to stop.
    let _ = writeln!(stdout().lock(), "{line}");
}

/// The time of day in UTC, as in the log.
fn clock(now: Timestamp) -> String {
    now.strftime("%H:%M:%S.%3fZ").to_string()
}

fn invocation_as_text(invocation: &Invocation, now: Timestamp) -> String {
    let Invocation { function, partitions, records, took, ending, failed, error } = invocation;
    let partitions = partitions.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    let result = match ending {
        Ending::Succeeded => "succeeded",
        Ending::PartlyFailed => "partly failed",
        Ending::Failed => "FAILED",
        Ending::NotReached => "NOT REACHED",
    };
    let mut line = format!(
        "{} {function}  {partitions}  {records} record{}  {:.1} ms  {result}",
        clock(now),
        if *records == 1 { "" } else { "s" },
        took.as_secs_f64() * 1e3
    );
    for (partition, offset) in failed {
        line.push_str(&format!(" from {partition}@{offset}"));
    }
    if let Some(error) = error {
        line.push_str(&format!(": {}", one_line(error)));
    }
    line
}

#[derive(Serialize)]
struct InvocationLine<'a> {
    time: Timestamp,
    mapping: &'a str,
    function: &'a str,
    partitions: &'a [OffsetRange],
    records: usize,
    ms: f64,
    result: Ending,
    failed: Vec<Value>,
    error: Option<&'a str>,
}

fn invocation_as_json(mapping: &str, invocation: &Invocation, time: Timestamp) -> String {
    let failed = invocation.failed.iter();
    let line = InvocationLine {
        time,
        mapping,
        function: &invocation.function,
        partitions: &invocation.partitions,
        records: invocation.records,
        ms: (invocation.took.as_secs_f64() * 1e6).round() / 1e3,
        result: invocation.ending,
        failed: failed.map(|(partition, offset)| json!({"partition": partition, "offset": offset})).collect(),
        error: invocation.error.as_deref(),
    };
    // The line has only numbers and texts, so that writing it never fails.
    serde_json::to_string(&line).unwrap_or_default()
}

fn range(discarded: &DeadLetter) -> Option<OffsetRange> {
    let (first, last) = discarded.records.first().zip(discarded.records.last())?;
    Some(OffsetRange {
        partition: format!("{}-{}", first.topic, first.partition),
        first: first.offset,
        last: last.offset,
        records: discarded.records.len(),
    })
}

fn given_up_as_text(discarded: &DeadLetter, fate: DeadLetterFate<'_>, now: Timestamp) -> String {
    let DeadLetter { function, records, reason, attempts, error } = discarded;
    let range = range(discarded).map(|range| range.to_string()).unwrap_or_default();
    let fate = match fate {
        DeadLetterFate::SentTo(name) => format!("sent to {name}"),
        DeadLetterFate::OutOfReach(name) => format!("not sent to {name}, which has no --destination"),
        DeadLetterFate::Dropped => "dropped".to_owned(),
    };
    let error = if error.is_empty() { String::new() } else { format!(": {}", one_line(error)) };
    format!(
        "{} {function}  {range}  {} record{}  GIVEN UP ({}, {attempts} attempts), {fate}{error}",
        clock(now),
        records.len(),
        if records.len() == 1 { "" } else { "s" },
        reason.name(),
    )
}

fn given_up_as_json(
    mapping: &str,
    discarded: &DeadLetter,
    fate: DeadLetterFate<'_>,
    time: Timestamp,
) -> String {
    let DeadLetter { function, records, reason, attempts, error } = discarded;
    let (destination, out_of_reach) = match fate {
        DeadLetterFate::SentTo(name) => (Some(name), None),
        DeadLetterFate::OutOfReach(name) => (None, Some(name)),
        DeadLetterFate::Dropped => (None, None),
    };
    json!({
        "time": time,
        "mapping": mapping,
        "function": function,
        "partitions": [range(discarded)],
        "records": records.len(),
        "result": "given_up",
        "reason": reason.name(),
        "attempts": attempts,
        "destination": destination,
        "out_of_reach": out_of_reach,
        "error": Some(error).filter(|error| !error.is_empty()),
    })
    .to_string()
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use event_source_mapping::DiscardReason;
    use event_source_mapping::event::KafkaRecord;

    use super::*;

    fn failed() -> Invocation {
        let range = OffsetRange { partition: "t-0".to_owned(), first: 5, last: 14, records: 10 };
        Invocation {
            function: "f".to_owned(),
            partitions: vec![range],
            records: 10,
            took: Duration::from_micros(4_250),
            ending: Ending::Failed,
            failed: vec![],
            error: Some("the function failed: Boom:\n  on purpose".to_owned()),
        }
    }

    #[test]
    fn an_invocation_is_one_line() {
        let line = invocation_as_text(&failed(), Timestamp::UNIX_EPOCH);
        let (_, line) = line.split_once(' ').unwrap();
        assert_eq!(line, "f  t-0@5..=14  10 records  4.2 ms  FAILED: the function failed: Boom: on purpose");
        let partly = Invocation {
            ending: Ending::PartlyFailed,
            failed: vec![("t-0".to_owned(), 7)],
            error: None,
            ..failed()
        };
        assert!(invocation_as_text(&partly, Timestamp::UNIX_EPOCH).ends_with("partly failed from t-0@7"));
    }

    #[test]
    fn an_invocation_is_one_json_object() {
        let line = invocation_as_json("Mapping", &failed(), Timestamp::UNIX_EPOCH);
        assert!(!line.contains('\n'));
        let expected = json!({
            "time": "1970-01-01T00:00:00Z", "mapping": "Mapping", "function": "f", "records": 10, "ms": 4.25,
            "partitions": [{"partition": "t-0", "first": 5, "last": 14, "records": 10}],
            "result": "failed", "failed": [], "error": "the function failed: Boom:\n  on purpose"
        });
        assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), expected);
    }

    #[test]
    fn records_that_are_given_up_are_named_with_where_they_went() {
        let record: KafkaRecord =
            serde_json::from_value(json!({"topic": "t", "partition": 2, "offset": 9})).unwrap();
        let discarded = DeadLetter {
            function: "f".to_owned(),
            records: vec![record],
            reason: DiscardReason::RetriesExhausted,
            attempts: 3,
            error: "Boom".to_owned(),
        };
        let queue = "arn:aws:sqs:eu-west-1:1:dead";
        for (fate, text, destination, out_of_reach) in [
            (
                DeadLetterFate::SentTo("kafka://dead"),
                "sent to kafka://dead",
                json!("kafka://dead"),
                Value::Null,
            ),
            (
                DeadLetterFate::OutOfReach(queue),
                "not sent to arn:aws:sqs:eu-west-1:1:dead, which has no --destination",
                Value::Null,
                json!(queue),
            ),
            (DeadLetterFate::Dropped, "dropped", Value::Null, Value::Null),
        ] {
            let line = given_up_as_text(&discarded, fate, Timestamp::UNIX_EPOCH);
            let expected =
                format!("f  t-2@9..=9  1 record  GIVEN UP (retries_exhausted, 3 attempts), {text}: Boom");
            assert_eq!(line.split_once(' ').unwrap().1, expected);
            let line = given_up_as_json("M", &discarded, fate, Timestamp::UNIX_EPOCH);
            let read: Value = serde_json::from_str(&line).unwrap();
            assert_eq!(read["result"], "given_up");
            assert_eq!((&read["destination"], &read["out_of_reach"]), (&destination, &out_of_reach));
        }
    }
}
