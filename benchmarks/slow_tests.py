"""``python -m benchmarks.slow_tests REPORT.xml``: the summary of a run of the slow tests, written to the results.

The report comes from ``python -m pytest -m slow --junitxml=REPORT.xml``. Tests are counted under the property
"estimator" that they record, else under the name of their file.
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


def label(case: ElementTree.Element) -> str:
    """Return what a test is counted under."""
    for item in case.iter("property"):
        if item.get("name") == "estimator":
            return str(item.get("value"))
    return str(case.get("classname"))


def summary(report: Path) -> str:
    """Return the counts, the table by estimator and what did not pass, as Markdown."""
    suite = next(ElementTree.parse(report).iter("testsuite"))
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    seconds: Counter[str] = Counter()
    bad = []
    for case in suite.iter("testcase"):
        counts[label(case)][outcome(case)] += 1
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
    """Write the summary of the report that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.slow_tests", description="Summarise the slow tests.")
    parser.add_argument("report", type=Path, help="the file that pytest --junitxml= wrote")
    parser.add_argument("--out", type=Path, default=timing.RESULTS, help="folder for the summary")
    options = parser.parse_args(argv)
    text = summary(options.report)
    (options.out / "slow_tests.md").write_text(text, encoding="utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
