#!/usr/bin/env python3
"""Writes YAML documents with the node trees that PyYAML composes of them, one JSON object a line: {"yaml": text, "tree": tree}.

    documents.py                 the documents of documents.jsonl: those written here, and 300 generated from seed 1
    documents.py --seed N --count M   M others, generated from seed N; none of them is torn as by an editor, because of what is torn,
                                  the parser reads one in some thousand in another way

In a tree a scalar is its text as CloudFormation has it, or null; a short tag is a map around what it is on, as {"Fn::Sub": ...}; and
merges have taken place. Needs Python 3.10 and PyYAML 6.
"""

import argparse
import decimal
import json
import math
import random

import yaml
from yaml.nodes import MappingNode, ScalarNode, SequenceNode

CORE = "tag:yaml.org,2002:"

# Documents that templates are full of, and those that other parsers of YAML refuse.
WRITTEN = [
    "",
    "~",
    "a: b\n",
    "- a\n- b\n",
    "%YAML 1.1\n---\na: yes\n",
    "---\na: b\n...\n",
    "\ufeffa: b\n",
    "a: b\r\nc:\r\n- d\r\n",
    "a:\n- b\n- c: d\n  e: f\n",
    "a:\n  - - b\n    - c\n  -\n    d: e\n",
    "? a\n: b\n? c\n",
    # Quoted scalars that go on at the indentation of their key, or before it.
    "a:\n  b: 'one\n  two'\n",
    "a:\n  b: \"one\n  two\"\n",
    "a:\n  b: 'one\n\n  two\n  three'\n  c: d\n",
    "a:\n- b: '{\n  \"value\": 1\n  }'\n",
    "a:\n    b: \"one \\\n  two\"\n",
    "a:\n  b: 'one\ntwo'\n",
    "a: \"one\n\ttwo\"\n",
    "a:\n  b: [c,\n  'd\n  e']\n",
    # Flow collections that close at the indentation of their key, or before it.
    "a:\n  b: [\n  ]\n",
    "a:\n  b: [\n    \"c\"\n  ]\n  d: e\n",
    "a:\n  b: [\n    c\n]\n",
    "a:\n  b: {\n    c: d\n  }\n",
    "a: {\n}\n",
    "a: [\nb,\nc\n]\n",
    "- [\n  a,\n  b\n]\n- c\n",
    "a: [b, c,]\n",
    "a: {b, c: , d: e,}\n",
    "a: [b: c, {d: e}]\n",
    "{a: b, \"c\":d, 'e':f}\n",
    "[\"a\":b, {\"c\":[d]}]\n",
    "a: [ # a list\n  b, # one\n  # none\n  c ]\n",
    # Dashes that are scalars.
    "a: [-]\nb: [-, c]\nd: [e,-]\n",
    "a: {b: -, c: d}\ne: {-: f}\ng: {h: -}\n",
    "a: [-: b]\nc: {-, ? -}\n",
    "a: !Join [-, [b, !Select [0, !Split [-, c]], !Ref -]]\n",
    "a: [&b -, *b, c -, --, -d, -#e]\n",
    "a: [\n  -,\n  'b'# c\n  , -]\n",
    # Short tags.
    "a: !Ref b\n",
    "a: !Ref 'yes'\nb: !Ref yes\nc: !Sub 0144\n",
    "a: !GetAtt b.c.d\nb: !GetAtt [c, d]\nc: !GetAtt e\n",
    "a: !Sub\n  - '${b}'\n  - b: !Ref c\n",
    "a: !If [b, !Ref c, !Ref AWS::NoValue]\n",
    "a: !Join\n- ''\n- - b\n  - !Ref c\n",
    "a: !Base64\n  Fn::Sub: |\n    one\n    two\n",
    "a: !Equals [!Ref b, true]\nc: !Condition d\n",
    "a: !Sub |-\n  ${b}\n  ${c}\n",
    "a: !Sub >\n  b\n  c\n",
    "a: !Sub\nb: !Ref\n  c\n",
    "a: !Ref &b c\nd: *b\n",
    "a: &b !Ref c\nd: *b\n",
    "- !Ref a\n- !Not [!Equals [a, b]]\n",
    "a: !!str 123\nb: !!int '7'\nc: !!bool 'yes'\nd: ! 5\ne: !!null ''\n",
    "%TAG !e! tag:example.com,2000:\n---\na: !e!b c\n",
    "a: !<tag:yaml.org,2002:str> yes\n",
    # Block scalars.
    "a: |\n  b\n   c\n\n  d\n\ne: f\n",
    "a: |-\n  b\n\nc: >-\n  d\n  e\n\n  f\n   g\n  h\n",
    "a: |+\n  b\n\n\nc: d\n",
    "a: >+\n\n  b\n\n",
    "a: |2\n    b\n   c\n",
    "a: |2-\n   b\n",
    "a: |\nb: |\n\nc: d\n",
    "a: |\n  b",
    "a: >\n  b\n  c",
    "a: |  # a comment\n  # text\n  b\n",
    "a:\n- |\n  b\n- >\n  c\n",
    "a: |\n  {\"a\": [1, 2],\n   \"b\": \"c\"}\n",
    "a: |\n  \tb\n",
    # Plain scalars.
    "a: b\n  c\n  d\n",
    "a: b\n\n  c\n",
    "a: b # c\nd: e#f\n",
    "a: b:c\nd: e::f\ng: 'h: i'\n",
    "a: http://example.com:80/?b=c&d=e\n",
    "a: -b\nc: ?d\ne: :f\n",
    "a: b, c [d] {e}\n",
    "a: [b:c, d::e, arn:aws:sqs:x]\n",
    "a: b%c\n",
    "a: b\\c 'd' \"e\"\n",
    "a: \"b\\tc\\u00e9\\x41\\/\\e\\N\\_\"\n",
    "a: 'it''s'\n",
    "'a': b\n\"c d\": e\n? 'f'\n: g\n",
    "a b c: d\n",
    "\u00e9\u4e2d: \U0001f600\n",
    # Scalars of every kind.
    "a: [true, True, TRUE, yes, Yes, YES, on, On, ON]\n",
    "a: [false, False, FALSE, no, No, NO, off, Off, OFF]\n",
    "a: [y, n, Y, N, tRue, oN, truE]\n",
    "a: [~, null, Null, NULL, '', nULL]\n",
    "a: [0, 1, -1, +1, 0144, -0144, 00, 0_7, 089, 012345670123, 012345678901]\n",
    "a: [0x1F, 0xff_ff, -0x10, 0b101, 0b1_0, 0o17, 0xg, 0b2]\n",
    "a: [1_000, 1__0, 1_, _1, 123456789012, 99999999999999999999]\n",
    "a: [190:20:30, 1:30, 22:22, 1:60, 01:30, -1:30, 1:2:3:4]\n",
    "a: [1.0, 1.50, -1.5, +1.5, .5, 1., 1_0.5, 1.5e+3, 1.5e3, 1e3, 1.5E-2, 0.1, 012.5]\n",
    "a: [.inf, -.inf, +.Inf, .nan, .NaN, -.nan, 1:30.5, inf, .]\n",
    "a: [2010-09-09, 2001-12-14t21:59:43.10-05:00, 1.2.3, 10.0.0.0/16, 1-2]\n",
    "a: ['yes', \"0144\", '~', '1.50', \"true\"]\n",
    "yes: a\n0144: b\n1.50: c\n~: d\n'no': e\n",
    "AWSTemplateFormatVersion: 2010-09-09\nParameters: {Flag: {Type: String, Default: True, AllowedValues: [true, false]}}\n",
    # Anchors, aliases and merges.
    "a: &b [c]\nd: *b\n",
    "a: &b {c: d, e: f}\ng: {<<: *b, e: h}\n",
    "a: &b {c: d}\ng: &h {c: e, i: j}\nk: {<<: [*b, *h], l: m}\n",
    "a: &b {c: d}\ng: &h {c: e, i: j}\nk:\n  <<: *b\n  <<: *h\n",
    "a: {'<<': b}\n",
    "- &a a\n- *a\n- &b\n  c: *a\n",
    "&a a: b\nc: *a\n",
    "a: &b\nc: *b\n",
    # Names that stand twice, comments, and blanks.
    "a: 1\na: 2\n",
    "# one\n\na: b\n\n# two\n\nc:\n  # three\n  d: e\n",
    "a:\n    b:\n      c: d\n    e: f\n",
    "a:   \n  b:  c   \n",
    "a: 'b'   # c\n",
    "a:\n\n\n  b: c\n\n\n",
    "a: b\n # c\n  # d\n",
    # Comments without a blank before them.
    "a: 'b'# c\nd: [e]# f\ng: [\"h\"#i\n ]\n",
]


class Refused(Exception):
    """A document whose tree the reader does not have, such as one with a list for a name."""


def tree(text):
    """The tree of a document."""
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    return None if root is None else convert(root)


def long_form(tag):
    """What a short tag stands for."""
    if not tag.startswith("!") or tag == "!":
        return None
    name = tag[1:]
    if any(one in name for one in ",[]{}"):
        raise Refused("no tag has a bracket in it")
    return name if name in ("Ref", "Condition") else "Fn::" + name


def convert(node):
    name = long_form(node.tag)
    if isinstance(node, ScalarNode):
        if name == "Fn::GetAtt":
            return {name: node.value.split(".", 1)}
        return {name: node.value} if name else scalar(node)
    made = [convert(element) for element in node.value] if isinstance(node, SequenceNode) else mapping(node)
    return {name: made} if name else made


def scalar(node):
    constructor = yaml.SafeLoader("")
    match node.tag.removeprefix(CORE):
        case "null":
            return None
        case "bool":
            return "true" if constructor.construct_yaml_bool(node) else "false"
        case "int":
            return str(constructor.construct_yaml_int(node))
        case "float":
            value = constructor.construct_yaml_float(node)
            if not math.isfinite(value):
                return node.value
            text = format(decimal.Decimal(repr(value)), "f")
            return text if "." in text else text + ".0"
        case _:
            return node.value


def mapping(node):
    own, merged = {}, []
    for key, value in node.value:
        if key.tag == CORE + "merge":
            merged.append(value)
            continue
        if not isinstance(key, ScalarNode) or long_form(key.tag):
            raise Refused("a name must be a scalar")
        name = scalar(key)
        own["null" if name is None else name] = convert(value)
    for value in reversed(merged):
        for part in value.value if isinstance(value, SequenceNode) else [value]:
            if not isinstance(part, MappingNode):
                raise Refused("<< merges maps")
            for name, one in mapping(part).items():
                own.setdefault(name, one)
    return own


WORDS = (
    "a b Type Properties orders yes No True off null 0144 1_000 1.50 0x1F 1:30 2010-09-09 ${A.B} arn:aws:sqs:x:y "
    "AWS::Lambda::Function t0 -1 it's {\"v\":1} [x] a:b :c #d e#f %g @h `i` &j *k !l |m >n ? - , \u00e9 \U0001f600"
).split() + ["", " ", "two words", "a: b", "a #b", "line one\nline two", "tail \n", "\n", "one\n\n two\n", "'q'", '"r"', "\\s", "\t"]
TAGS = ["Ref", "Sub", "GetAtt", "If", "Join", "Condition", "Transform"]


class Writer:
    """Writes random documents in random styles."""

    def __init__(self, random, one_torn_in):
        self.random = random
        self.one_torn_in = one_torn_in
        self.anchors = 0

    def chance(self, one_in):
        return self.random.randrange(one_in) == 0

    def document(self):
        self.anchors = 0
        head = self.random.choice(["", "", "", "---\n", "%YAML 1.1\n---\n", "# a comment\n"])
        text = head + self.block(0, 4, top=True)
        if self.chance(6):
            text = text.rstrip("\n")
        if self.chance(8):
            text = text.replace("\n", "\r\n")
        return self.torn(text) if self.one_torn_in and self.chance(self.one_torn_in) else text

    def torn(self, text):
        """With some characters changed: a document that an editor has torn."""
        for _ in range(self.random.randint(1, 3)):
            place = self.random.randrange(len(text) + 1)
            piece = self.random.choice(["", " ", "  ", "\n", "\t", ":", "- ", "#", "'", '"', ",", "]", "}", "[", "{", "&a ", "*a", "!b ", "|", "x"])
            text = text[:place] + piece + text[place + self.random.randint(0, 2):]
        return text

    def block(self, indent, depth, top=False):
        """A node on lines of its own."""
        kind = self.random.choice(["map", "map", "list", "scalar"]) if depth else "scalar"
        if top and kind == "scalar":
            kind = "map"
        pad = " " * indent
        if kind == "map":
            names = self.random.sample(["a", "b", "c", "Type", "Properties", "'q'", '"d q"', "yes", "two words", "x:y", "<<x"], self.random.randint(1, 4))
            return "".join(f"{pad}{name}:{self.beside(indent, depth - 1, True)}" for name in names)
        if kind == "list":
            return "".join(f"{pad}-{self.beside(indent, depth - 1, False)}" for _ in range(self.random.randint(1, 3)))
        return pad + self.flow_scalar(indent) + "\n"

    def beside(self, indent, depth, in_map):
        """What stands behind a colon or a dash, to the end of its last line."""
        tag = f" !{self.random.choice(TAGS)}" if self.chance(6) else ""
        if self.chance(9):
            self.anchors += 1
            tag += f" &n{self.anchors}"
        elif self.anchors and not tag and self.chance(9):
            return f" *n{self.random.randint(1, self.anchors)}\n"
        comment = self.random.choice(["", "", "", "  # note", " #"])
        style = self.random.choice(["block", "block", "flow", "scalar", "scalar", "literal", "nothing"])
        if style == "nothing":
            return f"{tag}{comment}\n"
        if style == "block" and depth:
            # A list may stand at the indentation of its key.
            step = self.random.choice([0, 2, 2, 4]) if in_map else self.random.choice([2, 4])
            body = self.block(indent + step, depth)
            if step == 0 and not body.lstrip().startswith("-"):
                body = self.block(indent + 2, 0)
            return f"{tag}{comment}\n{body}"
        if style == "literal":
            return f"{tag} {self.literal(indent)}"
        if style == "flow":
            return f"{tag} {self.flow(indent, min(depth, 2))}{comment}\n"
        return f"{tag} {self.flow_scalar(indent)}{comment}\n"

    def literal(self, indent):
        header = self.random.choice("|>") + self.random.choice(["", "-", "+"])
        pad = " " * (indent + self.random.choice([1, 2, 4]))
        lines = [self.random.choice(["one", "two  three", "", " more", "# no comment", "{\"a\": 1}", "a: b", "- c"]) for _ in range(self.random.randint(1, 4))]
        # The first line says how far the text stands in.
        lines[0] = lines[0].strip() or "first"
        return header + "\n" + "".join((pad + line if line else "") + "\n" for line in lines)

    def flow(self, indent, depth):
        gap = lambda: self.random.choice(["", " ", " ", "\n" + " " * self.random.choice([indent, indent + 2, indent + 5, 1])])
        count = self.random.randint(0, 3)
        element = lambda: self.flow(indent, depth - 1) if depth and self.chance(2) else self.flow_scalar(indent, in_flow=True)
        if self.chance(2):
            body = ",".join(f"{gap()}{element()}{gap()}" for _ in range(count))
            return f"[{body}{',' if count and self.chance(5) else ''}{gap()}]"
        names = self.random.sample(["a", "'b'", '"c"', "d e", "Type"], count)
        body = ",".join(f"{gap()}{name}: {element()}{gap()}" for name in names)
        return f"{{{body}{gap()}}}"

    def flow_scalar(self, indent, in_flow=False):
        word = self.random.choice(WORDS)
        style = self.random.choice(["plain", "single", "double"])
        if style == "plain" and self.is_plain(word, in_flow):
            return word
        turn = "\n" + " " * self.random.choice([indent, indent + 1, indent + 3])
        if style == "single" and "\t" not in word and "\n" not in word:
            text = word.replace("'", "''")
            return "'" + (text.replace(" ", turn, 1) if self.chance(2) else text) + "'"
        text = json.dumps(word, ensure_ascii=self.chance(2))
        if "\\ud" in text:
            text = json.dumps(word, ensure_ascii=False)
        return text.replace(" ", turn, 1) if self.chance(2) else text

    @staticmethod
    def is_plain(word, in_flow):
        if not word or word != word.strip() or "\n" in word or ": " in word or " #" in word or word.endswith(":"):
            return False
        if word[0] in "#&*!|>'\"%@`{}[]," or word in ("-", "?", ":") or word[:2] in ("- ", "? ", ": "):
            return False
        return not (in_flow and any(one in word for one in ",[]{}?:#"))


def generated(seed, count, one_torn_in):
    """So many different documents that PyYAML reads."""
    writer = Writer(random.Random(seed), one_torn_in)
    found = {}
    while len(found) < count:
        text = writer.document()
        if text not in found and len(text) < 800:
            try:
                found[text] = tree(text)
            except (yaml.YAMLError, Refused, ValueError, RecursionError):
                continue
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--count", type=int, default=300)
    arguments = parser.parse_args()
    documents = {} if arguments.seed else {text: tree(text) for text in WRITTEN}
    documents |= generated(arguments.seed or 1, arguments.count, 0 if arguments.seed else 3)
    for text, one in documents.items():
        print(json.dumps({"yaml": text, "tree": one}))


main()
