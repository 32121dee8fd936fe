"""Consumers of records with schemas: prints each record as it was decoded.

The first three are for the record format SOURCE, and decode with Powertools for AWS Lambda (Python); the last is for JSON."""

import base64
import json
from pathlib import Path

from aws_lambda_powertools.utilities.kafka import SchemaConfig, kafka_consumer
from messages import Order

HERE = Path(__file__).parent


def printed(event, context):
    for record in event.records:
        schemas = [record.key_schema_metadata, record.value_schema_metadata]
        names = [[schema.get("dataFormat"), schema.get("schemaId")] if schema else None for schema in schemas]
        decoded = {"offset": record.offset, "key": record.key, "value": record.value, "schemas": names}
        print(json.dumps({"decoded": decoded}, default=str), flush=True)
    return {"batchItemFailures": []}


avro = kafka_consumer(
    printed,
    schema_config=SchemaConfig(
        key_schema_type="AVRO",
        key_schema='"string"',
        value_schema_type="AVRO",
        value_schema=(HERE / "order.avsc").read_text(),
    ),
)
protobuf = kafka_consumer(printed, schema_config=SchemaConfig(value_schema_type="PROTOBUF", value_schema=Order))
json_schema = kafka_consumer(printed, schema_config=SchemaConfig(value_schema_type="JSON"))


def plain(event, context):
    for record in (record for records in event["records"].values() for record in records):
        parts = [record.get(name) for name in ("key", "value")]
        key, value = (json.loads(base64.b64decode(part)) if part else None for part in parts)
        schemas = [record.get(name) for name in ("keySchemaMetadata", "valueSchemaMetadata")]
        names = [[schema["dataFormat"], schema["schemaId"]] if schema else None for schema in schemas]
        print(json.dumps({"decoded": {"offset": record["offset"], "key": key, "value": value, "schemas": names}}), flush=True)
    return {"batchItemFailures": []}
