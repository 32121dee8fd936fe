"""A tiny Invoke endpoint around one Python handler, as Lambda would call it: standard library only.

    python invoke.py FOLDER MODULE.FUNCTION [PORT]

Prints `listening on PORT`, then whatever the handler prints.
"""

import importlib
import json
import sys
import traceback
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Context:
    """As much of Lambda's context as handlers usually ask for."""

    function_name = "local"
    memory_limit_in_mb = 128
    invoked_function_arn = "arn:aws:lambda:us-east-1:123456789012:function:local"
    aws_request_id = "00000000-0000-4000-8000-000000000000"


def endpoint(handler):
    class Endpoint(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            event = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            failed = False
            try:
                answer = handler(event, Context())
            except Exception as error:
                traceback.print_exc()
                answer = {"errorType": type(error).__name__, "errorMessage": str(error)}
                failed = True
            body = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            if failed:
                self.send_header("X-Amz-Function-Error", "Unhandled")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    return Endpoint


def main():
    folder, name = sys.argv[1:3]
    port = int(sys.argv[3]) if len(sys.argv) > 3 else 0
    sys.path.insert(0, folder)
    module, function = name.rsplit(".", 1)
    handler = getattr(importlib.import_module(module), function)
    server = ThreadingHTTPServer(("127.0.0.1", port), endpoint(handler))
    print(f"listening on {server.server_port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
