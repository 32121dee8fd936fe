//! The digest of an event store. Stores with the same content have the same digest, whatever order they keep it in.

use std::fmt;

use event_store::{CommandRecord, Commit, ReminderRow};
use serde::{Serialize, Serializer};
use sha2::{Digest as _, Sha256};

/// All that a store holds, in numbers, and its digest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Totals {
    pub(super) commits: u64,
    pub(super) events: u64,
    pub(super) unpublished: u64,
    pub(super) records: u64,
    pub(super) reminders: u64,
    pub(super) digest: Digest,
}

/// The exclusive or of the SHA-256 of each part. No two parts are alike, because each begins with its place in the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Digest([u8; 32]);

/// The hash of one part. Each field stands behind its length, so that no two lists of fields are the same bytes.
struct Part(Sha256);

impl Part {
    fn new(kind: &str, stream: &str) -> Self {
        Self(Sha256::new()).field(kind).field(stream)
    }

    fn field(mut self, field: impl AsRef<[u8]>) -> Self {
        let field = field.as_ref();
        self.0.update((field.len() as u64).to_be_bytes());
        self.0.update(field);
        self
    }

    fn number(self, number: impl Into<i128>) -> Self {
        self.field(number.into().to_be_bytes())
    }

    fn flag(self, flag: bool) -> Self {
        self.field([u8::from(flag)])
    }

    fn option(self, text: Option<&str>) -> Self {
        let has = self.flag(text.is_some());
        has.field(text.unwrap_or_default())
    }
}

impl Digest {
    fn add(&mut self, part: Part) {
        for (byte, other) in self.0.iter_mut().zip(part.0.finalize()) {
            *byte ^= other;
        }
    }
}

impl Totals {
    pub(super) fn add_commit(&mut self, commit: &Commit) {
        let Commit { stream, version, command_id, command_hash, events, awaits_outcome, .. } = commit;
        let metadata = &commit.metadata;
        let mut part = Part::new("commit", stream.as_str())
            .number(version.get())
            .field(command_id.as_str())
            .field(command_hash.0)
            .flag(*awaits_outcome)
            .flag(commit.unpublished)
            .number(commit.recorded_at.as_microsecond())
            .field(&metadata.correlation_id)
            .option(metadata.causation_id.as_deref())
            .option(metadata.traceparent.as_deref())
            .option(metadata.actor.as_deref());
        for event in events {
            part = part.field(event.kind.as_str()).number(event.schema).field(event.data.get());
        }
        self.digest.add(part);
        self.commits += 1;
        self.events += events.len() as u64;
        self.unpublished += u64::from(commit.unpublished);
    }

    pub(super) fn add_record(&mut self, record: &CommandRecord) {
        let part = Part::new("record", record.stream.as_str())
            .field(record.command_id.as_str())
            .field(record.command_hash.0)
            .number(record.version.get())
            .number(record.recorded_at.as_microsecond())
            .option(record.rejection.as_deref());
        self.digest.add(part);
        self.records += 1;
    }

    pub(super) fn add_reminder(&mut self, row: &ReminderRow) {
        let part = Part::new("reminder", row.commit.stream.as_str())
            .number(row.commit.version.get())
            .number(row.since.as_millisecond())
            .number(row.sent)
            .option(row.problem.as_deref());
        self.digest.add(part);
        self.reminders += 1;
    }
}

/// Returns true if two reminders are the same. Not every store keeps the microseconds of their times.
pub(super) fn is_same_reminder(a: &ReminderRow, b: &ReminderRow) -> bool {
    let mut totals = [Totals::default(), Totals::default()];
    totals[0].add_reminder(a);
    totals[1].add_reminder(b);
    totals[0] == totals[1]
}

impl fmt::Display for Totals {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { commits, events, records, reminders, digest, .. } = self;
        write!(
            formatter,
            "{commits} commits with {events} events, {records} small records and {reminders} reminders (digest {digest})"
        )
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use event_sourcing::testing::Event;
    use event_sourcing::{CommandId, EncodedEvent, StreamId, Version};
    use event_store::{CommandHash, CommitId, Metadata};
    use jiff::Timestamp;

    use super::*;

    fn commit() -> Commit {
        Commit {
            stream: StreamId::parse("a").unwrap(),
            version: Version::new(1),
            command_id: CommandId::system("x").unwrap(),
            command_hash: CommandHash([1; 32]),
            events: vec![
                EncodedEvent::encode(&Event::TaskStarted),
                EncodedEvent::encode(&Event::TaskFinished),
            ],
            awaits_outcome: false,
            recorded_at: Timestamp::UNIX_EPOCH,
            metadata: Metadata::default(),
            unpublished: true,
        }
    }

    fn record() -> CommandRecord {
        CommandRecord {
            stream: StreamId::parse("a").unwrap(),
            command_id: CommandId::system("y").unwrap(),
            command_hash: CommandHash([1; 32]),
            version: Version::new(1),
            rejection: None,
            recorded_at: Timestamp::UNIX_EPOCH,
        }
    }

    fn reminder() -> ReminderRow {
        let commit = CommitId { stream: StreamId::parse("a").unwrap(), version: Version::new(1) };
        ReminderRow { commit, since: Timestamp::UNIX_EPOCH, sent: 0, problem: None }
    }

    #[test]
    fn the_sequence_makes_no_difference_and_every_field_makes_one() {
        let of = |commits: &[Commit], records: &[CommandRecord], reminders: &[ReminderRow]| {
            let mut totals = Totals::default();
            commits.iter().for_each(|commit| totals.add_commit(commit));
            records.iter().for_each(|record| totals.add_record(record));
            reminders.iter().for_each(|row| totals.add_reminder(row));
            totals.digest.to_string()
        };
        let second =
            || Commit { version: Version::new(3), command_id: CommandId::system("z").unwrap(), ..commit() };
        assert_eq!(of(&[commit(), second()], &[], &[]), of(&[second(), commit()], &[], &[]));

        let later: Timestamp = "1970-01-01T00:00:00.001Z".parse().unwrap();
        let microsecond: Timestamp = "1970-01-01T00:00:00.000001Z".parse().unwrap();
        let swapped = commit().events.into_iter().rev().collect();
        let actor = Metadata { actor: Some(String::new()), ..Metadata::default() };
        let cause = Metadata { causation_id: Some(String::new()), ..Metadata::default() };
        let commits = [
            commit(),
            Commit { stream: StreamId::parse("b").unwrap(), ..commit() },
            Commit { version: Version::new(2), ..commit() },
            Commit { command_id: CommandId::system("z").unwrap(), ..commit() },
            Commit { command_hash: CommandHash([2; 32]), ..commit() },
            Commit { events: swapped, ..commit() },
            Commit { awaits_outcome: true, ..commit() },
            Commit { recorded_at: microsecond, ..commit() },
            Commit { metadata: actor, ..commit() },
            Commit { metadata: cause, ..commit() },
            Commit { unpublished: false, ..commit() },
        ];
        let records = [
            record(),
            CommandRecord { command_id: CommandId::system("z").unwrap(), ..record() },
            CommandRecord { version: Version::new(2), ..record() },
            CommandRecord { rejection: Some(Arc::from("")), ..record() },
            CommandRecord { recorded_at: microsecond, ..record() },
        ];
        let reminders = [
            reminder(),
            ReminderRow { since: later, ..reminder() },
            ReminderRow { sent: 1, ..reminder() },
            ReminderRow { problem: Some(String::new()), ..reminder() },
        ];
        let mut digests: Vec<String> =
            commits.iter().map(|commit| of(std::slice::from_ref(commit), &[], &[])).collect();
        digests.extend(records.iter().map(|record| of(&[], std::slice::from_ref(record), &[])));
        digests.extend(reminders.iter().map(|row| of(&[], &[], std::slice::from_ref(row))));
        let all = digests.len();
        digests.sort();
        digests.dedup();
        assert_eq!(digests.len(), all);
    }

    #[test]
    fn stores_that_keep_milliseconds_have_the_same_reminders() {
        let microsecond = ReminderRow { since: "1970-01-01T00:00:00.000001Z".parse().unwrap(), ..reminder() };
        assert!(is_same_reminder(&microsecond, &reminder()));
        assert!(!is_same_reminder(&ReminderRow { sent: 1, ..reminder() }, &reminder()));
    }
}
