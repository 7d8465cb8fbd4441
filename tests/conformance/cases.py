#!/usr/bin/env python3
"""The cases of the suite: which route runs which, and what each must end in.

`expected.json` holds both: a case runs on the routes that list it, and its value there is
[behavior, behavior of the close, close code received].
"""

import argparse
import json
import sys
from pathlib import Path

EXPECTED = Path(__file__).with_name("expected.json")

# The groups of --quick. Group 9 is left out: it measures limits with up to 16 MiB a message.
QUICK = ("1", "2", "3", "4", "5", "6", "7", "10")

# In these a valid message and a violation leave the suite in one go, and the strict result asks
# for the echo of the first before the connection fails. The echo has to come back from another
# process, while RFC 6455 §7.1.7 wants the connection failed as soon as the violation is seen. We
# do not wait for an echo, so either result may come.
EARLY_FAILURE = {
    "3.2", "3.3", "3.4",  # reserved bits set
    "4.1.3", "4.1.4", "4.1.5",  # reserved data opcodes
    "4.2.3", "4.2.4", "4.2.5",  # reserved control opcodes
    "5.15",  # a continuation with nothing to continue
}


def selected(routes, quick):
    """The routes with the cases of this run."""
    return {
        route: {case: result for case, result in cases.items() if not quick or case.split(".")[0] in QUICK}
        for route, cases in routes.items()
    }


def order(case):
    """Sorts 2.10 behind 2.9."""
    return [int(part) for part in case.split(".")]


def specification(routes, address, report):
    """What the fuzzing client reads: every case for every route, less those of other routes."""
    every = sorted({case for cases in routes.values() for case in cases}, key=order)
    return {
        "outdir": report,
        "servers": [{"agent": route, "url": f"ws://{address}/{route}"} for route in routes],
        "cases": every,
        "exclude-agent-cases": {
            route: [case for case in every if case not in cases] for route, cases in routes.items()
        },
    }


def results(report):
    """What the suite found, in the form of `expected.json`."""
    index = json.loads(Path(report, "index.json").read_text())
    return {
        route: {
            case: [found["behavior"], found["behaviorClose"], found["remoteCloseCode"]]
            for case, found in cases.items()
        }
        for route, cases in index.items()
    }


def text(result):
    """A result on one line."""
    behavior, close, code = result
    return f"{behavior} / {close} / {code or 'no code'}"


def accepted(case, want, got):
    """Whether a result will do."""
    if got and case in EARLY_FAILURE and got[0] in ("OK", "NON-STRICT"):
        return got[1:] == want[1:]
    return got == want


def compare(routes, found):
    """Print what differs; the number of differences."""
    rows = [
        (route, case, want, found.get(route, {}).get(case))
        for route, cases in routes.items()
        for case, want in sorted(cases.items(), key=lambda item: order(item[0]))
    ]
    wrong = [row for row in rows if not accepted(*row[1:])]
    line = "{:<7} {:<8} {:<36} {}".format
    if wrong:
        print(line("route", "case", "expected", "seen (behavior / close / code)"))
    for route, case, want, got in wrong:
        print(line(route, case, text(want), text(got) if got else "did not run"))
    print(f"{len(rows) - len(wrong)} of {len(rows)} cases as expected")
    return len(wrong)


def update(routes, found):
    """Write the results as expected; refuse those that no reason excuses."""
    for route, cases in found.items():
        for case, result in cases.items():
            good = result[0] in ("OK", "INFORMATIONAL") or (result[0] == "NON-STRICT" and case in EARLY_FAILURE)
            if not good or result[1] not in ("OK", "INFORMATIONAL"):
                sys.exit(f"not written: {route} {case} ended in {result}")
            if case in EARLY_FAILURE:
                result[0] = "NON-STRICT"
            routes[route][case] = result
    blocks = [
        f"  {json.dumps(route)}: {{\n"
        + ",\n".join(f"    {json.dumps(case)}: {json.dumps(cases[case])}" for case in sorted(cases, key=order))
        + "\n  }"
        for route, cases in routes.items()
    ]
    EXPECTED.write_text("{\n" + ",\n".join(blocks) + "\n}\n")


def main():
    """Make the specification, compare with what is expected, or replace it."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--quick", action="store_true", help="without the long cases of group 9")
    commands = arguments.add_subparsers(dest="command", required=True)
    spec = commands.add_parser("spec", help="print the specification for the fuzzing client")
    spec.add_argument("address")
    spec.add_argument("report")
    for command in ("compare", "update"):
        commands.add_parser(command).add_argument("report")
    given = arguments.parse_args()

    routes = json.loads(EXPECTED.read_text())
    if given.command == "spec":
        print(json.dumps(specification(selected(routes, given.quick), given.address, given.report)))
    elif given.command == "update":
        update(routes, results(given.report))
    else:
        return 1 if compare(selected(routes, given.quick), results(given.report)) else 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
