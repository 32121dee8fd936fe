"""The checks of deploy/examples/check: what functions make of what kafka-trigger sends them."""

import argparse
import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from contextlib import contextmanager
from pathlib import Path

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.admin import NewTopic

HERE = Path(__file__).parent
PATIENCE = 60


class Mismatch(Exception):
    """What was found is not what was expected."""


def expect(what, found, expected):
    if found != expected:
        raise Mismatch(f"{what}\n  expected {expected!r}\n  found    {found!r}")


class Process:
    """A program and the lines that it has printed so far."""

    def __init__(self, *command, **options):
        self.lines = []
        self.process = subprocess.Popen(
            list(map(str, command)), stdout=subprocess.PIPE, text=True, encoding="utf-8", **options
        )
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    def until(self, what, find):
        """What `find` makes of the lines, once it is something."""
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            ended = self.process.poll() is not None
            if ended:
                self.reader.join()
            found = find(list(self.lines))
            if found:
                return found
            if ended:
                break
            time.sleep(0.05)
        raise Mismatch(f"{what} did not happen; there is:\n  " + "\n  ".join(self.lines[-20:]))

    def stop(self):
        """As `kill` does; its exit code."""
        self.process.terminate()
        return self.process.wait(PATIENCE)

    def kill(self):
        self.process.kill()
        self.process.wait()


@contextmanager
def running(*command, **options):
    process = Process(*command, **options)
    try:
        yield process
    finally:
        process.kill()


def port_of(function):
    """The port that a function says it listens on."""
    def find(lines):
        return [int(line.rsplit(" ", 1)[1]) for line in lines if line.startswith("listening on ")]
    return function.until("listening", find)[0]


def objects(lines, key):
    """The JSON objects among the lines that have this key."""
    read = [json.loads(line) for line in lines if line.startswith("{")]
    return [line[key] for line in read if key in line]


class Check:
    def __init__(self, arguments):
        self.kafka, self.bin, self.node_modules = arguments.kafka, arguments.bin, arguments.node_modules
        self.admin = KafkaAdminClient(bootstrap_servers=self.kafka)

    @contextmanager
    def topics(self, *suffixes, partitions=1):
        """Topics that are this check's alone; the first is returned, the others begin with its name."""
        topic = f"examples.{uuid.uuid4()}"
        names = [topic + suffix for suffix in ("", *suffixes)]
        self.admin.create_topics([NewTopic(name, partitions, 1) for name in names])
        try:
            yield topic
        finally:
            self.admin.delete_topics(names)

    def trigger(self, template, topic, port, *flags):
        return running(
            self.bin, "--json", "--window", "0", "--template", template, "--invoke", f"http://127.0.0.1:{port}",
            "--parameter", f"Topic={topic}", "--parameter", f"Brokers={self.kafka}", *flags,
        )

    def publish(self, topic, records):
        """Publishes (key, value, headers), and says where each has gone: partition, offset, timestamp."""
        producer = KafkaProducer(bootstrap_servers=self.kafka, acks="all")
        sent = [producer.send(topic, key=key, value=value, headers=headers) for key, value, headers in records]
        producer.flush()
        places = [future.get(PATIENCE) for future in sent]
        producer.close()
        return [(place.partition, place.offset, place.timestamp) for place in places]

    # Powertools

    RECORDS = [
        (b"order-1", {"id": 1, "name": "one"}, [("trace", b"abc"), ("binary", bytes([0, 127, 128, 255]))]),
        (None, {"id": 2, "nested": {"list": [1, 2.5, None, True]}}, []),
        (b"order-1", None, []),
        ("schlüssel".encode(), {"id": 4, "name": "Grüße, 世界"}, [("empty", b"")]),
    ]

    def decoded(self, topic, places):
        def record(given, place):
            (key, value, headers), (partition, offset, timestamp) = given, place
            return {
                "source": "SelfManagedKafka", "servers": self.kafka, "topic": topic,
                "partition": partition, "offset": offset, "timestamp": timestamp, "timestampType": "CREATE_TIME",
                "key": key.decode() if key else None, "value": value,
                "headers": {name: content.hex() for name, content in headers},
            }
        return sorted(map(record, self.RECORDS, places), key=place_of)

    def powertools(self, function, mapping, texts):
        with self.topics(partitions=2) as topic, function as function:
            json_of = lambda value: None if value is None else json.dumps(value).encode()
            places = self.publish(topic, [(key, json_of(value), headers) for key, value, headers in self.RECORDS])
            template = HERE / "powertools" / "template.yaml"
            with self.trigger(template, topic, port_of(function), "--mapping", mapping) as trigger:
                def all_of_them(lines):
                    read = objects(lines, "decoded")
                    return read if len(read) >= len(self.RECORDS) else None
                found = sorted(function.until("every record", all_of_them), key=place_of)
                found_texts = [record.pop("text") for record in found if "text" in record]
                expect("the records as the library has decoded them", found, self.decoded(topic, places))
                if texts:
                    text = [record for record in found_texts if record.get("trace")][0]["trace"]
                    expect("a header as the library has decoded it", text, "abc")
                expect("the exit code of kafka-trigger", trigger.stop(), 0)
                results = {line for line in objects(trigger.lines, "result")}
                expect("the results of the invocations", results, {"succeeded"})

    def powertools_for_python(self):
        function = running(sys.executable, HERE / "invoke.py", HERE / "powertools", "consumer.handler")
        self.powertools(function, "PythonConsumer", texts=False)

    def powertools_for_typescript(self):
        # A module is searched for from its own folder on.
        with tempfile.TemporaryDirectory() as folder:
            shutil.copy(HERE / "powertools" / "consumer.mjs", folder)
            os.symlink(self.node_modules, Path(folder) / "node_modules")
            self.powertools(running("node", Path(folder) / "consumer.mjs"), "TypeScriptConsumer", texts=True)

    # A foreign function

    def foreign(self):
        payments = [{"id": number, "amount": -5 if number == 13 else number} for number in range(30)]
        records = [(str(payment["id"]).encode(), json.dumps(payment).encode(), []) for payment in payments]
        handler = running(sys.executable, HERE / "invoke.py", HERE / "foreign", "payments.handler", stderr=subprocess.DEVNULL)
        with self.topics(".failed") as topic, handler as function:
            self.publish(topic, records)
            template = HERE / "foreign" / "template.yaml"
            with self.trigger(template, topic, port_of(function)) as trigger:
                good = [payment["id"] for payment in payments if payment["amount"] >= 0]
                def all_of_them(lines):
                    booked = objects(lines, "booked")
                    return booked if len(booked) >= len(good) else None
                expect("what was booked, in order", function.until("every payment", all_of_them), good)
                alone = [batch for batch in objects(function.lines, "invoked") if batch == [[f"{topic}-0", 13]]]
                expect("how often the payment at fault was tried alone", len(alone), 3)
                letter = self.letter(f"{topic}.failed")
                expect("the exit code of kafka-trigger", trigger.stop(), 0)
        self.check_letter(letter, topic, payments[13])

    def letter(self, topic):
        consumer = KafkaConsumer(
            topic, bootstrap_servers=self.kafka, auto_offset_reset="earliest", consumer_timeout_ms=PATIENCE * 1000
        )
        try:
            return next(iter(consumer))
        except StopIteration:
            raise Mismatch(f"nothing is in {topic}") from None
        finally:
            consumer.close()

    def check_letter(self, letter, topic, payment):
        expect("the key of the failure", letter.key, b"13")
        document = json.loads(letter.value)
        context = document["requestContext"]
        expect("the condition", context["condition"], "RetriesExhausted")
        expect("the count of invocations", context["approximateInvokeCount"], 3)
        expect("the response", document["responseContext"]["functionError"], "Unhandled")
        expect("the version", document["version"], "1.0")
        batch = document["KafkaBatchInfo"]
        expect("the batch", (batch["batchSize"], batch["recordInfo"]["offset"]), (1, "13"))
        expect("the size of the payload", batch["payloadSize"], len(json.dumps(document["payload"], separators=(",", ":"))))
        record, = document["payload"]["records"][f"{topic}-0"]
        expect("the record itself", json.loads(base64.b64decode(record["value"])), payment)


def place_of(record):
    return record["partition"], record["offset"]


def main():
    parser = argparse.ArgumentParser()
    for name in ("kafka", "bin", "node-modules"):
        parser.add_argument(f"--{name}", required=True)
    check = Check(parser.parse_args())
    failed = 0
    for name in ("powertools_for_python", "powertools_for_typescript", "foreign"):
        try:
            getattr(check, name)()
            print(f"example {name} ... ok", flush=True)
        except Mismatch as mismatch:
            failed += 1
            print(f"example {name} ... FAILED: {mismatch}", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
