// Consumers of records with schemas, with Powertools for AWS Lambda (TypeScript), for the record format SOURCE: prints each record as
// its library has decoded it.  node consumer.mjs avro|protobuf [PORT]
// Its packages are avro-js and protobufjs; avro-js needs underscore, and does not say so.
import { readFileSync } from 'node:fs';
import { SchemaType, kafkaConsumer } from '@aws-lambda-powertools/kafka';
import protobuf from 'protobufjs';
import { serve } from '../powertools/endpoint.mjs';

const file = (name) => readFileSync(new URL(name, import.meta.url), 'utf8');

const configs = {
  avro: {
    key: { type: SchemaType.AVRO, schema: '"string"' },
    value: { type: SchemaType.AVRO, schema: file('order.avsc') },
  },
  protobuf: {
    value: { type: SchemaType.PROTOBUF, schema: protobuf.parse(file('order.proto')).root.lookupType('shop.Order') },
  },
};

const schema = (metadata) => (metadata ? [metadata.dataFormat, metadata.schemaId] : null);

const handler = kafkaConsumer(async (event) => {
  for (const record of event.records) {
    const { offset, key = null, value } = record;
    const schemas = [schema(record.keySchemaMetadata), schema(record.valueSchemaMetadata)];
    console.log(JSON.stringify({ decoded: { offset, key, value, schemas } }));
  }
  return { batchItemFailures: [] };
}, configs[process.argv[2]]);

serve(handler, process.argv[3]);
