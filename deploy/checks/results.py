#!/usr/bin/env python3
"""Reads the reports of a run of deploy/test: a folder of files in JUnit's form, one for each call of a test runner.

  results.py totals FOLDER       how many tests passed and how many failed, as two numbers
  results.py failed FOLDER       what each test that failed said
  results.py not-run FOLDER      what tests said that they could not run
  results.py on-servers FOLDER   how many tests passed that stand on a real server, by their place

A file that can't be read ends this with an error, so that no test is left out in silence.
"""

import re
import sys
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

# Test targets whose tests all need a server. Of other test targets, those in one of these modules do.
ON_SERVERS = {"dispatcher::import_seed", "event-channel::kafka", "kafka-trigger::kafka-trigger", "read-store::postgres"}
MODULES = {"kafka", "mongodb", "mongodb_server", "postgres", "servers"}
# The reports of the tests of the whole system, as they run on servers.
WHOLE_SYSTEM = {"on-servers": "the whole system", "on-postgres": "the whole system on PostgreSQL alone"}

NOT_RUN = re.compile(r"NOT RUN|NOT TESTED")
LOG_LINE = re.compile(r"20[0-9-]+T[0-9:.]+Z ")
# How much of a failed test is shown: lines of its panic, and lines at the end of its programs' logs.
PANIC_LINES, LOG_LINES = 8, 15


class Test:
    """One test of a report. `target` is its package and, but for unit tests, its test target: `read-store::postgres`."""

    def __init__(self, report, case):
        self.report, self.target, self.name = report, case.get("classname"), case.get("name")
        self.problems = [case.find(kind) for kind in ("failure", "error") if case.find(kind) is not None]
        outputs = (case.findtext("system-out"), case.findtext("system-err"))
        self.lines = "\n".join(output for output in outputs if output).splitlines()

    def not_run(self):
        return [line for line in self.lines if NOT_RUN.search(line)]

    def place(self):
        """The real server, or the tests on it, on which this test stands; None where it stands on none."""
        if self.report in WHOLE_SYSTEM:
            return WHOLE_SYSTEM[self.report]
        if self.report == "examples":
            return "functions of other makers"
        if self.target in ON_SERVERS:
            return self.target
        modules = self.name.split("::")[:-1]
        if "::" in self.target and MODULES.intersection(modules):
            return f"{self.target} {modules[0]}::…"
        return None

    def said(self):
        """What it panicked with, and the last of its programs' logs; of one that said nothing, how it ended."""
        lines, panic = [], 0
        for line in self.lines:
            if " panicked at " in line:
                panic = PANIC_LINES
            elif not line:
                panic = 0
            if panic:
                lines.append(line[:600])
                panic -= 1
        lines = lines or [problem.get("message") or problem.get("type") or "failed" for problem in self.problems]
        return lines + [line[:300] for line in self.lines if LOG_LINE.match(line)][-LOG_LINES:]


def read(folder):
    for report in sorted(Path(folder).glob("*.xml")):
        for case in ElementTree.parse(report).iter("testcase"):
            yield Test(report.stem, case)


def totals(tests):
    failed = sum(bool(test.problems) for test in tests)
    print(len(tests) - failed, failed)


def failed(tests):
    for test in tests:
        if test.problems:
            print(f"{test.target} {test.name}", *test.said(), sep="\n  ")


def not_run(tests):
    for line in sorted({line for test in tests for line in test.not_run()}):
        print(line)


def on_servers(tests):
    passed = [test for test in tests if not test.problems and not test.not_run()]
    by_place = Counter(place for place in map(Test.place, passed) if place)
    for place, count in sorted(by_place.items()):
        print(f"{count:5}  {place}")
    print(f"{sum(by_place.values()):5}  in all")


COMMANDS = {"totals": totals, "failed": failed, "not-run": not_run, "on-servers": on_servers}

if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in COMMANDS:
        sys.exit(__doc__)
    COMMANDS[sys.argv[1]](list(read(sys.argv[2])))
