//! The description of a topic (AsyncAPI 3.0.0; its Kafka bindings 0.5.0): who consumes the events need not read Rust.

use schemars::SchemaGenerator;
use serde_json::{Map, Value, json};

use super::EventSchema;
use crate::aggregate::Aggregate;
use crate::values::{StreamId, Version};
use crate::wire;

/// A topic of an aggregate's events.
#[derive(Clone, Copy, Debug)]
pub struct Topic<'a> {
    /// The title of the description, such as `Orders`.
    pub title: &'a str,
    /// The version of the program that is described.
    pub version: &'a str,
    /// The topic's name.
    pub address: &'a str,
}

/// Describes the topic of an aggregate's events: a message for each version of each type, with its headers, its key and its value. The
/// first example of a schema is in the message's example.
#[must_use]
pub fn async_api<A: Aggregate>(topic: Topic<'_>, schemas: &[EventSchema]) -> Value {
    let name = |schema: &EventSchema| format!("{}.{}", schema.kind, schema.version);
    let reference =
        |place: &str, schema: &EventSchema| json!({ "$ref": format!("#/{place}/{}", name(schema)) });
    let list = |place| schemas.iter().map(|schema| reference(place, schema)).collect::<Vec<_>>();
    let messages: Map<String, Value> =
        schemas.iter().map(|schema| (name(schema), reference("components/messages", schema))).collect();
    let described: Map<String, Value> =
        schemas.iter().map(|schema| (name(schema), message::<A>(schema))).collect();
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": topic.title,
            "version": topic.version,
            "description": "Events, in sequence within a stream. A record may come more than once: a receiver passes over a version that it \
                            has seen. A field or a type that a receiver does not know may come at any time.",
        },
        "defaultContentType": "application/json",
        "channels": {
            "events": {
                "address": topic.address,
                "messages": messages,
                "bindings": { "kafka": { "topic": topic.address, "bindingVersion": "0.5.0" } },
            },
        },
        "operations": {
            "publish": {
                "action": "send",
                "summary": format!("Every event of every {} is published, at least once.", A::KIND),
                "channel": { "$ref": "#/channels/events" },
                "messages": list("channels/events/messages"),
            },
        },
        "components": { "messages": described },
    })
}

fn message<A: Aggregate>(schema: &EventSchema) -> Value {
    let mut message = json!({
        "name": schema.kind,
        "title": format!("{}, schema {}", schema.kind, schema.version),
        "headers": headers(A::SOURCE, schema),
        "payload": value(schema),
        "bindings": { "kafka": { "key": stream(), "bindingVersion": "0.5.0" } },
    });
    if let Some(summary) = schema.data.get("description") {
        message["summary"] = summary.clone();
    }
    if let Some(data) = schema.examples().first() {
        message["examples"] = json!([example::<A>(schema, data)]);
    }
    message
}

/// The name of a stream, which is the record's key.
fn stream() -> Value {
    SchemaGenerator::default().subschema_for::<StreamId>().to_value()
}

/// The value of a record, as [`wire::encode`] writes it.
fn value(schema: &EventSchema) -> Value {
    json!({
        "type": "object",
        "properties": {
            "type": { "const": schema.kind },
            "schema": { "const": schema.version },
            "stream": stream(),
            "version": { "type": "integer", "minimum": 1, "maximum": Version::MAX, "description": "The event's place in its stream, from 1." },
            "time": { "type": "string", "format": "date-time", "description": "When it was recorded (RFC 3339, in UTC)." },
            "data": schema.data,
        },
        "required": ["type", "schema", "stream", "version", "time", "data"],
    })
}

/// The headers of a record, as [`wire::headers`] writes them, and those of a reminder.
fn headers(source: &str, schema: &EventSchema) -> Value {
    let number = json!({ "type": "string", "pattern": "^[1-9][0-9]*$" });
    json!({
        "type": "object",
        "description": "A CloudEvent in binary mode (CloudEvents 1.0, Kafka protocol binding).",
        "properties": {
            "ce_specversion": { "const": "1.0" },
            "ce_id": { "type": "string", "description": "STREAM@VERSION: the same each time that the event is published." },
            "ce_type": { "const": schema.kind },
            "ce_source": { "const": source },
            "ce_time": { "type": "string", "format": "date-time" },
            "ce_sequence": number,
            "content-type": { "const": "application/json" },
            "traceparent": { "type": "string", "description": "The request that caused it (W3C Trace Context)." },
            wire::REMINDER: { "type": "string", "pattern": "^[1-9][0-9]*$", "description": "The event was published again, for this time, because its outcome has not come." },
        },
        "required": ["ce_specversion", "ce_id", "ce_type", "ce_source", "ce_time", "ce_sequence", "content-type"],
    })
}

fn example<A: Aggregate>(schema: &EventSchema, data: &Value) -> Value {
    let (stream, version, time) = ("someid", 1, "2026-01-01T12:00:00.000001Z");
    let EventSchema { kind, version: number, .. } = schema;
    json!({
        "name": format!("{kind}.{number}"),
        "headers": {
            "ce_specversion": "1.0",
            "ce_id": format!("{stream}@{version}"),
            "ce_type": kind,
            "ce_source": A::SOURCE,
            "ce_time": time,
            "ce_sequence": version.to_string(),
            "content-type": "application/json",
        },
        "payload": { "type": kind, "schema": number, "stream": stream, "version": version, "time": time, "data": data },
    })
}
