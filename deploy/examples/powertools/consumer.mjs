// A consumer with Powertools for AWS Lambda (TypeScript) behind a tiny Invoke endpoint: prints each record as its library has
// decoded it.  node consumer.mjs [PORT]
import { createServer } from 'node:http';
import { SchemaType, kafkaConsumer } from '@aws-lambda-powertools/kafka';

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

const server = createServer(async (request, response) => {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  let answer;
  try {
    answer = await handler(JSON.parse(Buffer.concat(chunks)), {});
  } catch (error) {
    console.error(error);
    response.setHeader('X-Amz-Function-Error', 'Unhandled');
    answer = { errorType: error.name, errorMessage: error.message };
  }
  response.end(JSON.stringify(answer));
});
server.listen(Number(process.argv[2] ?? 0), '127.0.0.1', () => console.log(`listening on ${server.address().port}`));
