#!/usr/bin/env python3
"""Does with deploy/aws/starter.yaml what stacks.py does with template.yaml; deploy/checks/template runs it.

Beside that: its outputs are parameters of template.yaml, which takes their form.
"""

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
    check_outputs(yaml_parse(TEMPLATE.read_text()))
    stacks.check_sets(TEMPLATE, SETS, REFUSED, lambda *_: None, side_by_side)


if __name__ == "__main__":
    main()
