#!/usr/bin/env python3
"""Deploys template.yaml with twelve sets of parameters as far as that goes without AWS; deploy/checks/template runs it.

For each set: parameters and rules as CloudFormation checks them, SAM's own translator, cfn-lint, and on a server of moto two stacks side by
side that are created, updated and deleted. moto creates some types of resources and passes over the others; the last lines say which.
"""

import io
import json
import logging
import os
import pathlib
import re
import subprocess
import sys
import urllib.request
import warnings
import zipfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import boto3
from moto.server import ThreadedMotoServer
from samcli.lib.providers.api_provider import ApiProvider
from samcli.lib.providers.sam_stack_provider import SamLocalStackProvider
from samtranslator.translator.transform import transform
from samtranslator.yaml_helper import yaml_parse

TEMPLATE = pathlib.Path(__file__).parent.parent.parent / "template.yaml"
REGION, ACCOUNT = "eu-west-1", "123456789012"
ABSENT = {"Ref": "AWS::NoValue"}
# moto has mappings of SQS, Kinesis and DynamoDB alone; and no attribute of a domain, at which the record points.
REFUSED_BY_MOTO = ("AWS::Lambda::EventSourceMapping", "AWS::Route53::RecordSet")


def arn(service, rest):
    return f"arn:aws:{service}:{REGION}:{ACCOUNT}:{rest}"


def secret(name):
    return arn("secretsmanager", f"secret:{name}-AbCdEf")


KEY = arn("kms", "key/0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0")
LAYER = arn("lambda", "layer:orders-ca:1")
STORES = {"EventStoreSecretArn": secret("events"), "ReadStoreSecretArn": secret("view")}
MSK = STORES | {
    "KafkaBootstrapServers": "b-1.orders.kafka.eu-west-1.amazonaws.com:9098,b-2.orders.kafka.eu-west-1.amazonaws.com:9098",
    "MskClusterArn": arn("kafka", "cluster/orders/0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0-1"),
}
OTHER = STORES | {"KafkaSource": "SelfManaged", "KafkaBootstrapServers": "kafka-1.example:9093,kafka-2.example:9093"}
LOGIN = {"KafkaSecretArn": secret("kafka")}
OPEN = {"AllowUnauthenticated": "true"}
CLOSED = {"JwtIssuer": "https://issuer.example", "JwtAudience": "orders,staff"}
NETWORK = {"SubnetA": "subnet-0a", "SubnetB": "subnet-0b", "SecurityGroup": "sg-0a"}
QUEUE = {"FailureDestinationArn": arn("sqs", "given-up")}
BOUNDED = {"PermissionsBoundaryArn": arn("iam", "policy/boundary").replace(REGION, "")}
GRADUAL = {"GradualDeployment": "true", "DeploymentType": "Linear10PercentEvery1Minute", "Release": "2026-12-01"}
DOMAIN = {"DomainName": "orders.example.com", "CertificateArn": arn("acm", "certificate/0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0")}
RDS = {"ReadStoreUrl": "postgres://view.example:5432/orders?sslmode=verify-full&sslrootcert=/opt/aws.pem", "CaLayerArn": LAYER}
RDS_ALONE = RDS | {"EventStoreUrl": "postgres://events.example:5432/orders?sslmode=verify-full&sslrootcert=/opt/aws.pem"}
DOCUMENTDB = RDS | {"EventStoreUrl": "mongodb://docdb.example:27017/orders?tls=true&tlsCAFile=/opt/aws.pem"}
RESERVED = {
    f"{name}Concurrency": "2" for name in ("Command", "Query", "Projector", "Processor", "Relay", "Reconciler")
}

SETS = {
    "MSK, open": MSK | OPEN,
    "MSK, closed, gradual": MSK | CLOSED | GRADUAL,
    "MSK in a VPC": MSK | CLOSED | NETWORK | DOCUMENTDB,
    "MSK, second stage": MSK | CLOSED | RDS_ALONE | {"GroupPrefix": "staging.", "KafkaTopic": "staging.events"},
    "MSK, encrypted queue": MSK | CLOSED | QUEUE | {"FailureDestinationKeyArn": KEY, "SecretsKeyArn": KEY},
    "MSK, topic and dashboard": MSK | CLOSED | {"FailureDestinationArn": arn("sns", "given-up"), "Dashboard": "create",
                                                "AlarmTopicArn": arn("sns", "alarms"), "Tracing": "Active"},
    "MSK, bounded": MSK | CLOSED | RESERVED | BOUNDED | GRADUAL | {"Pollers": "provisioned", "MinimumPollers": "2"},
    "other Kafka, open": OTHER | OPEN,
    "other Kafka, SCRAM 512": OTHER | CLOSED | LOGIN | DOMAIN | {"SecretsKeyArn": KEY},
    "other Kafka, SCRAM 256": OTHER | CLOSED | LOGIN | {"KafkaAuthentication": "SASL_SCRAM_256_AUTH",
                                                        "KafkaCaSecretArn": secret("ca"), "CaLayerArn": LAYER},
    "other Kafka, PLAIN in a VPC": OTHER | CLOSED | LOGIN | NETWORK | {"KafkaAuthentication": "BASIC_AUTH"},
    "other Kafka, everything": OTHER | CLOSED | LOGIN | NETWORK | QUEUE | RESERVED | BOUNDED | GRADUAL | DOMAIN | RDS_ALONE
    | {"HostedZoneId": "Z0123456789ABC", "KafkaCaSecretArn": secret("ca"), "CaLayerArn": LAYER, "SecretsKeyArn": KEY, "Dashboard": "create",
       "FulfilmentSecretArn": secret("fulfilment"), "Pollers": "provisioned", "GroupPrefix": "eu.",
       "AlarmTopicArn": arn("sns", "alarms"), "CorsOrigins": "https://a.example,https://b.example"},
}

# Each must be refused, with these words.
REFUSED = {
    "an open API that nobody has asked for": (MSK, "AllowUnauthenticated=true"),
    "MSK without its cluster": (MSK | OPEN | {"MskClusterArn": ""}, "needs MskClusterArn"),
    "one subnet alone": (MSK | OPEN | {"SubnetA": "subnet-0a"}, "needs SubnetB and SecurityGroup"),
    "a FIFO queue": (MSK | OPEN | {"FailureDestinationArn": arn("sqs", "given-up.fifo")}, "FailureDestinationArn"),
    "a private authority for the mappings alone": (OTHER | OPEN | {"KafkaCaSecretArn": secret("ca")}, "CaLayerArn"),
    "a key without a destination": (MSK | OPEN | {"FailureDestinationKeyArn": KEY}, "needs FailureDestinationArn"),
    "an issuer without TLS": (MSK | {"JwtIssuer": "http://issuer.example"}, "JwtIssuer"),
    "a domain without a certificate": (MSK | OPEN | {"DomainName": "orders.example.com"}, "needs DomainName and CertificateArn"),
    "a zone without a domain": (MSK | OPEN | {"HostedZoneId": "Z0123456789ABC"}, "needs DomainName and CertificateArn"),
    "a password in the clear": (MSK | OPEN | {"ReadStoreUrl": "postgres://ann:secret@view:5432/orders"}, "ReadStoreUrl"),
    "another deployment": (MSK | OPEN | {"DeploymentType": "Canary50Percent1Minute"}, "DeploymentType"),
    "another mechanism": (OTHER | OPEN | {"KafkaAuthentication": "GSSAPI"}, "KafkaAuthentication"),
}


class Evaluation:
    """Conditions and rules of a template, for one set of parameters."""

    def __init__(self, template, given):
        declared = template["Parameters"]
        self.values = {name: str(given.get(name, declared[name].get("Default", ""))) for name in declared}
        self.conditions = template["Conditions"]

    def holds(self, condition):
        (operator, given), = condition.items()
        if operator == "Condition":
            return self.holds(self.conditions[given])
        if operator == "Fn::Equals":
            left, right = map(self.text, given)
            return left == right
        decide = {"Fn::Not": lambda held: not held[0], "Fn::And": all, "Fn::Or": any}[operator]
        return decide([self.holds(each) for each in given])

    def text(self, value):
        if not isinstance(value, dict):
            return str(value)
        (operator, given), = value.items()
        if operator == "Ref":
            return self.values[given]
        if operator == "Fn::Sub":
            return re.sub(r"\$\{(\w+)\}", lambda found: self.values[found[1]], given)
        if operator == "Fn::Split":
            return self.text(given[1]).split(given[0])
        if operator == "Fn::Select":
            return self.text(given[1])[int(given[0])]
        raise ValueError(f"conditions use {operator}, which this does not know")

    def resolve(self, value):
        """Without its Fn::Ifs, and without what is absent then: moto leaves nulls in lists."""
        if isinstance(value, list):
            return [each for each in map(self.resolve, value) if each != ABSENT]
        if not isinstance(value, dict):
            return value
        if set(value) == {"Fn::If"}:
            condition, then, otherwise = value["Fn::If"]
            return self.resolve(then if self.holds(self.conditions[condition]) else otherwise)
        members = {name: self.resolve(member) for name, member in value.items()}
        return {name: member for name, member in members.items() if member != ABSENT}


def complaints(template, given):
    """What CloudFormation says against the parameters before it creates anything."""
    evaluation = Evaluation(template, given)
    for name, value in evaluation.values.items():
        parameter = template["Parameters"][name]
        if parameter["Type"] == "String" and not re.search(parameter.get("AllowedPattern", ""), value):
            yield f"{name} is {value!r}, not {parameter['AllowedPattern']}"
        if value not in map(str, parameter.get("AllowedValues", [value])):
            yield f"{name} is {value!r}, none of {parameter['AllowedValues']}"
    for rule in template["Rules"].values():
        if evaluation.holds(rule.get("RuleCondition", {"Fn::Equals": ["", ""]})):
            for assertion in rule["Assertions"]:
                if not evaluation.holds(assertion["Assert"]):
                    yield assertion["AssertDescription"]


class NoManagedPolicies:
    """The translator looks up AWS's policies by name; their ARNs follow from it."""

    def load(self):
        return {}


# What `sam deploy` uploads.
CODE = {"AWS::Serverless::Function": "CodeUri", "AWS::Serverless::LayerVersion": "ContentUri"}


def translated(path, given):
    template = yaml_parse(path.read_text())
    for resource in template["Resources"].values():
        if resource["Type"] in CODE:
            resource["Properties"][CODE[resource["Type"]]] = "s3://artefacts/function.zip"
    # The translator writes into what it is given.
    return transform(template, dict(given), NoManagedPolicies())


# What stands in for AWS's public parameters in an account of moto's.
PUBLIC_PARAMETERS = {"SecretsExtensionArn": "/secrets-extension", "AmiId": "/image"}


def for_moto(template, given):
    """The translated template with its conditions resolved, and names that moto has in place of AWS's public parameters."""
    evaluation = Evaluation(template, given)
    template = json.loads(json.dumps(template))
    for name, public in PUBLIC_PARAMETERS.items():
        if name in template["Parameters"]:
            template["Parameters"][name]["Default"] = public
    for part in ("Resources", "Outputs"):
        kept = {
            name: entry
            for name, entry in template[part].items()
            if "Condition" not in entry or evaluation.holds({"Condition": entry["Condition"]})
        }
        template[part] = evaluation.resolve(kept)
        for entry in template[part].values():
            entry.pop("Condition", None)
    for part in ("Conditions", "Rules", "Metadata"):
        template.pop(part, None)
    return template


def check_boundary(name, template, given):
    """Roles that SAM makes by itself are bounded too."""
    if "PermissionsBoundaryArn" not in given:
        return
    for logical, each in template["Resources"].items():
        bounded = each["Type"] != "AWS::IAM::Role" or "PermissionsBoundary" in each["Properties"]
        assert bounded, f"{name}: the role {logical} has no boundary"


def check_settings(account, function, given):
    """The URLs as functions get them: the whole is a secret, or the login alone is."""
    variables = account.client("lambda").get_function(FunctionName=function)["Configuration"]["Environment"]["Variables"]
    for store in ("EventStore", "ReadStore"):
        arn, url = given[f"{store}SecretArn"], given.get(f"{store}Url")
        expected = url.replace("://", f"://{{secret:{arn}}}@") if url else f"secret:{arn}#url"
        found = variables[{"EventStore": "ORDERS_EVENT_STORE", "ReadStore": "ORDERS_READ_STORE"}[store]]
        assert found == expected, f"{store} is {found}, not {expected}"


def check_local_routes(template):
    """`sam local start-api` serves what template.yaml deploys: as the SAM CLI itself reads deploy/aws/local.yaml."""
    resources = template["Resources"].values()
    deployed = {each["Properties"]["RouteKey"] for each in resources if each["Type"] == "AWS::ApiGatewayV2::Route"}
    read, _ = SamLocalStackProvider.get_stacks(str(TEMPLATE.parent / "deploy/aws/local.yaml"))
    local = {f"{method} {route.path}" for route in ApiProvider(read).api.routes for method in route.methods}
    # It serves OPTIONS wherever it serves anything.
    local = {route for route in local if not route.startswith("OPTIONS ")}
    assert local == deployed, f"routes that differ: {local ^ deployed}"
    print(f"sam local start-api serves {len(local)} routes, those of template.yaml ... ok")


def lint(path, name, given):
    words = ["cfn-lint", "--non-zero-exit-code", "informational", "--parameters"]
    words += [f"{name}={value}" for name, value in given.items()]
    tool = pathlib.Path(sys.executable).parent / words[0]
    done = subprocess.run([tool, *words[1:], "--", path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{name}: {done.stdout}{done.stderr}"


class Account:
    """An account of moto's with nothing in it but what stacks refer to."""

    def __init__(self, url):
        self.url = url
        self.stacks = self.client("cloudformation")
        code = io.BytesIO()
        with zipfile.ZipFile(code, "w") as archive:
            archive.writestr("bootstrap", "")
        bucket = self.client("s3")
        bucket.create_bucket(Bucket="artefacts", CreateBucketConfiguration={"LocationConstraint": REGION})
        bucket.put_object(Bucket="artefacts", Key="function.zip", Body=code.getvalue())
        layers = self.client("lambda")
        for name in ("secrets-extension", "orders-ca"):
            layer = layers.publish_layer_version(LayerName=name, Content={"ZipFile": code.getvalue()})
            self.client("ssm").put_parameter(Name=f"/{name}", Value=layer["LayerVersionArn"], Type="String")
        self.client("ssm").put_parameter(Name="/image", Value=self.client("ec2").describe_images()["Images"][0]["ImageId"], Type="String")

    def client(self, service):
        return boto3.client(service, endpoint_url=self.url, region_name=REGION, aws_access_key_id="none", aws_secret_access_key="none")

    def create(self, name, template, given):
        self.stacks.create_stack(**self.words(name, template, given))
        self.expect(name, "CREATE_COMPLETE")
        return self.resources(name)

    def update(self, name, template, given):
        self.stacks.update_stack(**self.words(name, template, given))
        self.expect(name, "UPDATE_COMPLETE")

    def words(self, name, template, given):
        parameters = [{"ParameterKey": key, "ParameterValue": value} for key, value in given.items()]
        return {"StackName": name, "TemplateBody": json.dumps(template), "Parameters": parameters, "Capabilities": ["CAPABILITY_IAM"]}

    def expect(self, name, status):
        found = self.stacks.describe_stacks(StackName=name)["Stacks"][0]["StackStatus"]
        assert found == status, f"{name} is {found}, not {status}"

    def resources(self, name):
        found = self.stacks.describe_stack_resources(StackName=name)["StackResources"]
        return {resource["LogicalResourceId"]: (resource["ResourceType"], resource.get("PhysicalResourceId")) for resource in found if "LogicalResourceId" in resource}

    def left(self):
        """What exists of the types that moto deletes: it deletes no managed policy, and no log group that it has updated."""
        dashboards = self.client("cloudwatch").list_dashboards()["DashboardEntries"]
        return (
            [each["FunctionName"] for each in self.client("lambda").list_functions()["Functions"]]
            + [each["RoleName"] for each in self.client("iam").list_roles()["Roles"]]
            + [each["DashboardName"] for each in dashboards]
        )


def without_refused(template, given):
    """Without what moto refuses, and what refers to it. moto makes no alias, so permissions are for the function itself."""
    resolved = for_moto(template, given)
    aliases = {name: each["Properties"]["FunctionName"] for name, each in resolved["Resources"].items() if each["Type"] == "AWS::Lambda::Alias"}
    resources = {name: each for name, each in resolved["Resources"].items() if each["Type"] not in REFUSED_BY_MOTO}
    for each in resources.values():
        if each["Type"] == "AWS::Lambda::Permission":
            called = each["Properties"]["FunctionName"]
            each["Properties"]["FunctionName"] = aliases.get(called.get("Ref"), called)
    refused = resolved["Resources"].keys() - resources.keys()
    known = {
        name: each
        for name, each in resolved["Outputs"].items()
        if each["Value"].get("Ref") not in refused and "Fn::GetAtt" not in each["Value"]
    }
    return resolved | {"Resources": resources, "Outputs": known}


def side_by_side(account, template, given):
    """Two stacks, created, changed and deleted. Returns the resources of one."""
    resolved = without_refused(template, given)
    first, second = (account.create(name, resolved, given) for name in ("orders-one", "orders-two"))
    assert first.keys() == second.keys(), first.keys() ^ second.keys()
    shared = {physical for _, physical in first.values()} & {physical for _, physical in second.values()} - {None}
    assert not shared, f"two stacks have the same {shared}"
    check_settings(account, first["Query"][1], given)
    changed = given | {"LogRetentionDays": "7", "HttpMemory": "512", "LogLevel": "debug"}
    account.update("orders-one", without_refused(template, changed), changed)
    memory = account.client("lambda").get_function(FunctionName=account.resources("orders-one")["Query"][1])["Configuration"]["MemorySize"]
    assert memory == 512, f"the update left {memory} MiB"
    for name in ("orders-one", "orders-two"):
        account.stacks.delete_stack(StackName=name)
    assert not account.left(), f"deleted stacks left {account.left()}"
    return first


def check_sets(path, sets, refused, check, side_by_side):
    """Checks that the template takes each set of parameters, on moto too, and refuses each of the others.

    `check(name, stack, given)` looks at a translated stack; `side_by_side(account, stack, given)` makes two and returns the resources of one.
    """
    logging.disable(logging.WARNING)
    # Of each type that moto passes over; the last line says them.
    warnings.simplefilter("ignore")
    template = yaml_parse(path.read_text())
    for name, (given, words) in refused.items():
        said = " ".join(complaints(template, given))
        assert words in said, f"{name} is not refused, but: {said}"
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    linting = ThreadPoolExecutor(os.cpu_count())
    try:
        host, port = server.get_host_and_port()
        url = f"http://{host}:{port}"
        linted = [linting.submit(lint, path, name, given) for name, given in sets.items()]
        made, passed_over = Counter(), Counter()
        for name, given in sets.items():
            said = list(complaints(template, given))
            assert not said, f"{name}: {said}"
            urllib.request.urlopen(urllib.request.Request(f"{url}/moto-api/reset", method="POST")).close()
            account = Account(url)
            stack = translated(path, given)
            check(name, stack, given)
            created = side_by_side(account, stack, given)
            wanted = for_moto(stack, given)["Resources"]
            for logical, resource in wanted.items():
                (made if logical in created else passed_over)[resource["Type"]] += 1
            print(f"{name}: {len(wanted)} resources, {len(created)} of them created, updated and deleted by moto, twice ... ok")
        for each in linted:
            each.result()
        print(f"refused, as they must be: {'; '.join(refused)}")
        print("created by moto: " + ", ".join(sorted(made)))
        print("passed over by moto, and so checked by cfn-lint and SAM alone: " + ", ".join(sorted(passed_over)))
    finally:
        linting.shutdown(cancel_futures=True)
        server.stop()


def main():
    check_local_routes(yaml_parse(TEMPLATE.read_text()))
    check_sets(TEMPLATE, SETS, REFUSED, check_boundary, side_by_side)


if __name__ == "__main__":
    main()
