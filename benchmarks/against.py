"""``python -m benchmarks.against CHECKOUT [--codes W1,W3]``: the suite's steps in turns with those of another checkout.

Each side is a process that runs the code of its own checkout with the interpreter in its ``.venv``. They take turns of
some tenths of a second, so that a slow spell of the machine meets both. The ratio is ours over the other's, of the
fastest step of all turns and of the median of the turns' medians.
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import machine, timing
from benchmarks.suite import CODES

HERE = Path(__file__).resolve().parent
TURN = 0.4
"""Seconds of a turn at least."""


class Side:
    """One checkout's process; `ask` runs one turn of a form."""

    def __init__(self, checkout: Path, codes: str):
        command = [str(checkout / ".venv" / "bin" / "python"), "-P", str(HERE / "turns.py"), codes, str(TURN)]
        env = {**os.environ, "PYTHONPATH": str(checkout)}
        self.process = subprocess.Popen(
            command, cwd=checkout, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.forms: list[str] = self._answer()

    def _answer(self) -> list:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"the process of {self.process.args} ended")
        return json.loads(line)

    def ask(self, form: str) -> list[float]:
        """Fastest and median seconds of a step in one turn."""
        assert self.process.stdin is not None
        self.process.stdin.write(form + "\n")
        self.process.stdin.flush()
        return self._answer()


def compare(other: Path, code: str, rounds: int) -> list[tuple[str, float, float, float, float]]:
    """For every form of a workload: its label, both fastest steps in seconds, and the two ratios."""
    sides = [Side(checkout, code) for checkout in (HERE.parent, other)]
    forms = [form for form in sides[0].forms if form in sides[1].forms]
    turns: dict[str, list[list[list[float]]]] = {form: [[], []] for form in forms}
    for number in range(rounds):
        for form in forms:
            for side in (0, 1) if number % 2 else (1, 0):
                turns[form][side].append(sides[side].ask(form))
    for side in sides:
        side.process.kill()
    rows = []
    for form, both in turns.items():
        ours, theirs = (min(fastest for fastest, _ in found) for found in both)
        medians = [statistics.median(median for _, median in found) for found in both]
        rows.append((form, ours, theirs, ours / theirs, medians[0] / medians[1]))
    return rows


def page(rows: Sequence[tuple[str, float, float, float, float]], label: str) -> str:
    """The table as Markdown."""
    info = machine.info()
    mean = math.exp(statistics.fmean(math.log(row[3]) for row in rows))
    lines = [
        "# The suite's steps against those of another version",
        "",
        f"Against {label}, two threads, float32, in turns; {datetime.date.today().isoformat()}, {info['cpu']}, "
        f"{info['usable_cores']} cores. Made by `python -m benchmarks.against CHECKOUT`. "
        "Ratios: ours over the other's.",
        "",
        "| form | ours, fastest | the other's | ratio of the fastest | ratio of medians |",
        "|---|---|---|---|---|",
        *(f"| {f} | {timing.duration(a)} | {timing.duration(b)} | {r:.3f} | {m:.3f} |" for f, a, b, r, m in rows),
        "",
        f"Geometric mean of the ratios of the fastest steps: {mean:.3f}.",
    ]
    return "\n".join(lines) + "\n"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the comparison and write ``against.md``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.against", description=__doc__)
    parser.add_argument("checkout", type=Path, help="another checkout with a .venv of its own")
    parser.add_argument("--codes", default=",".join(CODES), help="workloads, by code")
    parser.add_argument("--rounds", type=int, default=6, help="turns of each form")
    parser.add_argument("--label", default="an earlier version", help="what the page calls the other checkout")
    options = parser.parse_args(argv)
    rows = []
    for code in options.codes.split(","):
        for row in compare(options.checkout.resolve(), code, options.rounds):
            print(f"{row[0]:45s} {row[3]:.3f} {row[4]:.3f}", flush=True)
            rows.append(row)
    (timing.RESULTS / "against.md").write_text(page(rows, options.label), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
