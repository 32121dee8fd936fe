// A tiny Invoke endpoint around one handler.
import { createServer } from 'node:http';

export const serve = (handler, port = 0) => {
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
  server.listen(Number(port), '127.0.0.1', () => console.log(`listening on ${server.address().port}`));
};
