"""Reads every kind of answer with h11, which refuses what is not HTTP/1.1. See deploy/checks/http."""

import itertools
import json
import re
import socket
import subprocess
import sys
import tempfile
import time

import h11

ORDER = json.dumps({"id": "a", "name": "a lamp"}).encode()
JSON = ("content-type", "application/json")
PAGE = ("origin", "https://shop.example")


class Client:
    """One connection; what h11 does not take is an error."""

    def __init__(self, address):
        self.socket = socket.create_connection(address, timeout=30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.state = h11.Connection(h11.CLIENT, max_incomplete_event_size=64 * 1024)

    def close(self):
        self.socket.close()

    def event(self):
        while (event := self.state.next_event()) is h11.NEED_DATA:
            self.state.receive_data(self.socket.recv(64 * 1024))
        return event

    def call(self, method, target, headers=(), body=b"", chunked=False, wait=False, version=None):
        """The answer to one request: its status, headers and body, read to its very end."""
        headers = [("host", "localhost"), *headers]
        if chunked:
            headers.append(("transfer-encoding", "chunked"))
        elif body or method in ("POST", "DELETE"):
            headers.append(("content-length", str(len(body))))
        if wait:
            headers.append(("expect", "100-continue"))
        head = h11.Request(method=method, target=target, headers=headers)
        self.socket.sendall(self.state.send(head))
        answer = self.event() if wait else None
        if wait and isinstance(answer, h11.InformationalResponse):
            assert answer.status_code == 100, answer
            answer = None
        if answer is None:
            for part in filter(None, [body[:5], body[5:]] if chunked else [body]):
                self.socket.sendall(self.state.send(h11.Data(data=part)))
            self.socket.sendall(self.state.send(h11.EndOfMessage()))
            answer = self.event()
        assert isinstance(answer, h11.Response), answer
        data = b""
        while not isinstance(event := self.event(), h11.EndOfMessage):
            assert isinstance(event, h11.Data), event
            data += event.data
        self.check(method, answer, data)
        if self.state.our_state is h11.DONE and self.state.their_state is h11.DONE:
            self.state.start_next_cycle()
        return answer.status_code, dict(answer.headers), data

    def check(self, method, answer, data):
        """More than h11 asks of a client: what RFC 9110 says that an answer has."""
        headers = dict(answer.headers)
        assert b"date" in headers, headers
        assert len(headers) == len(list(answer.headers)) or b"vary" in headers, answer.headers
        length = headers.get(b"content-length")
        if answer.status_code == 304:
            assert length is None and not data, (headers, data)
        elif method == "HEAD":
            assert length != b"0" and not data, (headers, data)
        elif length is not None:
            assert int(length) == len(data), (headers, data)
        if answer.status_code == 405:
            assert headers.get(b"allow"), headers
        if answer.status_code == 503:
            assert headers.get(b"retry-after"), headers
        if answer.status_code >= 400 and method != "HEAD":
            assert headers[b"content-type"] == b"application/problem+json", headers
            assert json.loads(data)["status"] == answer.status_code, data


def check(api, admin):
    """How many answers there were."""
    answers = 0

    def expect(client, status, *request, **how):
        nonlocal answers
        got, headers, body = client.call(*request, **how)
        assert got == status, (request, how, got, body)
        answers += 1
        return headers, body

    client = Client(api)
    expect(client, 201, "POST", "/", [JSON], ORDER)
    expect(client, 200, "POST", "/", [JSON], ORDER, chunked=True)
    expect(client, 200, "POST", "/", [JSON], ORDER, wait=True)
    expect(client, 200, "GET", "/a?min_version=1")

    # Every kind of answer behind every other one, on one connection, with and without a page behind it.
    kinds = [
        (200, "GET", "/a"),
        (200, "HEAD", "/a"),
        (200, "GET", "/"),
        (200, "HEAD", "/"),
        (200, "GET", "/a/events"),
        (200, "HEAD", "/a/events"),
        (200, "GET", "/a/versions/1"),
        (304, "GET", "/a", [("if-none-match", '"1"')]),
        (304, "HEAD", "/a", [("if-none-match", '"1"')]),
        (404, "GET", "/nobody"),
        (404, "HEAD", "/nobody"),
        (404, "GET", "/a/b/c"),
        (405, "PUT", "/a", [JSON], b"{}"),
        (400, "POST", "/", [JSON], b"{"),
        (422, "POST", "/", [JSON], b"[]"),
        (415, "POST", "/", [("content-type", "text/plain")], ORDER),
        (415, "POST", "/", [JSON, ("content-encoding", "gzip")], ORDER),
        (412, "POST", "/a", [JSON, ("if-match", '"7"')], b"{}"),
        (422, "HEAD", "/?limit=0"),
        (503, "GET", "/a?min_version=9", [("prefer", "wait=0")]),
        (200, "OPTIONS", "/a", [("access-control-request-method", "POST")]),
    ]
    for first, second in itertools.product(kinds, kinds):
        for page in ([], [PAGE]):
            for status, method, target, *rest in (first, second):
                headers, body = [*rest, [], b""][:2] if len(rest) == 2 else [*(rest or [[]]), b""]
                expect(client, status, method, target, [*headers, *page], body)

    # Answers behind which the connection ends.
    expect(client, 200, "GET", "/a", [("connection", "close")])
    assert isinstance(client.event(), h11.ConnectionClosed)
    client.close()
    for status, how in [(413, {"body": b" " * 70_000}), (413, {"body": b" " * 70_000, "chunked": True})]:
        client = Client(api)
        expect(client, status, "POST", "/", [JSON], **how)
        client.close()

    client = Client(admin)
    for status, method, target in [
        (200, "GET", "/healthz"),
        (200, "HEAD", "/healthz"),
        (200, "GET", "/readyz"),
        (200, "HEAD", "/readyz"),
        (200, "GET", "/metrics"),
        (200, "HEAD", "/metrics"),
        (404, "GET", "/"),
        (404, "HEAD", "/"),
        (405, "POST", "/healthz"),
    ]:
        expect(client, status, method, target)
    client.close()

    # A client that closes its own side is answered.
    client = Client(api)
    client.socket.sendall(client.state.send(h11.Request(method="GET", target="/a", headers=[("host", "localhost")])))
    client.socket.sendall(client.state.send(h11.EndOfMessage()))
    client.socket.shutdown(socket.SHUT_WR)
    assert client.event().status_code == 200
    client.close()
    return answers + 1


def main():
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.argv[1], "serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--data", folder]
        server = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        try:
            greeting = ""
            while "Try:" not in greeting:
                line = server.stdout.readline()
                assert line, "the server has ended"
                greeting += line
            api, admin = (
                (host, int(port)) for host, port in re.findall(r"http://([0-9.]+):([0-9]+)", greeting)[:2]
            )
            began = time.monotonic()
            answers = check(api, admin)
            print(f"deploy/checks/http: {answers} answers read by h11 {h11.__version__}, {time.monotonic() - began:.1f} s")
        finally:
            server.terminate()
            assert server.wait(timeout=30) == 0, "the server did not end in order"


main()
