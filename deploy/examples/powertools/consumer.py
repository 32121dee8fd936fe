"""A consumer with Powertools for AWS Lambda (Python): prints each record as its library has decoded it."""

import json

from aws_lambda_powertools.utilities.kafka import ConsumerRecords, SchemaConfig, kafka_consumer


@kafka_consumer(schema_config=SchemaConfig(value_schema_type="JSON"))
def handler(event: ConsumerRecords, context):
    for record in event.records:
        decoded = {
            "source": event.event_source,
            "servers": event.bootstrap_servers,
            "topic": record.topic,
            "partition": record.partition,
            "offset": record.offset,
            "timestamp": record.timestamp,
            "timestampType": record.timestamp_type,
            "key": record.key,
            # The library has no word for a tombstone: to ask for its value is an error.
            "value": record.value if record.get("value") else None,
            "headers": {name: value.hex() for name, value in record.headers.items()},
        }
        print(json.dumps({"decoded": decoded}), flush=True)
    return {"batchItemFailures": []}
