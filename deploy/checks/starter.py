#!/usr/bin/env python3
"""Does with deploy/aws/starter.yaml what stacks.py does with template.yaml; deploy/checks/template runs it.

Beside that: its outputs are parameters of template.yaml, which takes their form.
"""

import json
import logging
import os
import urllib.request
import warnings
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from moto.server import ThreadedMotoServer
from samtranslator.yaml_helper import yaml_parse

import stacks

TEMPLATE = stacks.TEMPLATE.parent / "deploy/aws/starter.yaml"
SETS = {
    "starter, cheapest": {"Kafka": "provisioned"},
    "starter, Serverless": {"Kafka": "serverless", "NetworkPrefix": "10.72"},
    "starter, DocumentDB": {"EventStore": "documentdb", "DocumentDbClass": "db.r6g.large", "Partitions": "3"},
    "starter, a URL": {"Kafka": "serverless", "EventStore": "url", "EventStoreLocation": "mongodb+srv://ann:secret@atlas.example/orders"},
}
REFUSED = {
    "a URL that nobody has given": ({"EventStore": "url"}, "needs EventStoreLocation"),
    "a URL of nothing": ({"EventStore": "url", "EventStoreLocation": "atlas.example"}, "EventStoreLocation"),
    "another Kafka": ({"Kafka": "express"}, "Kafka"),
}
# moto deletes no route table, and then not its network either.
REFUSED_BY_MOTO = ("AWS::EC2::RouteTable", "AWS::EC2::Route", "AWS::EC2::SubnetRouteTableAssociation")
# moto has no attribute of what it passes over, such as the ARN of a serverless cluster.
PASSED_OVER_BY_MOTO = ("ServerlessKafka", "TopicMaker")


def without_refused(template, given):
    resolved = stacks.for_moto(template, given)
    resources = {
        name: each
        for name, each in resolved["Resources"].items()
        if each["Type"] not in REFUSED_BY_MOTO and not name.startswith(PASSED_OVER_BY_MOTO)
    }
    return resolved | {"Resources": resources, "Outputs": {}}


def side_by_side(account, template, given):
    first, second = (
        account.create(name, without_refused(template, words), words)
        for name, words in (("starter-one", given), ("starter-two", given | {"NetworkPrefix": "10.99"}))
    )
    assert first.keys() == second.keys(), first.keys() ^ second.keys()
    shared = {physical for _, physical in first.values()} & {physical for _, physical in second.values()} - {None}
    assert not shared, f"two stacks have the same {shared}"
    changed = given | {"PostgresClass": "db.t4g.small"}
    account.update("starter-one", without_refused(template, changed), changed)
    for name in ("starter-one", "starter-two"):
        account.stacks.delete_stack(StackName=name)
    networks = account.client("ec2").describe_vpcs(Filters=[{"Name": "is-default", "Values": ["false"]}])["Vpcs"]
    assert not networks, f"deleted stacks left {networks}"
    return first


def check_outputs(template):
    parameters = yaml_parse(stacks.TEMPLATE.read_text())["Parameters"]
    unknown = template["Outputs"].keys() - parameters.keys()
    assert not unknown, f"template.yaml has no parameters {unknown}"


def main():
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    template = yaml_parse(TEMPLATE.read_text())
    check_outputs(template)
    for name, (given, words) in REFUSED.items():
        said = " ".join(stacks.complaints(template, given))
        assert words in said, f"{name} is not refused, but: {said}"
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    linting = ThreadPoolExecutor(os.cpu_count())
    try:
        host, port = server.get_host_and_port()
        url = f"http://{host}:{port}"
        linted = [linting.submit(stacks.lint, TEMPLATE, name, given) for name, given in SETS.items()]
        made, passed_over = Counter(), Counter()
        for name, given in SETS.items():
            said = list(stacks.complaints(template, given))
            assert not said, f"{name}: {said}"
            urllib.request.urlopen(urllib.request.Request(f"{url}/moto-api/reset", method="POST")).close()
            account = stacks.Account(url)
            stack = stacks.translated(TEMPLATE, given)
            created = side_by_side(account, stack, given)
            wanted = stacks.for_moto(stack, given)["Resources"]
            for logical, resource in wanted.items():
                (made if logical in created else passed_over)[resource["Type"]] += 1
            print(f"{name}: {len(wanted)} resources, {len(created)} of them created, updated and deleted by moto, twice ... ok")
        for each in linted:
            each.result()
        print(f"refused, as they must be: {'; '.join(REFUSED)}")
        print("created by moto: " + ", ".join(sorted(made)))
        print("passed over by moto, and so checked by cfn-lint and SAM alone: " + ", ".join(sorted(passed_over)))
    finally:
        linting.shutdown(cancel_futures=True)
        server.stop()


if __name__ == "__main__":
    main()
