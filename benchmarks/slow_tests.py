"""``python -m benchmarks.slow_tests REPORT.xml …``: the summary of a run of the slow tests, written to the results.

The report comes from ``python -m pytest -m slow --junitxml=REPORT.xml``. Tests are counted under the property
"estimator" that they record, else under the name of their file. A test that records "cases" and "passed" counts as that
many.
"""

from __future__ import annotations

import argparse
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

from benchmarks import machine, timing

OUTCOMES = ("passed", "failed", "error", "skipped")


def outcome(case: ElementTree.Element) -> str:
    """Return one of `OUTCOMES`."""
    for tag, name in (("failure", "failed"), ("error", "error"), ("skipped", "skipped")):
        if case.find(tag) is not None:
            return name
    return "passed"


def properties(case: ElementTree.Element) -> dict[str, str]:
    """Return what a test has recorded."""
    return {str(item.get("name")): str(item.get("value")) for item in case.iter("property")}


def label(case: ElementTree.Element) -> str:
    """Return what a test is counted under."""
    return properties(case).get("estimator", str(case.get("classname")))


def outcomes(case: ElementTree.Element) -> Counter[str]:
    """Return the number of cases of a test by outcome."""
    found = properties(case)
    passed = int(found.get("passed", 0))
    return Counter(passed=passed) + Counter({outcome(case): int(found.get("cases", 1)) - passed})


def summary(*reports: Path) -> str:
    """Return the counts, the table by estimator and what did not pass, as Markdown. A later report overrules."""
    cases: dict[str, ElementTree.Element] = {}
    for report in reports:
        suite = next(ElementTree.parse(report).iter("testsuite"))
        cases.update({str(case.get("name")): case for case in suite.iter("testcase")})
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    seconds: Counter[str] = Counter()
    bad = []
    for case in cases.values():
        counts[label(case)] += outcomes(case)
        seconds[label(case)] += float(case.get("time", 0.0))
        if outcome(case) in ("failed", "error"):
            bad.append(f"- {outcome(case)}: `{case.get('name')}`")
    total = sum(counts.values(), Counter())
    lines = [
        "# Slow tests",
        "",
        "Every estimator on every node of every law graph that it supports, the other nodes at the automatic choice:",
        "compiled float64 steps equal the interpreter, noise for noise, to 1e-9 (`tests/estimators/test_replay.py`).",
        "",
        f"{sum(total.values())} tests: " + ", ".join(f"{total[name]} {name}" for name in OUTCOMES) + ".",
        "",
        "| estimator | " + " | ".join(OUTCOMES) + " | seconds |",
        "|---|" + "---|" * (len(OUTCOMES) + 1),
        *(
            f"| {name} | " + " | ".join(str(found[o]) for o in OUTCOMES) + f" | {seconds[name]:.0f} |"
            for name, found in sorted(counts.items())
        ),
        "",
        *([*bad, ""] if bad else []),
        f"Run {str(suite.get('timestamp'))[:10]} on {_place()}.",
    ]
    return "\n".join(lines) + "\n"


def _place() -> str:
    info = machine.info()
    versions = ", ".join(f"{name} {v}" for name, v in dict(info["versions"]).items())  # type: ignore[call-overload]
    return f"{info['cpu']}, {info['cores']} cores, Python {info['python']}, {versions}"


def main(argv: Sequence[str] | None = None) -> int:
    """Write the summary of the reports that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.slow_tests", description="Summarise the slow tests.")
    parser.add_argument("reports", type=Path, nargs="+", help="files that pytest --junitxml= wrote, oldest first")
    parser.add_argument("--out", type=Path, default=timing.RESULTS, help="folder for the summary")
    options = parser.parse_args(argv)
    text = summary(*options.reports)
    (options.out / "slow_tests.md").write_text(text, encoding="utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
