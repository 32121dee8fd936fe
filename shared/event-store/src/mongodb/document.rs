//! The documents of commits and small records: writing and reading them.
//!
//! An event's own data is JSON as text. It comes back byte for byte, whatever its numbers and the order of its keys. Upcasters
//! read JSON, so a read needs no conversion. Type and schema are fields, so that a shell can count and find events. Times are
//! text of fixed length in UTC, which sorts as time does; a BSON date would lose the microseconds.

use std::sync::Arc;

use event_sourcing::{CommandId, EncodedEvent, EventType, StreamId, Version, event};
use jiff::{SignedDuration, Timestamp};
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{self, DateTime, RawArrayBuf, RawBsonRef, RawDocument, RawDocumentBuf, cstr};
use serde_json::value::RawValue;

use crate::cursor::{follows, unreadable, unreadable_at};
use crate::{
    ANSWERED_KEPT, AnsweredCommand, CommandHash, CommandRecord, CommandResult, Commit, Metadata,
    ScannedCommit, StoreError, UnreadableStream,
};

/// The largest commit, in bytes. Every server takes documents of 16 MiB; the rest is room for the additions of the protocol.
const LARGEST: usize = 15 * 1024 * 1024;

/// Returns a commit's id. Ids sort as a stream's versions do, because the greatest version has 19 digits. No stream has an `@` in
/// its name, so the commits of a stream stand together.
pub(super) fn id(stream: &str, version: Version) -> String {
    format!("{stream}@{:019}", version.get())
}

/// Returns a time in its stored form, in which times are compared.
pub(super) fn time(time: Timestamp) -> String {
    format!("{time:.6}")
}

pub(super) fn number(version: Version) -> i64 {
    // No version is above [`Version::MAX`].
    i64::try_from(version.get()).unwrap_or(i64::MAX)
}

pub(super) fn of_commit(commit: &Commit) -> Result<RawDocumentBuf, StoreError> {
    let mut events = RawArrayBuf::new();
    for event in &commit.events {
        events.push(of_event(event));
    }
    let mut document = RawDocumentBuf::new();
    document.append(cstr!("_id"), id(commit.stream.as_str(), commit.version));
    document.append(cstr!("stream"), commit.stream.as_str());
    document.append(cstr!("version"), number(commit.version));
    document.append(cstr!("last_version"), number(commit.last_version()));
    append_command(&mut document, &commit.command_id, &commit.command_hash);
    document.append(cstr!("events"), events);
    document.append(cstr!("recorded_at"), time(commit.recorded_at));
    let metadata = bson::serialize_to_raw_document_buf(&commit.metadata).map_err(unwritable)?;
    document.append(cstr!("metadata"), metadata);
    if commit.awaits_outcome {
        document.append(cstr!("awaits_outcome"), true);
    }
    if commit.unpublished {
        document.append(cstr!("unpublished"), true);
    }
    // The commit is refused here, alone. The driver would refuse its whole batch.
    if document.as_bytes().len() > LARGEST {
        return Err(unwritable(format_args!("a commit may have {LARGEST} bytes")));
    }
    Ok(document)
}

fn of_event(event: &EncodedEvent) -> RawDocumentBuf {
    let mut document = RawDocumentBuf::new();
    document.append(cstr!("type"), event.kind.as_str());
    document.append(cstr!("schema"), i64::from(event.schema));
    document.append(cstr!("data"), event.data.get());
    document
}

/// Returns a small record's document. It has no id of ours: the driver creates one that is not text, so no scan meets it. It has
/// no version, so it is no commit. The server deletes a client's some time after [`ANSWERED_KEPT`] from `now`.
///
/// Guarantee: the system's records never expire, because they name no time at which the server may delete them.
pub(super) fn of_record(record: &CommandRecord, now: Timestamp) -> Result<RawDocumentBuf, StoreError> {
    let kept = SignedDuration::try_from(ANSWERED_KEPT).map_err(unwritable)?;
    let forget_at = now.checked_add(kept).map_err(unwritable)?;
    let mut document = RawDocumentBuf::new();
    document.append(cstr!("stream"), record.stream.as_str());
    append_command(&mut document, &record.command_id, &record.command_hash);
    document.append(cstr!("answered"), number(record.version));
    document.append(cstr!("recorded_at"), time(record.recorded_at));
    if let Some(rejection) = &record.rejection {
        document.append(cstr!("rejection"), rejection.as_ref());
    }
    if record.expires() {
        document.append(cstr!("forget_at"), DateTime::from_millis(forget_at.as_millisecond()));
    }
    Ok(document)
}

fn append_command(document: &mut RawDocumentBuf, command: &CommandId, hash: &CommandHash) {
    document.append(cstr!("command_id"), command.as_str());
    let hash = bson::raw::RawBinaryRef { subtype: BinarySubtype::Generic, bytes: &hash.0 };
    document.append(cstr!("command_hash"), hash);
}

fn unwritable(problem: impl std::fmt::Display) -> StoreError {
    StoreError::Unavailable(format!("it can't be written: {problem}").into())
}

/// Reads the commit that must come after version `last` of the stream.
pub(super) fn commit(
    stream: &StreamId,
    last: Version,
    document: &RawDocument,
) -> Result<Commit, UnreadableStream> {
    let version = follows(stream, last, first_version(stream, document)?)?;
    let read = || {
        let command_id =
            CommandId::parse(text(document, "command_id")?).map_err(|error| error.to_string())?;
        Ok(Commit {
            stream: stream.clone(),
            version,
            events: events(version, document, encoded)?,
            awaits_outcome: document.get_bool("awaits_outcome").unwrap_or_default(),
            command_id,
            command_hash: hash(document)?,
            recorded_at: recorded_at(document)?,
            metadata: metadata(document)?,
            unpublished: document.get_bool("unpublished").unwrap_or_default(),
        })
    };
    read().map_err(|problem: String| unreadable_at(stream, version, &problem))
}

/// Reads, for a scan, the commit that must come after version `last` of the stream.
pub(super) fn scanned<E: EventType>(
    stream: &StreamId,
    last: Version,
    document: &RawDocument,
) -> Result<ScannedCommit<E>, UnreadableStream> {
    let version = follows(stream, last, first_version(stream, document)?)?;
    let read = || Ok((recorded_at(document)?, events(version, document, decoded)?));
    let (recorded_at, events) = read().map_err(|problem: String| unreadable_at(stream, version, &problem))?;
    Ok(ScannedCommit { stream: stream.clone(), version, recorded_at, events })
}

/// Reads a small record.
pub(super) fn record(document: &RawDocument) -> Result<CommandRecord, UnreadableStream> {
    let name = document.get_str("stream").unwrap_or_default();
    let read = || {
        Ok(CommandRecord {
            stream: StreamId::parse(name).map_err(|error| error.to_string())?,
            command_id: CommandId::parse(text(document, "command_id")?).map_err(|error| error.to_string())?,
            command_hash: hash(document)?,
            version: Version::new(whole(document, "answered")?.unsigned_abs()),
            rejection: rejection(document)?,
            recorded_at: recorded_at(document)?,
        })
    };
    read().map_err(|problem: String| UnreadableStream::new(name, &format!("a small record: {problem}")))
}

/// Reads the answer to a command from its document: a commit or a small record.
pub(super) fn answered(
    stream: &StreamId,
    document: &RawDocument,
) -> Result<AnsweredCommand, UnreadableStream> {
    let with_events = is_commit(document);
    let read = || {
        let version = whole(document, if with_events { "last_version" } else { "answered" })?;
        let version = Version::new(u64::try_from(version).map_err(|error| error.to_string())?);
        let result = match with_events {
            true => CommandResult::Events,
            false => CommandResult::without_events(rejection(document)?),
        };
        Ok(AnsweredCommand { command_hash: hash(document)?, version, result })
    };
    read().map_err(|problem: String| unreadable(stream, &format!("an answer: {problem}")))
}

pub(super) fn is_commit(document: &RawDocument) -> bool {
    matches!(document.get("version"), Ok(Some(_)))
}

pub(super) fn first_version(stream: &StreamId, document: &RawDocument) -> Result<i64, UnreadableStream> {
    whole(document, "version").map_err(|problem| unreadable(stream, &problem))
}

/// Converts a stored event's type, schema and data to the form that the caller needs.
type EventReader<T> = fn(&str, u32, &RawValue) -> Result<T, String>;

fn encoded(kind: &str, schema: u32, data: &RawValue) -> Result<EncodedEvent, String> {
    Ok(EncodedEvent { kind: kind.into(), schema, data: data.to_owned() })
}

fn decoded<E: EventType>(kind: &str, schema: u32, data: &RawValue) -> Result<E, String> {
    event::decode(kind, schema, data).map_err(|problem| problem.to_string())
}

fn events<T>(version: Version, document: &RawDocument, read: EventReader<T>) -> Result<Vec<T>, String> {
    let stored = document.get_array("events").map_err(|_| "events is not an array".to_owned())?;
    let mut events = Vec::new();
    for event in stored {
        let event =
            event.map_err(|error| error.to_string())?.as_document().ok_or("an event is no document")?;
        events.push(read_event(event, read)?);
    }
    let last = whole(document, "last_version")?;
    match events.len() {
        0 => Err("a commit without events".to_owned()),
        length if number(version.plus(length - 1)) != last => {
            Err(format!("{length} events, but the last version is {last}"))
        }
        _ => Ok(events),
    }
}

fn read_event<T>(event: &RawDocument, read: EventReader<T>) -> Result<T, String> {
    let schema = whole(event, "schema")?;
    let schema = u32::try_from(schema).map_err(|_| format!("schema {schema} is none"))?;
    let data: &RawValue = serde_json::from_str(text(event, "data")?).map_err(|error| error.to_string())?;
    read(text(event, "type")?, schema, data)
}

fn hash(document: &RawDocument) -> Result<CommandHash, String> {
    let hash = document.get_binary("command_hash").map_err(|_| "command_hash is not binary".to_owned())?;
    hash.bytes.try_into().map(CommandHash).map_err(|_| "command_hash has not 32 bytes".to_owned())
}

fn rejection(document: &RawDocument) -> Result<Option<Arc<str>>, String> {
    match document.get("rejection") {
        Ok(None) => Ok(None),
        _ => text(document, "rejection").map(|rejection| Some(rejection.into())),
    }
}

fn recorded_at(document: &RawDocument) -> Result<Timestamp, String> {
    text(document, "recorded_at")?.parse().map_err(|error| format!("recorded_at: {error}"))
}

fn metadata(document: &RawDocument) -> Result<Metadata, String> {
    let metadata = document.get_document("metadata").map_err(|_| "metadata is not a document".to_owned())?;
    bson::deserialize_from_slice(metadata.as_bytes()).map_err(|error| format!("metadata: {error}"))
}

pub(super) fn text<'a>(document: &'a RawDocument, field: &str) -> Result<&'a str, String> {
    document.get_str(field).map_err(|_| format!("{field} is not text"))
}

/// Reads a whole number of any BSON type: a shell writes doubles.
pub(super) fn whole(document: &RawDocument, field: &str) -> Result<i64, String> {
    match document.get(field) {
        Ok(Some(RawBsonRef::Int64(number))) => Ok(number),
        Ok(Some(RawBsonRef::Int32(number))) => Ok(number.into()),
        #[allow(clippy::cast_possible_truncation)] // It has no fraction, and no version is near 2^53.
        Ok(Some(RawBsonRef::Double(number))) if number.fract() == 0.0 => Ok(number as i64),
        _ => Err(format!("{field} is not a whole number")),
    }
}

#[cfg(test)]
mod tests {
    use event_sourcing::IdempotencyKey;

    use super::*;

    #[test]
    fn ids_and_times_sort_as_versions_and_times_do() {
        let versions = [1, 2, 9, 10, 99, 1_000_000, Version::MAX];
        assert!(versions.map(|version| id("a", Version::new(version))).is_sorted());
        let times = [
            "2026-11-23T09:59:59Z",
            "2026-11-23T10:00:00Z",
            "2026-11-23T10:00:00.000001Z",
            "2026-11-23T10:00:00.5Z",
        ];
        assert!(times.map(|text| time(text.parse().unwrap())).is_sorted());
    }

    #[test]
    fn a_clients_small_record_is_forgotten_a_day_after_it_is_written_and_the_systems_never() {
        let now: Timestamp = "2026-11-23T10:00:00Z".parse().unwrap();
        let record = CommandRecord {
            stream: StreamId::parse("a").unwrap(),
            command_id: CommandId::client(&IdempotencyKey::parse("no-op").unwrap(), None),
            command_hash: CommandHash([1; 32]),
            version: Version::new(3),
            rejection: None,
            recorded_at: Timestamp::UNIX_EPOCH,
        };
        let document = of_record(&record, now).unwrap();
        let forget_at = document.get_datetime("forget_at").unwrap();
        assert_eq!(forget_at.timestamp_millis(), now.as_millisecond() + 24 * 60 * 60 * 1_000);
        assert!(!is_commit(&document) && document.get("_id").unwrap().is_none());
        let of_the_system = CommandRecord { command_id: CommandId::system("no-op").unwrap(), ..record };
        assert_eq!(of_record(&of_the_system, now).unwrap().get("forget_at").unwrap(), None);
    }
}
