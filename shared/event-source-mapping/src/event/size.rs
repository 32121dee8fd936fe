//! Computes an event's size as JSON by arithmetic. The size bounds a batch, and serializing to find it would cost as much as the
//! invocation. The tests compare the size with what is serialized.

use super::{KafkaEvent, KafkaHeader, KafkaRecord, SchemaMetadata, TimestampType};

pub(super) fn of_event(event: &KafkaEvent) -> usize {
    let optional = |name: &str, text: &Option<String>| {
        text.as_ref().map_or(0, |text| ",\"\":".len() + name.len() + of_text(text))
    };
    let lists = event.records.iter().map(|(name, records)| {
        let records: usize = records.iter().map(of_record).sum::<usize>() + commas(records.len());
        of_list(name) + records
    });
    "{\"eventSource\":,\"records\":{}}".len()
        + of_text(&event.event_source)
        + optional("eventSourceArn", &event.event_source_arn)
        + optional("bootstrapServers", &event.bootstrap_servers)
        + lists.sum::<usize>()
        + commas(event.records.len())
}

/// The size of a partition's empty list.
pub(crate) fn of_list(name: &str) -> usize {
    of_text(name) + ":[]".len()
}

pub(super) fn of_record(record: &KafkaRecord) -> usize {
    let timestamp_type = match record.timestamp_type {
        TimestampType::CreateTime => "CREATE_TIME",
        TimestampType::LogAppendTime => "LOG_APPEND_TIME",
    };
    let payload =
        |name: &str, bytes: Option<usize>| bytes.map_or(0, |bytes| name.len() + bytes.div_ceil(3) * 4);
    "{\"topic\":,\"partition\":,\"offset\":,\"timestamp\":,\"timestampType\":\"\",\"headers\":[]}".len()
        + of_text(&record.topic)
        + of_number(record.partition.into())
        + of_number(record.offset)
        + of_number(record.timestamp)
        + timestamp_type.len()
        + payload(",\"key\":\"\"", record.key.as_ref().map(|key| key.len()))
        + payload(",\"value\":\"\"", record.value.as_ref().map(|value| value.len()))
        + record.headers.iter().map(of_header).sum::<usize>()
        + commas(record.headers.len())
        + record.key_schema_metadata.as_deref().map_or(0, |schema| of_schema("keySchemaMetadata", schema))
        + record.value_schema_metadata.as_deref().map_or(0, |schema| of_schema("valueSchemaMetadata", schema))
}

fn of_schema(name: &str, schema: &SchemaMetadata) -> usize {
    ",\"\":{\"dataFormat\":,\"schemaId\":}".len()
        + name.len()
        + of_text(&schema.data_format)
        + of_text(&schema.schema_id)
}

fn of_header((name, value): &KafkaHeader) -> usize {
    let value = match value {
        Some(bytes) => {
            let digits = bytes.iter().map(|byte| of_signed(*byte)).sum::<usize>();
            "[]".len() + digits + commas(bytes.len())
        }
        None => "null".len(),
    };
    "{:}".len() + of_text(name) + value
}

/// The commas between the elements of a list.
fn commas(elements: usize) -> usize {
    elements.saturating_sub(1)
}

/// The length of a byte as a signed number. It comes from a table, because every byte of every header needs it.
fn of_signed(byte: u8) -> usize {
    match byte {
        0..=9 => 1,
        10..=99 | 247..=255 => 2,
        100..=127 | 157..=246 => 3,
        128..=156 => 4,
    }
}

fn of_number(number: i64) -> usize {
    let digits = number.unsigned_abs().checked_ilog10().unwrap_or(0) as usize + 1;
    digits + usize::from(number < 0)
}

/// The length of a text in quotes, with what JSON must escape.
fn of_text(text: &str) -> usize {
    let escaped = |byte: u8| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => 1,
        0..=0x1f => "\\u0000".len() - 1,
        _ => 0,
    };
    "\"\"".len() + text.len() + text.bytes().map(escaped).sum::<usize>()
}
