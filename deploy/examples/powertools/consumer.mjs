// A consumer with Powertools for AWS Lambda (TypeScript) behind a tiny Invoke endpoint: prints each record as its library has
// decoded it.  node consumer.mjs [PORT]
import { SchemaType, kafkaConsumer } from '@aws-lambda-powertools/kafka';
import { serve } from './endpoint.mjs';

const decode = (event, record) => ({
  source: event.eventSource,
  servers: event.bootstrapServers,
  topic: record.topic,
  partition: record.partition,
  offset: record.offset,
  timestamp: record.timestamp,
  timestampType: record.timestampType,
  key: record.key ?? null,
  value: record.value ?? null,
  // The library decodes headers as UTF-8, which not all are; their bytes are as they came.
  text: Object.assign({}, ...record.headers),
  headers: Object.fromEntries(
    record.originalHeaders.flatMap(Object.entries).map(([name, bytes]) => [name, Buffer.from(bytes).toString('hex')])
  ),
});

const handler = kafkaConsumer(
  async (event) => {
    for (const record of event.records) {
      console.log(JSON.stringify({ decoded: decode(event, record) }));
    }
    return { batchItemFailures: [] };
  },
  { value: { type: SchemaType.JSON } }
);

serve(handler, process.argv[2]);
