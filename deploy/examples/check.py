"""The checks of deploy/examples/check: what functions make of what kafka-trigger sends them."""

import argparse
import base64
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from contextlib import contextmanager
from copy import deepcopy
from datetime import datetime, timezone
from pathlib import Path
from xml.etree import ElementTree

import boto3
from aws_schema_registry import KafkaSerializer as GlueSerializer
from aws_schema_registry import SchemaRegistryClient as GlueClient
from aws_schema_registry.avro import AvroSchema
from aws_schema_registry.codec import encode
from botocore.exceptions import EndpointConnectionError
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.schema_registry.json_schema import JSONSerializer
from confluent_kafka.schema_registry.protobuf import ProtobufSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.admin import NewTopic

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "schemas"))
README = HERE.parent.parent / "tools/kafka-trigger/README.md"
PATIENCE = 60
CHECKS = [
    "powertools_for_python", "powertools_for_typescript",
    "avro_for_powertools", "avro_for_powertools_in_typescript", "avro_as_json", "avro_of_glue",
    "protobuf_for_powertools", "protobuf_for_powertools_in_typescript", "protobuf_as_json", "protobuf_of_glue",
    "json_schema_for_powertools",
    "foreign", "quick_start",
]


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
        self.registry = arguments.registry
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
        with self.module("powertools/consumer.mjs") as module:
            self.powertools(running("node", module), "TypeScriptConsumer", texts=True)

    @contextmanager
    def module(self, path):
        """A copy that finds its packages: they are searched for from a module's own folder on."""
        with tempfile.TemporaryDirectory() as folder:
            for name in ("powertools", "schemas"):
                shutil.copytree(HERE / name, Path(folder) / name)
            os.symlink(self.node_modules, Path(folder) / "node_modules")
            yield Path(folder) / path

    # Records with schemas, from the serializers of others to the decoders of others

    @contextmanager
    def consumer(self, function):
        """A function of schemas/consumer.py, or of schemas/consumer.mjs where it is NAME.mjs."""
        name, is_module, _ = function.partition(".mjs")
        if is_module:
            with self.module("schemas/consumer.mjs") as module, running("node", module, name) as handler:
                yield handler
        else:
            with running(sys.executable, HERE / "invoke.py", HERE / "schemas", f"consumer.{name}") as handler:
                yield handler

    def registered(self, topic, function, mapping, records, *flags, kept_back=0, given_up=0):
        """What a consumer of schemas/ has decoded of these (key, value): all but what a filter keeps back, and what is given up."""
        with self.consumer(function) as handler:
            self.publish(topic, [(key, value, []) for key, value in records])
            with self.trigger(HERE / "schemas" / "template.yaml", topic, port_of(handler), "--mapping", mapping, *flags) as trigger:
                def all_of_them(lines):
                    read = objects(lines, "decoded")
                    return read if len(read) >= len(records) - kept_back - given_up else None
                found = handler.until("every record", all_of_them)
                if given_up:
                    trigger.until("what is given up", lambda lines: len(objects(lines, "reason")) == given_up)
                expect("the exit code of kafka-trigger", trigger.stop(), 0)
                return found

    AVRO_ORDERS = [
        {
            "id": 1, "note": None, "state": "NEW", "labels": {"gift": 1}, "placed": 1_700_000_000_123,
            "lines": [{"product": "Tee, grün", "price": 2.5, "replaces": {"product": "tea", "price": 2.0, "replaces": None}}],
        },
        {"id": 2, "note": "später", "state": "PAID", "labels": {}, "placed": 0, "lines": []},
    ]

    def decoded_orders(self, ids, records_are_json):
        def placed(order):
            if records_are_json:
                return order["placed"]
            time = datetime.fromtimestamp(order["placed"] / 1000, timezone.utc)
            return str(time)
        schemas = [["AVRO", str(schema)] for schema in ids]
        return [
            {"offset": offset, "key": f"key-{order['id']}", "value": {**deepcopy(order), "placed": placed(order)}, "schemas": schemas}
            for offset, order in enumerate(self.AVRO_ORDERS)
        ]

    def confluent_records(self, topic):
        """The orders as Confluent's own serializers write them, and the ids of their schemas."""
        client = SchemaRegistryClient({"url": self.registry})
        key_of = AvroSerializer(client, '"string"')
        value_of = AvroSerializer(client, (HERE / "schemas/order.avsc").read_text())
        records = [
            (
                key_of(f"key-{order['id']}", SerializationContext(topic, MessageField.KEY)),
                value_of(order, SerializationContext(topic, MessageField.VALUE)),
            )
            for order in self.AVRO_ORDERS
        ]
        return records, [int.from_bytes(part[1:5], "big") for part in records[0]]

    def avro_for_powertools(self):
        with self.topics() as topic:
            records, ids = self.confluent_records(topic)
            found = self.registered(topic, "avro", "Orders", records, "--registry", self.registry)
            expect("the records as Powertools has decoded them", found, self.decoded_orders(ids, False))

    def avro_for_powertools_in_typescript(self):
        with self.topics() as topic:
            records, ids = self.confluent_records(topic)
            found = self.registered(topic, "avro.mjs", "Orders", records, "--registry", self.registry)
            expected = self.decoded_orders(ids, True)
            # avro-js puts the type around a value of a union.
            line = expected[0]["value"]["lines"][0]
            line["replaces"] = {"shop.Line": line["replaces"]}
            expected[1]["value"]["note"] = {"string": expected[1]["value"]["note"]}
            expect("the records as Powertools has decoded them", found, expected)

    def avro_as_json(self):
        with self.topics() as topic:
            records, ids = self.confluent_records(topic)
            flags = ("--registry", self.registry, "--parameter", "Format=JSON")
            found = self.registered(topic, "plain", "Orders", records, *flags)
            expect("the records as JSON", found, self.decoded_orders(ids, True))

    def protobuf(self, function, parameters, lines_of):
        from messages import Cancelled, Line, Order
        client = SchemaRegistryClient({"url": self.registry})
        with self.topics() as topic:
            context = SerializationContext(topic, MessageField.VALUE)
            messages = [
                Order(id=1 << 40, lines=[Line(product_name="Tee", price=2.5)]), Order(id=7, note=""), Order(note="none"),
            ]
            serializer = ProtobufSerializer(Order, client, {"use.deprecated.format": False})
            values = [serializer(message, context) for message in messages]
            # Another message of the same file, for which Powertools takes off a wrong index: it reads no zigzag.
            cancelled = ProtobufSerializer(Cancelled, client, {"use.deprecated.format": False})
            values.append(cancelled(Cancelled(id=9), context))
            schema = [None, ["PROTOBUF", str(int.from_bytes(values[0][1:5], "big"))]]
            parameters = [flag for parameter in parameters for flag in ("--parameter", parameter)]
            records = [(None, value) for value in values]
            # The filter keeps back what has no id.
            found = self.registered(topic, function, "Filtered", [records[0], records[1]], "--registry", self.registry, *parameters)
            expected = [
                {"offset": 0, "key": None, "value": {"id": str(1 << 40), "lines": [lines_of("Tee", 2.5)]}, "schemas": schema},
                {"offset": 1, "key": None, "value": {"id": "7", "note": ""}, "schemas": schema},
            ]
            expect("the messages", found, expected)
            if function == "plain":
                found = self.registered(topic, function, "Filtered", records[2:], "--registry", self.registry, *parameters, kept_back=1)
                expect("the message of another type", found, [{"offset": 3, "key": None, "value": {"id": "9"}, "schemas": schema}])

    # 'id' is a text in ProtoJSON.
    WITH_ID = 'Pattern={"value": {"id": [{"exists": true}]}}'

    def protobuf_for_powertools(self):
        self.protobuf("protobuf", [self.WITH_ID], lambda product, price: {"product_name": product, "price": price})

    def protobuf_for_powertools_in_typescript(self):
        self.protobuf("protobuf.mjs", [self.WITH_ID], lambda product, price: {"productName": product, "price": price})

    def protobuf_as_json(self):
        self.protobuf("plain", [self.WITH_ID, "Format=JSON"], lambda product, price: {"productName": product, "price": price})

    def json_schema_for_powertools(self):
        client = SchemaRegistryClient({"url": self.registry})
        with self.topics() as topic:
            context = SerializationContext(topic, MessageField.VALUE)
            serializer = JSONSerializer((HERE / "schemas/order.json").read_text(), client)
            values = [serializer(value, context) for value in ({"id": 1}, {"id": 2, "note": "ü"})]
            # No serializer would have written this.
            values.insert(1, values[0][:5] + b'{"id": 0}')
            schema = [None, ["JSON", str(int.from_bytes(values[0][1:5], "big"))]]
            records = [(None, value) for value in values]
            flags = ("--registry", self.registry)
            found = self.registered(topic, "json_schema", "Filtered", records, *flags, given_up=1)
            expected = [
                {"offset": 0, "key": None, "value": {"id": 1}, "schemas": schema},
                {"offset": 2, "key": None, "value": {"id": 2, "note": "ü"}, "schemas": schema},
            ]
            expect("the values", found, expected)

    @contextmanager
    def glue(self):
        """A server that stands in for AWS Glue, and a client of it."""
        port = free_port()
        server = running(sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", port, stderr=subprocess.DEVNULL)
        with server:
            url = f"http://127.0.0.1:{port}"
            client = boto3.client(
                "glue", endpoint_url=url, region_name="eu-west-1", aws_access_key_id="test", aws_secret_access_key="test"
            )
            until = time.monotonic() + PATIENCE
            while True:
                try:
                    arn = client.create_registry(RegistryName="shop")["RegistryArn"]
                    break
                except EndpointConnectionError:
                    if time.monotonic() > until:
                        raise Mismatch("moto does not answer") from None
                    time.sleep(0.05)
            yield client, ("--registry", url, "--parameter", f"Registry={arn}")

    def avro_of_glue(self):
        with self.glue() as (client, flags), self.topics() as topic:
            registry = GlueClient(client, registry_name="shop")
            schemas = [AvroSchema(text) for text in ('"string"', (HERE / "schemas/order.avsc").read_text())]
            key_of, value_of = (GlueSerializer(registry, is_key=is_key) for is_key in (True, False))
            records = [
                (key_of.serialize(topic, (f"key-{order['id']}", schemas[0])), value_of.serialize(topic, (order, schemas[1])))
                for order in self.AVRO_ORDERS
            ]
            # One of them compressed, as AWS's serializer for Java can.
            key, value = records[1]
            records[1] = key, encode(value[18:], uuid.UUID(bytes=value[2:18]), compression=True)
            ids = [uuid.UUID(bytes=part[2:18]) for part in records[0]]
            found = self.registered(topic, "avro", "Orders", records, *flags)
            expect("the records as Powertools has decoded them", found, self.decoded_orders(ids, False))

    def protobuf_of_glue(self):
        from messages import Order
        with self.glue() as (client, flags), self.topics() as topic:
            created = client.create_schema(
                RegistryId={"RegistryName": "shop"}, SchemaName=topic, DataFormat="PROTOBUF", Compatibility="NONE",
                SchemaDefinition=(HERE / "schemas/order.proto").read_text(),
            )
            version = created["SchemaVersionId"]
            # Of all messages by name: Cancelled, Order, Order.Line.
            value = bytes([3, 0]) + uuid.UUID(version).bytes + bytes([1]) + Order(id=5, note="n").SerializeToString()
            unknown = bytes([3, 0]) + uuid.uuid4().bytes + value[18:]
            parameters = ("--parameter", self.WITH_ID)
            found = self.registered(topic, "protobuf", "Filtered", [(None, value)], *flags, *parameters)
            expected = {"offset": 0, "key": None, "value": {"id": "5", "note": "n"}, "schemas": [None, ["PROTOBUF", version]]}
            expect("the message as Powertools has decoded it", found, [expected])
            found = self.registered(topic, "plain", "Filtered", [(None, value)], *flags, *parameters, "--parameter", "Format=JSON")
            expect("the message as JSON", found, [{**expected, "offset": 1}])
            self.publish(topic, [(None, unknown, [])])
            with self.trigger(HERE / "schemas/template.yaml", topic, 9, "--mapping", "Filtered", *flags, *parameters) as trigger:
                trigger.until("SCHEMA_NOT_FOUND", lambda lines: "schema_not_found" in objects(lines, "reason"))

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

    # The README's quick start

    def quick_start(self):
        """Runs what the README of kafka-trigger says, word for word but for the ports, in a folder of its own."""
        text = README.read_text()
        section = text[text.index("## Quick start"):text.index("Ctrl-C lets what runs end")]
        files = {"python": "payments.py", "yaml": "template.yaml"}
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            (root / "payments").mkdir()
            (root / "deploy").symlink_to(HERE.parent)
            port = free_port()
            for language, code in re.findall(r"^```(\w+)\n(.*?)^```$", section, re.DOTALL | re.MULTILINE):
                code = code.replace("127.0.0.1:29092", self.kafka).replace("9001", str(port))
                if language in files:
                    (root / "payments" / files[language]).write_text(code)
                elif language == "sh" and "cargo install" not in code:
                    with (root / "commands").open("a") as commands:
                        commands.write(code)
            path = f"{Path(self.bin).resolve().parent}:{os.environ['PATH']}"
            script = "trap 'exit 0' TERM; trap 'kill $(jobs -p); wait' EXIT; . ./commands; wait"
            with running("bash", "-c", script, cwd=root, env={**os.environ, "PATH": path}) as shell:
                done = re.compile(r"Z Payments  payments-\d+@\d+[.][.]=\d+  \d+ records?  [\d.]+ ms  succeeded$")
                try:
                    shell.until("an invocation", lambda lines: any(done.search(line) for line in lines))
                    shell.until("the payment", lambda lines: "{'amount': 13}" in lines)
                finally:
                    shell.stop()
                    self.admin.delete_topics(["payments"])


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def place_of(record):
    return record["partition"], record["offset"]


def main():
    parser = argparse.ArgumentParser()
    for name in ("kafka", "registry", "bin", "node-modules"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--report", type=Path)
    arguments = parser.parse_args()
    check = Check(arguments)
    suite = ElementTree.Element("testsuite", name="examples")
    failed = 0
    for name in CHECKS:
        case = ElementTree.SubElement(suite, "testcase", name=name, classname="examples")
        try:
            getattr(check, name)()
            print(f"example {name} ... ok", flush=True)
        except Mismatch as mismatch:
            failed += 1
            ElementTree.SubElement(case, "failure", message=str(mismatch))
            print(f"example {name} ... FAILED: {mismatch}", flush=True)
    if arguments.report:
        ElementTree.ElementTree(suite).write(arguments.report, encoding="utf-8", xml_declaration=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
