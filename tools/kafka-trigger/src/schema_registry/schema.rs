//! A schema that is ready to decode.

use std::sync::Arc;

use bytes::Bytes;

use super::avro::Avro;
use super::json_schema::JsonSchema;
use super::protobuf::Protobuf;
use super::wire::{Framing, SchemaId};
use event_source_mapping::event::SchemaMetadata;

/// A schema as a registry stores it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SchemaSource {
    pub(super) format: DataFormat,
    pub(super) text: String,
    /// All schemas to which it refers, directly or through others, by the names that it uses for them.
    pub(super) references: Vec<(String, String)>,
}

/// The language of a schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DataFormat {
    Avro,
    Protobuf,
    Json,
}

/// A schema that is ready to decode.
pub(super) struct Schema {
    kind: SchemaKind,
    metadata: Arc<SchemaMetadata>,
}

enum SchemaKind {
    Avro(Avro),
    Protobuf(Protobuf),
    Json(JsonSchema),
}

impl DataFormat {
    /// The format of this name. Both registries and the events use these names.
    pub(super) fn of_name(name: &str) -> Option<Self> {
        match name {
            "AVRO" => Some(Self::Avro),
            "PROTOBUF" => Some(Self::Protobuf),
            "JSON" => Some(Self::Json),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Avro => "AVRO",
            Self::Protobuf => "PROTOBUF",
            Self::Json => "JSON",
        }
    }
}

impl Schema {
    pub(super) fn new(source: SchemaSource, id: &SchemaId) -> Result<Self, String> {
        let SchemaSource { format, text, references } = source;
        let kind = match format {
            DataFormat::Avro => SchemaKind::Avro(Avro::new(&text, &references)?),
            DataFormat::Protobuf => SchemaKind::Protobuf(Protobuf::new(text, references)?),
            DataFormat::Json => SchemaKind::Json(JsonSchema::new(&text, &references)?),
        };
        let metadata =
            Arc::new(SchemaMetadata { data_format: format.name().to_owned(), schema_id: id.to_string() });
        Ok(Self { kind, metadata })
    }

    pub(super) fn metadata(&self) -> &Arc<SchemaMetadata> {
        &self.metadata
    }

    /// Checks a payload of this schema. Returns it as JSON if `wants_json`; with a JSON Schema it always does.
    pub(super) fn check(
        &self,
        payload: &Bytes,
        wants_json: bool,
        framing: Framing,
    ) -> Result<Option<Bytes>, String> {
        match &self.kind {
            SchemaKind::Avro(avro) if wants_json => {
                avro.to_json(payload, framing).map(|json| Some(json.into()))
            }
            SchemaKind::Avro(avro) => avro.check(payload, framing).map(|()| None),
            SchemaKind::Protobuf(protobuf) => {
                let message = protobuf.message(payload, framing)?;
                if wants_json { message.to_json().map(|json| Some(json.into())) } else { Ok(None) }
            }
            SchemaKind::Json(schema) => schema.check(payload).map(|()| Some(payload.clone())),
        }
    }
}
